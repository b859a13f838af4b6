"""Typed recipe of synthesis: which language model, what it is asked for, and what is kept of its answers.

Importable without torch, like `ragtune.recipe`; YAML, flags and code share these objects.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, final

from pydantic import Field, field_validator

from ragtune.recipe import Part, Positive, Share

Style = Literal["keywords", "question", "problem", "how_to", "identifier", "comparison"]
Split = Literal["train", "dev", "test"]
Price = Annotated[float, Field(ge=0.0)]
Seconds = Annotated[float, Field(gt=0.0)]


@final
class LlmRecipe(Part):
    """A language model: an endpoint that speaks OpenAI's chat completions, or one that runs here."""

    source: str = "builtin:smollm2"
    """A URL (http://localhost:8000/v1), builtin:smollm2, a model folder, a hub name, or none."""
    model: str | None = None
    """The model's name at the endpoint; none = the only one that the endpoint lists."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the endpoint's key; the key itself is never written or logged."""
    prompt: Literal["auto", "json", "simple"] = "auto"
    """json: several queries a call with answer and quote; simple: one query a call, for small models; auto: json at
    an endpoint, simple here."""
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] | None = None
    """Sampling temperature; none = 0.7 with json prompts, 0 (the likeliest words) with simple ones."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    """Words are drawn from the likeliest that make up this share."""
    max_reply_tokens: Positive = 1200
    """Longest reply of a json prompt in tokens."""
    timeout: Seconds = 120.0
    """Seconds after which a request counts as lost."""
    retries: Annotated[int, Field(ge=0)] = 5
    """How often a request is sent again after a time-out, a 429 or a server error."""
    concurrency: Positive = 16
    """Most requests at a time; fewer are sent while the endpoint answers 429 or times out."""
    batch_tokens: Positive = 8192
    """Prompt and reply tokens of a batch of a model that runs here."""


@final
class StructureRecipe(Part):
    """Pairs from the documents' own structure, without a language model."""

    enabled: bool = False
    """Make them beside those of the language model (``--llm none`` makes them alone)."""
    kinds: Annotated[tuple[Literal["question", "caption", "heading", "summary"], ...], Field(min_length=1)] = (
        "question", "caption", "heading", "summary",
    )  # fmt: skip
    """question-like heading, caption of a table, heading of a section, first sentence of a text."""


@final
class FilterRecipe(Part):
    """What a query must pass, cheapest first."""

    min_words: Positive = 2
    """Fewest words of a query; a Chinese character counts as half a word."""
    max_words: Positive = 40
    """Most words of a query."""
    quote: bool = True
    """The evidence quote must stand in the passage (where the prompt asked for one)."""
    near_duplicate: Share | None = 0.95
    """A query whose vector has this cosine or more with an earlier one's is a duplicate; none = equal texts only."""
    embedder: str = "builtin:minilm"
    """The embedding model of the duplicate and round-trip filters; choose one that knows the corpus' language."""
    round_trip_k: Positive | None = 20
    """The source must be among this many of BM25 and the embedder together, fused by rank; none = no round trip.
    Applied to train alone: a test set without what search misses would flatter search."""
    max_overlap: Share | None = None
    """Cut queries of train of whose words more than this share stand in the passage; none = no cut."""
    max_lead: Share | None = None
    """Cut queries of train whose source leads the embedder's second passage by more than this cosine; none = no cut."""


@final
class JudgeRecipe(Part):
    """A language model says whether a query can be answered, and which other passages answer it."""

    enabled: bool | None = None
    """None = where the language model is an endpoint; a small model cannot judge."""
    llm: LlmRecipe | None = None
    """Another language model than the one that writes the queries; none = the same."""
    complete: tuple[Split, ...] = ("train", "dev", "test")
    """Splits for which the judge marks what else answers, among the best that BM25 and the embedder find."""
    pool: Positive = 5
    """Best passages of each search that the judge sees; all of them in one request a query."""


@final
class SplitRecipe(Part):
    """What is set aside, by document group; a part that the dataset has already is kept as it is."""

    dev: Annotated[float, Field(ge=0.0)] = 0.1
    """Share (below 1) or number of the queries that go to dev."""
    test: Annotated[float, Field(ge=0.0)] = 0.2
    """Share (below 1) or number of the queries that go to test."""


@final
class BudgetRecipe(Part):
    """Caps of one call of the command, and prices for the estimate."""

    max_requests: Positive | None = None
    """Most requests, those that are sent again included."""
    max_tokens: Positive | None = None
    """Most tokens, of prompts and replies together."""
    max_cost: Annotated[float, Field(gt=0.0)] | None = None
    """Most money, in the currency of the prices."""
    price_in: Price = 0.0
    """Price of a million prompt tokens."""
    price_out: Price = 0.0
    """Price of a million reply tokens."""


@final
class SynthesisRecipe(Part):
    """From passages to queries."""

    llm: LlmRecipe = LlmRecipe()
    """The language model that writes the queries."""
    per_passage: Positive = 3
    """Queries a passage."""
    styles: Annotated[tuple[Style, ...], Field(min_length=1)] = (
        "question",
        "keywords",
        "problem",
        "how_to",
        "identifier",
    )
    """Styles, dealt out in turn; ``comparison`` needs a passage and its nearest neighbour."""
    max_passages: Positive | None = None
    """Passages that are asked about, spread over the documents; none = all."""
    min_passage_words: Positive = 20
    """A shorter passage is not asked about."""
    contrast: bool = False
    """Ask for queries that the passage answers and its nearest neighbour does not."""
    examples: Path | None = None
    """A file of your own queries, one a line (or JSON lines with ``text``): the style to imitate."""
    structure: StructureRecipe = StructureRecipe()
    """Pairs from the documents' own structure."""
    filters: FilterRecipe = FilterRecipe()
    """What a query must pass."""
    judge: JudgeRecipe = JudgeRecipe()
    """Answerability, and complete labels."""
    split: SplitRecipe = SplitRecipe()
    """What is set aside."""
    budget: BudgetRecipe = BudgetRecipe()
    """Caps and prices."""
    seed: int = 13
    """Seed of every random choice."""

    @field_validator("styles", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @property
    def uses_llm(self) -> bool:
        """Whether a language model writes queries."""
        return self.llm.source != "none"

    @property
    def uses_json(self) -> bool:
        """Whether a call asks for several queries in JSON."""
        return self.llm.prompt == "json" or (self.llm.prompt == "auto" and is_url(self.llm.source))

    @property
    def judging(self) -> LlmRecipe | None:
        """The model that judges; None = nobody does."""
        llm = self.judge.llm or self.llm
        wanted = is_url(llm.source) if self.judge.enabled is None else self.judge.enabled
        return llm if wanted and llm.source != "none" else None


def is_url(source: str) -> bool:
    """Whether a source is an endpoint.

    >>> is_url("http://localhost:8000/v1"), is_url("builtin:smollm2")
    (True, False)
    """
    return source.startswith(("http://", "https://"))

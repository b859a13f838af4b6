"""Typed recipes of the stages that set passages beside queries: mining hard negatives, and teacher scores.

Importable without torch, like `ragtune.recipe`; YAML, flags and code share these objects.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, final

from pydantic import Field, field_validator, model_validator

from ragtune.recipe import ModelRecipe, Part, Positive, Precision

MinedSplit = Literal["train", "dev"]


@final
class VerifyRecipe(Part):
    """A second look at the chosen negatives, by a model that reads query and passage together."""

    model: str
    """A reranker: a folder or hub name."""
    relevant_from: float | None = None
    """A chosen passage with this score or more becomes a positive; none = never."""
    doubtful_from: float | None = None
    """A chosen passage with this score or more is kept with ``valid: false``: no loss counts it; none = never."""

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.relevant_from is None and self.doubtful_from is None:
            raise ValueError("set verify.relevant_from, verify.doubtful_from or both: a score of the verifying model")
        if self.relevant_from is None or self.doubtful_from is None:
            return self
        if self.relevant_from <= self.doubtful_from:
            raise ValueError("verify.relevant_from must be above verify.doubtful_from")
        return self


@final
class MineRecipe(Part):
    """Hard negatives from the whole corpus, found before training."""

    splits: Annotated[tuple[MinedSplit, ...], Field(min_length=1)] = ("train",)
    """Splits whose queries are mined for: train, dev. Test queries never are."""
    models: tuple[str, ...] = ("builtin:minilm",)
    """Models that look for candidates; the first one's scores are what margins are measured in."""
    bm25: bool = True
    """BM25 looks for candidates too."""
    reranker: str | None = None
    """A reranker that scores all candidates and positives anew; margins are then measured in its scores."""
    random: bool = False
    """Draw negatives at random instead of searching; no model is loaded."""
    negatives: Positive = 7
    """Negatives a query."""
    depth: Positive = 100
    """How many passages each retriever finds for a query."""
    min_rank: Positive = 1
    """No passage that any retriever ranks above this is taken; ranks count from 1, positives included."""
    max_rank: Positive | None = None
    """No passage that every retriever ranks below this is taken; none = depth."""
    relative_margin: Annotated[float, Field(ge=0)] | None = 0.05
    """A negative scores at most (1 - margin) times the positive (0.05: 0.95 of it); none = no such limit."""
    absolute_margin: Annotated[float, Field(ge=0)] | None = None
    """A negative scores at least this much less than the positive."""
    max_score: float | None = None
    """A negative scores at most this."""
    min_score: float | None = None
    """A negative scores at least this."""
    margin_from: Literal["lowest", "highest"] = "lowest"
    """Which positive's score the margins start from, where a query has several."""
    choice: Literal["top", "random", "score"] = "top"
    """The highest scores; drawn evenly; or drawn in proportion to the score above the lowest that is left."""
    choose_from: Positive = 30
    """random and score draw from this many of the highest scores that are left."""
    fill: Literal["none", "random"] = "none"
    """Too few left: leave it so, or fill up with random passages of the corpus."""
    near: Annotated[float, Field(gt=0, le=1)] | None = 0.8
    """Word-shingle Jaccard index from which a passage is a duplicate; none = equal texts only."""
    neighbours: Annotated[int, Field(ge=0)] = 1
    """Passages this near to a positive in their document (by metadata ``document`` and ``order``) are left out."""
    existing: Literal["replace", "keep"] = "replace"
    """Negatives of an earlier mining: replaced, or kept beside the new. Given ones always stay."""
    verify: VerifyRecipe | None = None
    """A second look at what was chosen."""
    vectors: Literal["fp32", "fp16"] = "fp32"
    """How vectors are kept on disk; fp16 halves them."""
    model: ModelRecipe = ModelRecipe()
    """How the models are read (lengths, prompts, access); ``name`` is not used: see ``models``."""
    precision: Precision = "auto"
    """Precision of encoding; auto is bf16 where the processor has it."""
    audit_sample: Positive = 200
    """Queries on which false negatives are estimated, and from which the examples come."""
    seed: int = 13
    """Seed of every draw."""

    @field_validator("splits", "models", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list | tuple) else (value,)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problems = [message for bad, message in self._faults() if bad]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _faults(self) -> list[tuple[bool, str]]:
        last = self.depth if self.max_rank is None else self.max_rank
        limits = self.min_score is not None and self.max_score is not None and self.min_score > self.max_score
        return [
            (len(set(self.splits)) < len(self.splits), "splits names a split twice"),
            (len(set(self.models)) < len(self.models), "models names a model twice"),
            (not (self.random or self.models or self.bm25), "name a model, or set bm25 or random to true"),
            (last > self.depth, f"max_rank is beyond depth ({self.depth}): raise depth"),
            (self.min_rank > last, f"min_rank {self.min_rank} is beyond the last rank {last}"),
            (limits, "min_score is above max_score"),
            (self.choice != "top" and self.choose_from < self.negatives, "choose_from is smaller than negatives"),
        ]


@final
class ScoreRecipe(Part):
    """Teacher scores for the pairs of a dataset."""

    teacher: ModelRecipe = ModelRecipe()
    """The model whose scores are written down; its family decides how it scores."""
    splits: Annotated[tuple[MinedSplit, ...], Field(min_length=1)] = ("train",)
    """Splits whose queries are scored: train, dev."""
    positives: bool = True
    """Score the passages that are judged relevant; they are added to the candidates."""
    candidates: bool = True
    """Score the candidates."""
    existing: Literal["replace", "keep"] = "replace"
    """Cells that have a teacher score: scored anew, or left as they are."""
    precision: Precision = "auto"
    """Precision of the teacher; auto is bf16 where the processor has it."""
    block_pairs: Positive = 4096
    """Pairs that are scored between two writes of the part file."""

    @field_validator("splits", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list | tuple) else (value,)

    @model_validator(mode="after")
    def _cells(self) -> Self:
        if not (self.positives or self.candidates):
            raise ValueError("set positives, candidates or both to true: there would be nothing to score")
        return self

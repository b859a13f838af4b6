"""What a dataset is made of: passages, queries, qrels and candidates, all known by id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, final

Qrels = dict[str, dict[str, int]]
"""query id -> passage id -> grade; grade 0 = judged not relevant."""

SPLITS = ("train", "dev", "test")


@final
@dataclass(frozen=True, slots=True)
class Passage:
    """A retrievable text; a chunk of a document."""

    id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """Title and text as a model reads them (BEIR's and MTEB's rule).

        >>> Passage(id="1", title="Cats", text="They purr.").content
        'Cats They purr.'
        """
        return f"{self.title} {self.text}".strip() if self.title else self.text.strip()


@final
@dataclass(frozen=True, slots=True)
class Query:
    """A question. ``metadata`` may hold ``answer``, ``prompt`` (replaces the recipe's query prompt) and ``label``."""

    id: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def prompt(self) -> str | None:
        """The query's own prompt; None = the model's.

        >>> Query(id="1", text="why?", metadata={"prompt": "Question: "}).prompt
        'Question: '
        """
        own = self.metadata.get("prompt")
        return None if own is None else str(own)


@final
@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage set beside a query by a person, a file, a miner or a teacher.

    ``relevance`` is what is known (0 = a hard negative; None = unknown; may be a fraction for scored pairs),
    ``score`` the score of whatever found it, ``teacher`` a teacher's score, ``valid`` False for a suspected false
    negative that must not count in a loss.
    """

    corpus_id: str
    relevance: float | None = None
    score: float | None = None
    teacher: float | None = None
    source: str = ""
    rank: int | None = None
    valid: bool = True


@final
@dataclass(slots=True)
class DatasetInfo:
    """``dataset.json``: where a dataset came from and how it is to be read."""

    name: str
    language: str = "en"
    query_instruction: str = ""
    passage_instruction: str = ""
    licence: str = ""
    sources: list[dict[str, Any]] = field(default_factory=list)
    in_batch_negatives: bool = True


@final
@dataclass(frozen=True, slots=True)
class Seal:
    """What a split was when it was sealed: a hash of it, and a short hash of each of its questions."""

    split: str
    sha256: str
    questions: tuple[str, ...]


@final
@dataclass(slots=True)
class Dataset:
    """A dataset in memory: the BEIR layout plus candidates.

    ``qrels`` maps each split to its judgements; a query belongs to a split by having a line there. ``candidates``
    maps a query id to what mining, teachers or the imported file set beside it. ``seal`` fixes the test split, where
    one was sealed. ``notices`` is not data: what reading
    found that is odd but usable, to be shown to the user, such as a query without text and its line.
    """

    info: DatasetInfo
    corpus: dict[str, Passage]
    queries: dict[str, Query]
    qrels: dict[str, Qrels] = field(default_factory=dict)
    candidates: dict[str, list[Candidate]] = field(default_factory=dict)
    seal: Seal | None = None
    notices: tuple[str, ...] = field(default=(), compare=False)

    def split(self, name: str) -> Qrels:
        """The judgements of a split; empty when there is none."""
        return self.qrels.get(name, {})

    def judged_pairs(self) -> Iterator[tuple[str, str, str, int]]:
        """Every (split, query id, passage id, grade)."""
        for split, qrels in self.qrels.items():
            for query_id, grades in qrels.items():
                for corpus_id, grade in grades.items():
                    yield split, query_id, corpus_id, grade

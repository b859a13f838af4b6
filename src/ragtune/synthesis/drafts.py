"""A query on its way into the dataset, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from ragtune.data.records import Query
from ragtune.run import hash_json


@final
@dataclass(frozen=True, slots=True)
class Draft:
    """A query with the passages that answer it.

    ``origin`` is the language model or ``structure``. ``negatives`` were shown to the model as passages that do not
    answer it. ``unsure`` may answer it: nobody knows.
    """

    text: str
    passage_ids: tuple[str, ...]
    style: str
    origin: str
    answer: str = ""
    quote: str = ""
    negatives: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
    more: Mapping[str, int] = field(default_factory=dict)
    """Passage id -> grade, as a judge said (0 = does not answer)."""

    @property
    def id(self) -> str:
        """The same query for the same passages has the same id."""
        return "s-" + hash_json([self.text, sorted(self.passage_ids)])[:16]

    def as_query(self) -> Query:
        """The query as the dataset holds it."""
        said = {"origin": self.origin, "style": self.style, "answer": self.answer, "quote": self.quote}
        return Query(self.id, self.text, {name: value for name, value in said.items() if value})


@final
@dataclass(frozen=True, slots=True)
class Rejected:
    """A draft that was cut: by which filter, why, and the score that decided."""

    draft: Draft
    filter: str
    reason: str
    score: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """One line of ``rejected.jsonl``."""
        draft = self.draft
        row: dict[str, Any] = {
            "filter": self.filter,
            "reason": self.reason,
            "score": None if self.score is None else round(self.score, 4),
            "query": draft.text,
            "passages": list(draft.passage_ids),
            "style": draft.style,
            "origin": draft.origin,
        }
        return row | {name: value for name in ("answer", "quote") if (value := getattr(draft, name))}


Sieved = tuple[list[Draft], list[Rejected]]
"""What a filter keeps and what it cuts."""

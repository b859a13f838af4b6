"""What columns are called: roles, their usual names, and which formats a set of columns fits."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from ragtune.data.formats.shapes import FormatSpec

Columns = Mapping[str, tuple[str, ...]]
"""Role -> the columns that fill it (only negatives may have several)."""

QUERY = (
    *("query", "question", "anchor", "queries", "search_query", "user_query", "问题", "查询"),
    *("sentence1", "sentence_1", "sentence_a", "text1", "text_a"),
)
POSITIVE = ("positive", "positives", "positive_passage", "positive_passages", "positive_document")
NEGATIVE = ("negative", "negatives", "hard_negative", "hard_negatives", "negative_passages", "negative_document")
PASSAGE = (
    *("passage", "context", "document", "doc", "paragraph", "content", "text", "contexts", "段落"),
    *("sentence2", "sentence_2", "sentence_b", "text2", "text_b"),
)
ANSWER = ("response", "answer", "答案", "回答")
ID = ("id", "_id", "query_id", "qid", "question_id")
PASSAGE_ID = ("passage_id", "corpus_id", "doc_id", "pid", "context_id")

NUMBERED_NEGATIVE = re.compile(r"negative_\d+")
"""sentence-transformers' columns for several negatives: negative_1, negative_2 ..."""


@final
@dataclass(frozen=True, slots=True)
class Match:
    """A format that a set of columns fits."""

    format: str
    columns: Columns

    @property
    def used(self) -> frozenset[str]:
        """The columns with a role."""
        return frozenset(name for names in self.columns.values() for name in names)


def plain_name(column: str) -> str:
    """A column's name as the tables above have it.

    >>> plain_name("Positive-Passage ")
    'positive_passage'
    """
    return re.sub(r"[\s-]+", "_", column.strip().lower())


def candidates(names: Iterable[str], aliases: Collection[str]) -> list[str]:
    """The columns that go by one of the aliases."""
    return [name for name in names if plain_name(name) in aliases]


def match(names: Collection[str], spec: FormatSpec, chosen: Mapping[str, str]) -> Match | list[str]:
    """How the columns fit a format, else what stands against it, one line each.

    ``chosen`` is the user's own role -> column; a column that is chosen for one role is none for another.
    """
    free = [name for name in names if name not in chosen.values()]
    found: dict[str, tuple[str, ...]] = {}
    against: list[str] = []
    for role, aliases in spec.roles.items():
        if role in chosen:
            hits = [chosen[role]] if chosen[role] in names else []
        else:
            hits = candidates(free, aliases)
            if role == "negative" and not hits:
                hits = sorted(filter(NUMBERED_NEGATIVE.fullmatch, free), key=lambda name: int(name.split("_")[1]))
        several = len(hits) > 1 and not (role == "negative" and NUMBERED_NEGATIVE.fullmatch(hits[0]))
        if role in spec.required and not hits:
            against.append(f"no column for {role!r} (known names: {', '.join(aliases)})")
        elif role in spec.required and several:
            against.append(f"several columns for {role!r}: {', '.join(hits)}")
        if hits:
            found[role] = (hits[0],) if several else tuple(hits)
    return against or Match(spec.name, found)


def fitting(names: Collection[str], specs: Iterable[FormatSpec], chosen: Mapping[str, str]) -> list[Match]:
    """The formats that the columns fit; one that uses only a part of another's columns is left out."""
    matches = [found for spec in specs if isinstance(found := match(names, spec, chosen), Match)]
    return [
        one
        for index, one in enumerate(matches)
        if not any(
            one.used < other.used or (one.used == other.used and place < index) for place, other in enumerate(matches)
        )
    ]

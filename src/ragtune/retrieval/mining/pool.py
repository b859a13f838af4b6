"""The corpus as mining sees it: passages by row, their duplicates, their neighbours, and what a query already knows.

Shapes: N passages.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from ragtune.data.duplicates import duplicate_groups, plain_text
from ragtune.data.records import Candidate, Dataset, Passage, Query

MINED = "mined:"
"""What the source of every candidate begins with that mining put there."""
RANDOM = f"{MINED}random"

Rows = frozenset[int]


@final
class Pool:
    """Every passage of a dataset by its row; ``group_N`` is equal where two passages are duplicates.

    ``near`` is the Jaccard index from which two passages are duplicates, None = equal texts only. ``neighbours`` is
    how many passages to each side of a positive count as its neighbours.
    """

    def __init__(self, corpus: Mapping[str, Passage], *, near: float | None, neighbours: int) -> None:
        self.ids = tuple(corpus)
        self.passages = tuple(corpus.values())
        self.row_of = {key: row for row, key in enumerate(self.ids)}
        groups = duplicate_groups(corpus, near=near)
        self.group_N = np.array([self.row_of[groups[key]] for key in self.ids], dtype=np.int64)
        self.blank_N = np.array([not passage.content for passage in self.passages], dtype=bool)
        self._near_rows = _Neighbours(self.passages, reach=neighbours)

    def __len__(self) -> int:
        return len(self.ids)

    def rows_of(self, texts: Collection[str]) -> dict[str, list[int]]:
        """Rows of the passages that are one of these texts (keys of ``text_key``), by text."""
        rows: dict[str, list[int]] = defaultdict(list)
        for row, passage in enumerate(self.passages):
            if (key := text_key(passage.content)) in texts:
                rows[key].append(row)
        return dict(rows)

    def neighbours(self, rows: Iterable[int]) -> Rows:
        """The rows beside these in their documents, themselves left out."""
        rows = set(rows)
        return frozenset({near for row in rows for near in self._near_rows.of(row)} - rows)


def text_key(text: str) -> str:
    """A text without what does not matter for being the same: white space and case.

    >>> text_key(" Why  not? ") == text_key("why not?")
    True
    """
    return plain_text(text).casefold()


@final
class _Neighbours:
    """Passages in the order of their documents: metadata ``document``, and ``order``, ``chunk`` or ``span``."""

    def __init__(self, passages: Sequence[Passage], *, reach: int) -> None:
        self._reach = reach
        self._place: dict[int, tuple[str, int]] = {}
        documents: dict[str, list[tuple[float, int]]] = defaultdict(list)
        for row, passage in enumerate(passages) if reach else ():
            document, order = passage.metadata.get("document"), _order(passage.metadata)
            if document is not None and order is not None:
                documents[str(document)].append((order, row))
        self._documents = {name: [row for _, row in sorted(placed)] for name, placed in documents.items()}
        for name, rows in self._documents.items():
            self._place |= {row: (name, place) for place, row in enumerate(rows)}

    def of(self, row: int) -> list[int]:
        if row not in self._place:
            return []
        name, place = self._place[row]
        return self._documents[name][max(0, place - self._reach) : place + self._reach + 1]


def _order(metadata: Mapping[str, Any]) -> float | None:
    """Where a passage stands in its document; None when its metadata does not say."""
    for name in ("order", "chunk", "span"):
        value = metadata.get(name)
        if isinstance(value, list | tuple) and value:
            value = value[0]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    return None


@final
@dataclass(frozen=True, slots=True)
class Known:
    """What is known about a query before mining, as rows of the pool."""

    positives: Rows
    positive_groups: Rows
    given: Rows
    itself: Rows
    neighbours: Rows


@final
class Knowledge:
    """What is known about each query of the mined splits; test judgements are never looked at."""

    def __init__(self, dataset: Dataset, pool: Pool, *, splits: Sequence[str], keeps_mined: bool) -> None:
        self._dataset = dataset
        self._pool = pool
        self._keeps_mined = keeps_mined
        self._grades = {query: grades for split in splits for query, grades in dataset.split(split).items()}
        self._same_question: dict[str, set[int]] = defaultdict(set)
        for query in self._grades:
            self._same_question[text_key(dataset.queries[query].text)] |= self._own_positives(query)
        self._rows_of_text = pool.rows_of(self._same_question)

    @property
    def queries(self) -> list[str]:
        """The queries that are mined for: those with a text and a positive."""
        return [query for query in self._grades if self._dataset.queries[query].text.strip() and self._positives(query)]

    @property
    def left_out(self) -> int:
        """Queries without a text or a positive."""
        return len(self._grades) - len(self.queries)

    def query(self, query: str) -> Query:
        """A query by its id."""
        return self._dataset.queries[query]

    def kept(self, query: str) -> list[Candidate]:
        """The candidates that stay beside a query."""
        listed = self._dataset.candidates.get(query, [])
        return [c for c in listed if self._keeps_mined or not c.source.startswith(MINED)]

    def of(self, query: str) -> Known:
        """What is known about one query."""
        pool, positives = self._pool, frozenset(self._positives(query))
        judged = {pool.row_of[key] for key in self._grades[query]}
        given = judged | {pool.row_of[c.corpus_id] for c in self.kept(query)}
        return Known(
            positives=positives,
            positive_groups=frozenset(int(pool.group_N[row]) for row in positives),
            given=frozenset(given - positives),
            itself=frozenset(self._rows_of_text.get(text_key(self._dataset.queries[query].text), ())),
            neighbours=pool.neighbours(positives),
        )

    def _positives(self, query: str) -> set[int]:
        """Its own, and those of every query that asks the same."""
        return self._same_question[text_key(self._dataset.queries[query].text)]

    def _own_positives(self, query: str) -> set[int]:
        judged = [key for key, grade in self._grades[query].items() if grade > 0]
        more = [c.corpus_id for c in self._dataset.candidates.get(query, ()) if (c.relevance or 0) > 0]
        return {self._pool.row_of[key] for key in (*judged, *more)}

"""Retrievers as mining uses them: a block of queries in, rows of the pool out, and scores of any passage beside.

Shapes: Q queries, N passages, D dimensions, C candidates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ragtune.data.records import Query
from ragtune.measures.ordering import tie_ranks
from ragtune.retrieval.bm25 import BM25Retriever
from ragtune.retrieval.dense import Encoder
from ragtune.retrieval.exact import plain, search_passages


class FoundBlock(ABC):
    """What a finder found for a block of queries; ``number`` is a query's place in the block."""

    @abstractmethod
    def rows(self, number: int) -> NDArray[np.int64]:
        """Rows of the passages found for a query, best first."""

    @abstractmethod
    def scores(self, number: int, row_C: NDArray[np.int64]) -> NDArray[np.float64]:
        """The finder's score of any passages for a query, found or not."""


class Finder(ABC):
    """Something that finds candidates. ``name`` goes into the candidates' source."""

    name: str

    @abstractmethod
    def find(self, queries: Sequence[Query], *, k: int) -> FoundBlock:
        """The best k passages for each query of a block."""


@final
class DenseFinder(Finder):
    """Searches the vectors of the corpus, which may be a memory map of float32 or float16."""

    def __init__(self, name: str, *, encoder: Encoder, passage_ND: NDArray[np.floating], ids: Sequence[str]) -> None:
        self.name = name
        self._encoder = encoder
        self._passages = plain(passage_ND)
        self._tie_rank_N = tie_ranks(ids)

    def find(self, queries: Sequence[Query], *, k: int) -> FoundBlock:
        """The k largest dot products."""
        texts, prompts = [query.text for query in queries], [query.prompt for query in queries]
        query_QD = self._encoder.encode(texts, kind="query", label=f"queries, {self.name}", prompts=prompts)
        top = search_passages(query_QD, self._passages, self._tie_rank_N, k=k)
        return _DenseFound(query_QD, top.index_Qk, self._passages.stored)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _DenseFound(FoundBlock):
    query_QD: NDArray[np.floating]
    index_Qk: NDArray[np.int64]
    stored_ND: NDArray[np.generic]

    def rows(self, number: int) -> NDArray[np.int64]:
        found: NDArray[np.int64] = self.index_Qk[number]
        return found

    def scores(self, number: int, row_C: NDArray[np.int64]) -> NDArray[np.float64]:
        # As exact search scores: summed in float64, rounded to float32 once
        exact_C = self.stored_ND[row_C].astype(np.float64) @ self.query_QD[number].astype(np.float64)
        score_C: NDArray[np.float64] = exact_C.astype(np.float32).astype(np.float64)
        return score_C


@final
class BM25Finder(Finder):
    """Finds passages that share words with the query."""

    name = "bm25"

    def __init__(self, retriever: BM25Retriever) -> None:
        self._retriever = retriever

    def find(self, queries: Sequence[Query], *, k: int) -> FoundBlock:
        """At most k passages that share a word."""
        return _BM25Found(self._retriever, [query.text for query in queries], k)


@final
class _BM25Found(FoundBlock):
    """Scores a query when it is asked about, and keeps the last one: they come in order."""

    def __init__(self, retriever: BM25Retriever, texts: Sequence[str], k: int) -> None:
        self._retriever = retriever
        self._texts = texts
        self._k = k
        self._last: tuple[int, NDArray[np.float32]] | None = None

    def rows(self, number: int) -> NDArray[np.int64]:
        return self._retriever.best(self._score_N(number), k=self._k)[0]

    def scores(self, number: int, row_C: NDArray[np.int64]) -> NDArray[np.float64]:
        return self._score_N(number)[row_C].astype(np.float64)

    def _score_N(self, number: int) -> NDArray[np.float32]:
        if self._last is None or self._last[0] != number:
            self._last = number, self._retriever.score(self._texts[number])
        return self._last[1]

"""The searches that check queries: BM25 and an embedder, others by choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from ragtune.data.duplicates import duplicate_groups
from ragtune.data.records import Dataset, Query
from ragtune.retrieval.bm25 import BM25Retriever
from ragtune.retrieval.dense import DenseRetriever, Encoder
from ragtune.retrieval.exact import exact_top_k
from ragtune.retrieval.fusion import fuse
from ragtune.retrieval.search import PairScorer, Ranking, Retriever, rerank, search

Vectors = NDArray[np.float32]
RERANKED = 50
"""Passages of each search that a reranker sees."""


@final
class Pool:
    """Searches over one corpus; what a search needs is built when it is first used.

    ``encoder`` gives the embedding model, ``others`` are further first stages, ``scorer`` is a reranker: the last two
    widen what the judge sees.
    """

    def __init__(
        self,
        dataset: Dataset,
        encoder: Callable[[], Encoder],
        *,
        others: Sequence[Retriever] = (),
        scorer: PairScorer | None = None,
    ) -> None:
        self._dataset, self._load = dataset, encoder
        self.corpus = dataset.corpus
        self._others, self._scorer = list(others), scorer

    @cached_property
    def _encoder(self) -> Encoder:
        return self._load()

    @cached_property
    def groups(self) -> dict[str, str]:
        """Passage id -> its group of duplicates."""
        return duplicate_groups(self._dataset.corpus)

    @cached_property
    def bm25(self) -> BM25Retriever:
        """BM25 in the corpus' language."""
        return BM25Retriever(self._dataset.corpus, language=self._dataset.info.language)

    @cached_property
    def passages_ND(self) -> Vectors:
        """Vectors of the passages, in the order of the corpus."""
        texts = [passage.content for passage in self._dataset.corpus.values()]
        return np.asarray(self._encoder.encode(texts, kind="passage", label="passages"), dtype=np.float32)

    @cached_property
    def dense(self) -> DenseRetriever:
        """The embedder over the corpus."""
        from ragtune.retrieval.vectors import VectorStore

        return DenseRetriever(VectorStore.build(self.passages_ND, list(self._dataset.corpus)), self._encoder)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Vectors of queries, of length 1."""
        vector_QD = np.asarray(self._encoder.encode(list(texts), kind="query", label="queries"), dtype=np.float32)
        norm_Q1 = np.linalg.norm(vector_QD, axis=1, keepdims=True)
        unit_QD: Vectors = vector_QD / np.maximum(norm_Q1, 1e-12)
        return unit_QD

    def fused(self, queries: Sequence[Query], *, k: int) -> Ranking:
        """The first k of BM25 and the embedder together, fused by reciprocal rank."""
        return fuse([search(retriever, queries, k=2 * k) for retriever in (self.bm25, self.dense)], top=k)

    def candidates(self, queries: Sequence[Query], *, k: int) -> dict[str, list[str]]:
        """Query id -> the first k of every search, each passage once, best ranks first."""
        rankings = [search(retriever, queries, k=k) for retriever in (self.bm25, self.dense, *self._others)]
        if self._scorer is not None:
            first = fuse([search(retriever, queries, k=RERANKED) for retriever in (self.bm25, self.dense)])
            known = {query.id: query for query in queries}
            again = rerank(first, self._scorer, queries=known, passages=self._dataset.corpus, top=RERANKED)
            rankings.append(again.top(k))
        merged = fuse(rankings)
        return dict(zip(merged.query_ids, merged.passage_ids, strict=True))

    def neighbours(self, ids: Sequence[str], *, among: int = 10) -> dict[str, str]:
        """Passage id -> the nearest passage that is no duplicate of it; a passage without one is left out."""
        if not ids:
            return {}
        keys = list(self._dataset.corpus)
        row_of: Mapping[str, int] = {key: row for row, key in enumerate(keys)}
        rows = [row_of[key] for key in ids]
        found = exact_top_k(self.passages_ND[rows], self.passages_ND, k=min(among, len(keys)), ids=keys)
        nearest: dict[str, str] = {}
        for key, row in zip(ids, found.index_Qk.tolist(), strict=True):
            other = next((keys[place] for place in row if self.groups[keys[place]] != self.groups[key]), None)
            if other is not None:
                nearest[key] = other
        return nearest

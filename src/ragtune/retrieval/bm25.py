"""BM25 over a corpus in memory (bm25s), words chosen by the corpus' language."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ragtune.data.records import Passage, Query
from ragtune.measures.ordering import tie_ranks
from ragtune.retrieval.search import Ranking, Retriever
from ragtune.retrieval.tokenizers import tokenizer_for


@final
class BM25Retriever(Retriever):
    """Finds passages that share words with the query; a passage that shares none is not found.

    Robertson et al. 1995 in Lucene's form, k1 = 1.2 and b = 0.75 being Lucene's defaults.
    """

    def __init__(
        self, corpus: Mapping[str, Passage], *, language: str = "en", k1: float = 1.2, b: float = 0.75
    ) -> None:
        self.ids = np.array(list(corpus), dtype=object)
        self.tokenize = tokenizer_for(language)
        self._tie_rank_N = tie_ranks(list(corpus))
        self._index = _index([self.tokenize(passage.content) for passage in corpus.values()], k1=k1, b=b)

    def retrieve(self, queries: Sequence[Query], *, k: int) -> Ranking:
        """At most k passages that share a word with the query."""
        found = [self.best(self.score(query.text), k=k) for query in queries]
        return Ranking(
            [query.id for query in queries],
            [self.ids[index].tolist() for index, _ in found],
            [score.tolist() for _, score in found],
        )

    def score(self, text: str) -> NDArray[np.float32]:
        """score_N: the BM25 score of every passage for a query text, in the order of ``ids``."""
        known = [token for token in self.tokenize(text) if self._index is not None and token in self._index.vocab_dict]
        if not known:
            return np.zeros(len(self.ids), dtype=np.float32)
        scores: NDArray[np.float32] = self._index.get_scores(known)
        return scores

    def best(self, score_N: NDArray[np.float32], *, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows and scores of the k best above 0 of what ``score`` gave; ties at the edge are settled by id."""
        found = np.flatnonzero(score_N > 0)
        if len(found) > k:
            edge = np.partition(score_N[found], len(found) - k)[len(found) - k]
            found = found[score_N[found] >= edge]
        order = np.lexsort((self._tie_rank_N[found], -score_N[found]))[:k]
        return found[order], score_N[found[order]]


def _index(tokens: Sequence[Sequence[str]], *, k1: float, b: float) -> Any:
    """The bm25s index; None when the corpus has no word at all."""
    if not any(tokens):
        return None
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)
    index = bm25s.BM25(method="lucene", k1=k1, b=b, backend="numpy")
    index.index([list(row) for row in tokens], show_progress=False)
    return index

"""Search over term weights by an inverted index: for each query only the postings of its own terms are read.

Weights are float32; a score is summed in float64, term by term in the vocabulary's order, and rounded to float32 once,
so copies of a passage tie exactly.

Letters: Q queries, N passages, V vocabulary, k results.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragtune.measures.ordering import tie_ranks
from ragtune.retrieval.exact import TopK


def sparse_top_k(query_QV: Any, passage_NV: Any, *, k: int, ids: Sequence[str] | None = None) -> TopK:
    """The k passages with the largest dot product for each query; both are ``scipy.sparse.csr_matrix``.

    Passages that share no term score 0. Equal scores are ordered by ``ids`` descending; without ids the smaller row
    comes first.

    >>> from scipy.sparse import csr_matrix
    >>> terms = csr_matrix(np.float32([[1, 0, 2], [0, 3, 0], [1, 0, 2]]))
    >>> sparse_top_k(terms[[0]], terms, k=3, ids=["a", "b", "c"]).index_Qk
    array([[2, 0, 1]])
    """
    count = passage_NV.shape[0]
    rank_N = np.arange(count) if ids is None else tie_ranks(ids)
    k = min(k, count)
    postings = passage_NV.tocsc()
    found = [_best(_scores(query_QV, row, postings), rank_N, k) for row in range(query_QV.shape[0])]
    index_Qk = np.array([index for index, _ in found], dtype=np.int64).reshape(-1, k)
    return TopK(index_Qk, np.array([score for _, score in found], dtype=np.float32).reshape(-1, k))


def _scores(query_QV: Any, row: int, postings: Any) -> NDArray[np.float32]:
    score_N = np.zeros(postings.shape[0])
    cells = slice(query_QV.indptr[row], query_QV.indptr[row + 1])
    for term, weight in sorted(zip(query_QV.indices[cells].tolist(), query_QV.data[cells].tolist(), strict=True)):
        held = slice(postings.indptr[term], postings.indptr[term + 1])
        # a passage stands once among a term's postings
        score_N[postings.indices[held]] += weight * postings.data[held].astype(np.float64)
    return score_N.astype(np.float32)


def _best(score_N: NDArray[np.float32], rank_N: NDArray[np.int64], k: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The first k places by score, then rank; only passages that reach the k-th score are sorted."""
    least = np.partition(score_N, len(score_N) - k)[len(score_N) - k] if k else np.inf
    reaching = np.flatnonzero(score_N >= least)
    order = reaching[np.lexsort((rank_N[reaching], -score_N[reaching]))][:k]
    return order, score_N[order]

"""Exact late-interaction search over stored token vectors, in bounded memory and trec_eval's order.

float32 products choose the candidates, float64 only scores those and is rounded to float32 once, so copies of a
passage tie exactly.

Letters: Q queries, C passages, S tokens of queries, N tokens of passages, D dimensions, k results.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ragtune.measures.ordering import tie_ranks
from ragtune.models.token_vectors import TokenVectors
from ragtune.retrieval.exact import BLOCK_BYTES, TopK
from ragtune.scoring.maxsim import packed_maxsim, passage_blocks

SPARE = 32
"""Candidates beyond k that float32 keeps, so that rounding cannot push a right one out."""
QUERIES_AT_ONCE = 256


def late_top_k(
    query: TokenVectors,
    passages: TokenVectors,
    *,
    k: int,
    ids: Sequence[str] | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> TopK:
    """The k passages with the highest MaxSim for each query.

    Equal scores are ordered by ``ids`` descending; without ids the smaller row comes first. ``block_bytes`` bounds the
    token similarities that live at once and changes nothing else. No passage may be without tokens.
    """
    rank_C = np.arange(len(passages)) if ids is None else tie_ranks(ids)
    k = min(k, len(passages))
    index_Qk = np.zeros((len(query), k), dtype=np.int64)
    score_Qk = np.zeros((len(query), k), dtype=np.float32)
    if k == 0:
        return TopK(index_Qk, score_Qk)
    for first in range(0, len(query), QUERIES_AT_ONCE):
        places = np.arange(first, min(first + QUERIES_AT_ONCE, len(query)))
        part = query.take(places)
        candidates = _screened(part, passages, keep=min(k + SPARE, len(passages)), cells=max(1, block_bytes // 8))
        for row, place in enumerate(places):
            chosen = candidates[row]
            score_C = late_scores(part.take(np.array([row])), passages.take(chosen))[0]
            order = np.lexsort((rank_C[chosen], -score_C))[:k]
            index_Qk[place], score_Qk[place] = chosen[order], score_C[order]
    return TopK(index_Qk, score_Qk)


def late_scores(query: TokenVectors, passages: TokenVectors) -> NDArray[np.float32]:
    """``score_QC`` of every query against every passage, summed in float64."""
    sides = [part for side in (query, passages) for part in (torch.from_numpy(side.rows_ND).double(), _lengths(side))]
    scores: NDArray[np.float32] = packed_maxsim(*sides).float().numpy()
    return scores


def _screened(query: TokenVectors, passages: TokenVectors, *, keep: int, cells: int) -> NDArray[np.int64]:
    """``index_QK``: the best passages of each query by float32 products, in no order."""
    query_SD, lengths_Q = torch.from_numpy(query.rows_ND).float(), _lengths(query)
    stored_ND = torch.from_numpy(passages.rows_ND)
    best: torch.Tensor | None = None
    number: torch.Tensor | None = None
    step = max(1, cells // max(1, len(query_SD)))
    with torch.inference_mode():
        for column_B, token_BT in passage_blocks(_lengths(passages), cells=step):
            rows_ND = stored_ND[token_BT.flatten()].float()
            counts_B = torch.full((len(column_B),), token_BT.shape[1])
            score_QB = packed_maxsim(query_SD, lengths_Q, rows_ND, counts_B, block_cells=cells)
            number_QB = column_B.expand(len(score_QB), -1)
            if best is not None and number is not None:
                score_QB, number_QB = torch.cat([best, score_QB], dim=1), torch.cat([number, number_QB], dim=1)
            best, place = score_QB.topk(min(keep, score_QB.shape[1]), dim=1, sorted=False)
            number = number_QB.gather(1, place)
    assert number is not None
    found: NDArray[np.int64] = number.numpy()
    return found


def _lengths(vectors: TokenVectors) -> torch.Tensor:
    return torch.from_numpy(np.asarray(vectors.lengths_B, dtype=np.int64))

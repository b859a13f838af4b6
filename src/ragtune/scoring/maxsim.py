"""Late interaction, exact and in bounded memory: each query token's best passage token, added up.

score(q, c) = sum_s max_t <q_s, c_t>   (ColBERT, Khattab and Zaharia 2020, arXiv:2004.12832, equation 3)

Texts are groups of rows behind each other, so no padded token exists that could win a maximum. Of the token-by-token
similarities only the place of each maximum is kept for the backward pass, which multiplies as many rows as there are
maxima, not as many as there are pairs of tokens.

Letters: Q queries, C passages, S tokens of all queries, N tokens of all passages, T tokens of one passage.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor

from ragtune.scoring.similarity import full_precision

BLOCK_CELLS = 2**24
"""Token similarities held at once: 64 MiB in fp32 (assumption: small beside any encoder)."""


def packed_maxsim(
    query_SD: Tensor,
    query_lengths_Q: Tensor,
    passage_ND: Tensor,
    passage_lengths_C: Tensor,
    *,
    block_cells: int = BLOCK_CELLS,
) -> Tensor:
    """``score_QC`` of texts given as rows behind each other, in fp32 (fp64 stays fp64).

    The lengths (int64, on the CPU) say how many rows each text has. A passage without any scores -inf, a query
    without any 0; neither has a gradient. At most ``block_cells`` token similarities live at once, as long as one
    query token fits one passage.

    >>> query, passage = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[-1.0, -2.0], [3.0, 1.0], [0.0, 5.0]])
    >>> packed_maxsim(query, torch.tensor([2]), passage, torch.tensor([1, 2])).tolist()
    [[-3.0, 8.0]]
    """
    with torch.autocast(query_SD.device.type, enabled=False):
        query_SD, passage_ND = full_precision(query_SD), full_precision(passage_ND)
        kept_C = passage_lengths_C > 0
        text_S = torch.repeat_interleave(query_lengths_Q).to(query_SD.device)
        best_SC: Tensor = _BestTokens.apply(query_SD, passage_ND, passage_lengths_C[kept_C], block_cells)  # type: ignore[no-untyped-call]
        score_QK = best_SC.new_zeros(len(query_lengths_Q), best_SC.shape[1]).index_add(0, text_S, best_SC)
        if bool(kept_C.all()):
            return score_QK
        score_QC = score_QK.new_full((len(query_lengths_Q), len(kept_C)), -math.inf)
        return score_QC.index_copy(1, kept_C.nonzero().squeeze(1).to(score_QK.device), score_QK)


def maxsim(
    token_QSD: Tensor,
    mask_QS: Tensor,
    token_CTD: Tensor,
    mask_CT: Tensor,
    *,
    over_query_tokens: Literal["sum", "mean"] = "sum",
    block_cells: int = BLOCK_CELLS,
) -> Tensor:
    """``score_QC`` of padded texts; masks are bool, True = a token.

    What masked tokens hold (NaN too) reaches neither score nor gradient. A passage without any token scores -inf
    (losses leave such cells out) and a query without any token 0. ``mean`` divides by the number of query tokens.

    >>> query, passage = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.tensor([[[-1.0, -2.0], [9.0, 9.0]]])
    >>> maxsim(query, torch.tensor([[True, True]]), passage, torch.tensor([[True, False]])).tolist()
    [[-3.0]]
    """
    lengths_Q, lengths_C = mask_QS.sum(dim=1).cpu(), mask_CT.sum(dim=1).cpu()
    score_QC = packed_maxsim(token_QSD[mask_QS], lengths_Q, token_CTD[mask_CT], lengths_C, block_cells=block_cells)
    return score_QC if over_query_tokens == "sum" else score_QC / lengths_Q[:, None].clamp(min=1).to(score_QC.device)


@final
class _BestTokens(torch.autograd.Function):
    """``best_SC``: each query token's largest similarity within each passage."""

    @staticmethod
    def forward(ctx: Any, query_SD: Tensor, passage_ND: Tensor, lengths_C: Tensor, block_cells: int) -> Tensor:
        best_SC = query_SD.new_empty(len(query_SD), len(lengths_C))
        place_SC = torch.empty(best_SC.shape, dtype=torch.int32, device=query_SD.device)
        for column_B, token_BT in passage_blocks(lengths_C, cells=block_cells):
            token_BT, column_B = token_BT.to(query_SD.device), column_B.to(query_SD.device)
            rows_KD = passage_ND[token_BT.flatten()]
            step = max(1, block_cells // len(rows_KD))
            for first in range(0, len(query_SD), step):
                part = slice(first, first + step)
                similarity = (query_SD[part] @ rows_KD.T).view(-1, *token_BT.shape)
                value, place = similarity.max(dim=-1)
                best_SC[part, column_B] = value
                place_SC[part, column_B] = token_BT.expand(len(value), -1, -1).gather(2, place[..., None])[..., 0].int()
        ctx.save_for_backward(query_SD, passage_ND, place_SC)
        return best_SC

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad_SC,) = grads
        query_SD, passage_ND, place_SC = ctx.saved_tensors
        if place_SC.numel() == 0:
            return torch.zeros_like(query_SD), torch.zeros_like(passage_ND), None, None
        grad_query = F.embedding_bag(place_SC, passage_ND, per_sample_weights=grad_SC, mode="sum")
        # the same maxima once more, in the order of the passage tokens that won them
        order_M = torch.argsort(place_SC.flatten(), stable=True)
        wins_N = torch.bincount(place_SC.flatten(), minlength=len(passage_ND))
        grad_passage = F.embedding_bag(
            order_M // place_SC.shape[1],
            query_SD,
            offsets=wins_N.cumsum(0) - wins_N,
            per_sample_weights=grad_SC.flatten()[order_M],
            mode="sum",
        )
        return grad_query, grad_passage, None, None


def passage_blocks(lengths_C: Tensor, *, cells: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Passages of like length together: their numbers, and ``token_BT``, the places of their rows.

    Shorter ones are filled up by their own first row, which changes no maximum. A block has at most ``cells`` rows, as
    long as one passage fits. No length may be 0.
    """
    order_C = torch.argsort(lengths_C, stable=True)
    start_C = lengths_C.cumsum(0) - lengths_C
    sizes = lengths_C[order_C].tolist()
    first = 0
    while first < len(sizes):
        last = first + 1
        while last < len(sizes) and _fits(sizes, first, last, cells):
            last += 1
        column_B = order_C[first:last]
        offset_BT = torch.arange(sizes[last - 1]).expand(last - first, -1)
        inside_BT = offset_BT < lengths_C[column_B, None]
        yield column_B, start_C[column_B, None] + torch.where(inside_BT, offset_BT, 0)
        first = last


# Share of the shortest length by which lengths of one block may differ
BLOCK_SPREAD = 0.25
# Rows of a block below which short passages are put together whatever their lengths
SMALL_BLOCK = 256


def _fits(sizes: list[int], first: int, last: int, cells: int) -> bool:
    rows = sizes[last] * (last - first + 1)
    return rows <= cells and (rows <= SMALL_BLOCK or sizes[last] <= sizes[first] * (1 + BLOCK_SPREAD) + 2)

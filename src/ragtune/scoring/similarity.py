"""Scores of every query against every passage, in fp32 (fp64 stays fp64) whatever the autocast setting.

Shapes: Q queries, C candidate passages, S query tokens, T passage tokens, D dimensions, V vocabulary.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK_CELLS = 2**24
"""Token similarities held at once by :func:`maxsim`: 64 MiB in fp32 (assumption: small beside any encoder)."""


def full_precision(tensor: Tensor) -> Tensor:
    """The tensor in fp32, or in fp64 where it was."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def dot(query_QD: Tensor, passage_CD: Tensor) -> Tensor:
    """``score_QC``, the inner products; bf16 vectors are widened before they are multiplied.

    >>> dot(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]])).tolist()
    [[11.0, 2.0]]
    """
    with torch.autocast(query_QD.device.type, enabled=False):
        return full_precision(query_QD) @ full_precision(passage_CD).T


def cosine(query_QD: Tensor, passage_CD: Tensor) -> Tensor:
    """``score_QC`` in [-1, 1]; a zero vector scores 0 against everything.

    >>> cosine(torch.tensor([[3.0, 4.0]]), torch.tensor([[6.0, 8.0], [0.0, 0.0]])).tolist()
    [[1.0, 0.0]]
    """
    return dot(F.normalize(full_precision(query_QD), dim=-1), F.normalize(full_precision(passage_CD), dim=-1))


def sparse_dot(query_QV: Tensor, passage_CV: Tensor) -> Tensor:
    """``score_QC`` of vocabulary weights, dense tensors or sparse ones (COO, CSR) on either side.

    >>> weights = torch.tensor([[0.0, 2.0, 0.0]])
    >>> sparse_dot(weights, weights.to_sparse()).tolist()
    [[4.0]]
    """
    if query_QV.layout == passage_CV.layout == torch.strided:
        return dot(query_QV, passage_CV)
    with torch.autocast(query_QV.device.type, enabled=False):
        query_QV, passage_CV = full_precision(query_QV), full_precision(passage_CV)
        if passage_CV.layout == torch.strided:
            return _sparse_product(query_QV, passage_CV.T)
        if query_QV.layout != torch.strided:
            query_QV = query_QV.to_dense()
        return _sparse_product(passage_CV, query_QV.T).T


def _sparse_product(sparse: Tensor, dense: Tensor) -> Tensor:
    product: Tensor = torch.sparse.mm(sparse, dense)
    return product


def maxsim(
    token_QSD: Tensor,
    mask_QS: Tensor,
    token_CTD: Tensor,
    mask_CT: Tensor,
    *,
    over_query_tokens: Literal["sum", "mean"] = "sum",
    block_cells: int = BLOCK_CELLS,
) -> Tensor:
    """``score_QC`` by late interaction: each query token's best passage token, added up over the query's tokens.

    score(q, c) = sum_s max_t <q_s, c_t>   (ColBERT, Khattab and Zaharia 2020, arXiv:2004.12832, equation 3)

    Masks are bool, True = a token. A masked passage token is -inf, so it wins no maximum even where all real
    similarities are negative; what masked tokens hold (NaN too) reaches neither score nor gradient. A passage
    without any token scores -inf (losses leave such cells out) and a query without any token 0. ``mean`` divides
    by the number of query tokens. At most ``block_cells`` token similarities live at once, backward included, as
    long as one query fits one passage.

    >>> query, passage = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.tensor([[[-1.0, -2.0], [9.0, 9.0]]])
    >>> maxsim(query, torch.tensor([[True, True]]), passage, torch.tensor([[True, False]])).tolist()
    [[-3.0]]
    """
    if token_CTD.shape[1] == 0:
        token_CTD, mask_CT = F.pad(token_CTD, (0, 0, 0, 1)), F.pad(mask_CT, (0, 1))
    token_QSD = full_precision(token_QSD).masked_fill(~mask_QS[..., None], 0.0)
    token_CTD = full_precision(token_CTD).masked_fill(~mask_CT[..., None], 0.0)
    query_tokens, passage_tokens = max(1, token_QSD.shape[1]), token_CTD.shape[1]
    query_step = max(1, block_cells // (query_tokens * passage_tokens))
    passage_step = max(1, block_cells // (query_tokens * passage_tokens * min(query_step, len(token_QSD) or 1)))
    passages = [*zip(torch.split(token_CTD, passage_step), torch.split(mask_CT, passage_step), strict=True)]
    rows = []
    with torch.autocast(token_QSD.device.type, enabled=False):
        for query in zip(torch.split(token_QSD, query_step), torch.split(mask_QS, query_step), strict=True):
            rows.append(torch.cat([_maxsim_block(*query, *passage) for passage in passages], dim=1))
    score_QC = torch.cat(rows)
    return score_QC if over_query_tokens == "sum" else score_QC / mask_QS.sum(dim=1, keepdim=True).clamp(min=1)


def _maxsim_block(token_QSD: Tensor, mask_QS: Tensor, token_CTD: Tensor, mask_CT: Tensor) -> Tensor:
    similarity_QSCT = torch.einsum("qsd,ctd->qsct", token_QSD, token_CTD)
    # max keeps indices alone for the backward pass, so the big tensor is gone when the block is done
    best_QSC = similarity_QSCT.masked_fill(~mask_CT, -math.inf).max(dim=-1).values
    return best_QSC.masked_fill(~mask_QS[..., None], 0.0).sum(dim=1)

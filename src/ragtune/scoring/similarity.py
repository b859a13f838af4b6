"""Scores of every query against every passage, in fp32 (fp64 stays fp64) whatever the autocast setting.

Shapes: Q queries, C candidate passages, D dimensions, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


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

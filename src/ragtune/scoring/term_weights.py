"""Vocabulary weights of a text: the largest logit of each term over the text's tokens, through log(1 + relu).

w_v = max_t log(1 + relu(h_t . W_v + b_v))   (SPLADE-max, Formal et al. 2021, arXiv:2109.10086, equations 1 and 6)

Only the place of each maximum is kept for the backward pass: logits of a few texts at a time live at once, never those
of a whole batch.

Letters: B texts, N tokens of all texts, T tokens of one, H hidden width, V vocabulary.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor


def max_term_weights(state_NH: Tensor, lengths_B: Tensor, weight_VH: Tensor, bias_V: Tensor) -> Tensor:
    """``weight_BV``, fp32 (fp64 stays fp64); products are computed in the dtype of ``state_NH``.

    >>> state, table = torch.tensor([[1.0], [3.0], [-1.0]]), torch.tensor([[1.0], [-1.0]])
    >>> max_term_weights(state, torch.tensor([2, 1]), table, torch.zeros(2)).exp().sub(1).round().tolist()
    [[3.0, 0.0], [0.0, 1.0]]
    """
    logit_BV: Tensor = _LargestLogits.apply(state_NH, lengths_B, weight_VH, bias_V)  # type: ignore[no-untyped-call]
    return torch.log1p(torch.relu(logit_BV))


@final
class _LargestLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, state_NH: Tensor, lengths_B: Tensor, weight_VH: Tensor, bias_V: Tensor) -> Tensor:
        table_HV = weight_VH.to(state_NH.dtype).T
        dtype = torch.promote_types(state_NH.dtype, torch.float32)
        largest, places = [], []
        for text_TH in state_NH.split(lengths_B.tolist()):
            value_V, place_V = (text_TH @ table_HV).max(dim=0)
            largest.append(value_V.to(dtype) + bias_V.to(dtype))
            places.append(place_V.int())
        ctx.save_for_backward(state_NH, weight_VH, bias_V, torch.stack(places))
        ctx.lengths = lengths_B.tolist()
        return torch.stack(largest)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad_BV,) = grads
        state_NH, weight_VH, bias_V, place_BV = ctx.saved_tensors
        table_VH = weight_VH.to(state_NH.dtype)
        grad_state, grad_table = [], torch.zeros_like(weight_VH)
        for text_TH, place_V, grad_V in zip(state_NH.split(ctx.lengths), place_BV, grad_BV, strict=True):
            # a term that the relu cut off has no gradient, and most terms are cut off
            term_K = grad_V.nonzero().squeeze(1)
            cell_TK = state_NH.new_zeros(len(text_TH), len(term_K))
            cell_TK.scatter_(0, place_V[term_K].long()[None], grad_V[term_K].to(state_NH.dtype)[None])
            grad_state.append(cell_TK @ table_VH[term_K])
            grad_table.index_add_(0, term_K, (cell_TK.T @ text_TH).to(weight_VH.dtype))
        return torch.cat(grad_state), None, grad_table, grad_BV.sum(dim=0).to(bias_V.dtype)


def flops_penalty(weight_BV: Tensor) -> Tensor:
    """How many multiplications a query of these texts would cost: sum over terms of their mean weight, squared.

    l = sum_v (mean_b w_bv)^2   (Paria et al. 2020, arXiv:2004.05665, equation 4)

    >>> float(flops_penalty(torch.tensor([[1.0, 0.0], [1.0, 2.0]])))
    2.0
    """
    return weight_BV.mean(dim=0).square().sum()

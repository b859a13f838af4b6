"""Losses that teach a model another model's scores.

Shapes: Q queries, C candidates, K as many candidates as the fullest row's teacher scored.
Cells that the teacher did not score (NaN) are not its business: :func:`m3_distillation` alone looks at them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ragtune.scoring.losses.cells import (
    Cells,
    Scope,
    compact,
    finish,
    left_aligned,
    log_softmax,
    log_sum_exp,
    mean_over,
    teacher_scores,
    usable_cells,
)
from ragtune.scoring.targets import Targets


def kl_divergence(
    score_QC: Tensor,
    targets: Targets,
    *,
    temperature: float = 0.02,
    teacher_temperature: float = 1.0,
    hinton_scale: bool = False,
    scope: Scope = "batch",
) -> Tensor:
    """How far the model's distribution over a query's candidates is from the teacher's.

    Over the cells that the teacher scored:

        t = softmax(teacher / teacher_temperature),  loss = sum_i t_i ( log t_i - log softmax(score / temperature)_i )

    (Hinton et al. 2015, arXiv:1503.02531, section 2, with the constant that makes the best possible loss 0; for
    retrieval Lin et al. 2020, arXiv:2010.11386.) ``hinton_scale`` multiplies by temperature^2, so that the gradient
    keeps its size when the temperature changes. A single scored cell teaches nothing and gives 0.

    >>> mask = torch.ones(1, 2, dtype=torch.bool)
    >>> targets = Targets(torch.tensor([[1.0, 0.0]]), mask, teacher_QC=torch.tensor([[2.0, 0.0]]))
    >>> [round(v, 4) for v in kl_divergence(torch.tensor([[1.0, 1.0]]), targets, temperature=1.0).tolist()]
    [0.3278]
    """
    cells = usable_cells(score_QC, targets, scope, temperature=temperature, teacher=True)
    log_teacher_QC = log_softmax(_teacher(targets, cells, teacher_temperature), cells.use_QC)
    gap_QC = log_teacher_QC - log_softmax(cells.score_QC, cells.use_QC)
    loss_Q = (log_teacher_QC.exp() * gap_QC).masked_fill(~cells.use_QC, 0.0).sum(dim=1)
    if hinton_scale:
        loss_Q = loss_Q * temperature**2
    return finish(loss_Q, cells.use_QC.sum(dim=1) > 1, targets)


def m3_distillation(
    score_QC: Tensor,
    targets: Targets,
    *,
    temperature: float = 0.02,
    teacher_temperature: float = 1.0,
    scope: Scope = "batch",
) -> Tensor:
    """One softmax cross-entropy after the other, best candidate first, each without those before it.

    The candidates that the teacher scored stand in the order of their relevance, then of the teacher's score. With
    t = softmax(teacher / teacher_temperature) over them, s = score / temperature and N the row's other negatives in
    scope:

        loss = - sum_k t_k log( exp(s_k) / ( sum_{j not before k} exp(s_j) + sum_{n in N} exp(s_n) ) )

    So the i-th best candidate is told from everything worse, in-batch negatives too, and never from what is better.
    The idea is FlagEmbedding's ``m3_kd_loss`` for BGE-M3 (Chen et al. 2024, arXiv:2402.03216, section 3.3), which
    goes by the order of the list; here the scores decide, candidates of the same rank compete with each other, and
    positives without a teacher score are left out instead of counted as negatives.

    >>> mask = torch.ones(1, 3, dtype=torch.bool)
    >>> targets = Targets(torch.tensor([[1.0, 0.0, 0.0]]), mask, teacher_QC=torch.tensor([[2.0, 0.0, math.nan]]))
    >>> [round(v, 4) for v in m3_distillation(torch.zeros(1, 3), targets, temperature=1.0).tolist()]
    [1.0503]
    """
    cells = usable_cells(score_QC, targets, scope, temperature=temperature)
    taught_QC = cells.use_QC & ~torch.isnan(teacher_scores(targets))
    taught = Cells(cells.score_QC, cells.relevance_QC, taught_QC)
    others_QC = cells.negative_QC & ~taught_QC
    others_Q = log_sum_exp(cells.score_QC, others_QC).masked_fill(~others_QC.any(dim=1), -math.inf)
    index_QK, use_QK = left_aligned(taught_QC)
    score_QK, relevance_QK = cells.score_QC.gather(1, index_QK), cells.relevance_QC.gather(1, index_QK)
    teacher_QK = _teacher(targets, taught, teacher_temperature).gather(1, index_QK)
    not_before_QKK = _not_before(relevance_QK, teacher_QK) & use_QK[:, None, :]
    from_here_QK = log_sum_exp(score_QK[:, None, :].expand_as(not_before_QKK), not_before_QKK)
    terms_QK = torch.logaddexp(from_here_QK, others_Q[:, None]) - score_QK
    weight_QK = log_softmax(teacher_QK, use_QK).exp()
    loss_Q = (weight_QK * terms_QK).masked_fill(~use_QK, 0.0).sum(dim=1)
    return finish(loss_Q, (taught_QC | others_QC).sum(dim=1).gt(1) & taught_QC.any(dim=1), targets)


def margin_mse(score_QC: Tensor, targets: Targets, *, scope: Scope = "batch") -> Tensor:
    """The distance between a positive and a negative is to be what the teacher says.

    Over the positives p and negatives n that the teacher scored:

        loss = mean over p, n of ( (s_p - s_n) - (t_p - t_n) )^2

    (Margin-MSE, Hofstaetter et al. 2020, arXiv:2010.02666.) The scores are compared as they are: a model with
    normalised vectors needs a teacher whose margins lie in the same range.

    >>> mask = torch.ones(1, 2, dtype=torch.bool)
    >>> targets = Targets(torch.tensor([[1.0, 0.0]]), mask, teacher_QC=torch.tensor([[0.9, 0.4]]))
    >>> [round(value, 4) for value in margin_mse(torch.tensor([[0.8, 0.6]]), targets).tolist()]
    [0.09]
    """
    all_cells = usable_cells(score_QC, targets, scope, teacher=True)
    teacher_QC = _teacher(targets, all_cells)
    cells, kept_QC = compact(all_cells)
    error_QC = cells.score_QC - teacher_QC.gather(1, kept_QC)
    index_QK, positive_QK = left_aligned(cells.positive_QC)
    error_QKC = error_QC.gather(1, index_QK)[:, :, None] - error_QC[:, None, :]
    pair_QKC = positive_QK[:, :, None] & cells.negative_QC[:, None, :]
    loss_Q = mean_over(error_QKC.square().flatten(1), pair_QKC.flatten(1))
    return finish(loss_Q, pair_QKC.flatten(1).any(dim=1), targets)


def _teacher(targets: Targets, cells: Cells, temperature: float = 1.0) -> Tensor:
    """The teacher's scores in the precision of the model's, 0 where they do not count."""
    return teacher_scores(targets).to(cells.score_QC.dtype).masked_fill(~cells.use_QC, 0.0) / temperature


def _not_before(relevance_QK: Tensor, teacher_QK: Tensor) -> Tensor:
    """[q, k, j]: j is no better than k, by relevance and then by the teacher."""
    relevance_gap_QKK = relevance_QK[:, :, None] - relevance_QK[:, None, :]
    teacher_gap_QKK = teacher_QK[:, :, None] - teacher_QK[:, None, :]
    return (relevance_gap_QKK > 0) | ((relevance_gap_QKK == 0) & (teacher_gap_QKK >= 0))

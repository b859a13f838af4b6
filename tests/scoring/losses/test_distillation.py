"""Closed forms of the losses that follow a teacher, and the sequential one computed a second, naive way."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ragtune.scoring.losses.distillation import kl_divergence, m3_distillation, margin_mse
from ragtune.scoring.losses.softmax import softmax
from ragtune.scoring.targets import Targets

NONE = math.nan


def taught(relevance: list[float], teacher: list[float], own: list[bool] | None = None) -> Targets:
    valid_QC = torch.ones(1, len(relevance), dtype=torch.bool)
    own_QC = None if own is None else torch.tensor([own])
    return Targets(torch.tensor([relevance]), valid_QC, torch.tensor([teacher]), own_QC)


def test_kl_is_zero_where_student_and_teacher_agree_up_to_a_constant() -> None:
    targets = taught([1, 0, 0], [5.0, 3.0, -1.0])
    score_QC = torch.tensor([[0.5, 0.3, -0.1]], requires_grad=True)
    loss_Q = kl_divergence(score_QC + 7, targets, temperature=0.1, teacher_temperature=1.0)
    assert loss_Q.item() == pytest.approx(0, abs=1e-5)
    assert torch.autograd.grad(loss_Q.sum(), score_QC)[0].abs().max() < 1e-4


def test_kl_divergence_of_two_known_distributions() -> None:
    targets = taught([1, 0], [math.log(3.0), 0.0])
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert kl_divergence(torch.zeros(1, 2), targets).item() == pytest.approx(expected)
    flat = taught([1, 0], [2 * math.log(3.0), 0.0])
    assert kl_divergence(torch.zeros(1, 2), flat, teacher_temperature=2.0).item() == pytest.approx(expected)
    scaled = kl_divergence(torch.zeros(1, 2), targets, temperature=3.0, hinton_scale=True)
    assert scaled.item() == pytest.approx(9 * expected)


def test_cells_without_a_teacher_are_not_kl_divergences_business() -> None:
    wide = kl_divergence(torch.tensor([[0.1, 5.0, 0.3]]), taught([1, 0, 0], [1.0, NONE, 2.0]))
    narrow = kl_divergence(torch.tensor([[0.1, 0.3]]), taught([1, 0], [1.0, 2.0]))
    torch.testing.assert_close(wide, narrow)
    assert kl_divergence(torch.tensor([[0.1, 5.0]]), taught([1, 0], [1.0, NONE])).item() == 0


def naive_sequential(score: Tensor, teacher: Tensor, group: int, temperature: float) -> Tensor:
    """The published loop: own candidates stand first, in the order of their quality, in-batch negatives after them."""
    score, weight = score / temperature, teacher[:group].softmax(0)
    total = torch.zeros((), dtype=score.dtype)
    for k in range(group):
        total = total + weight[k] * (score[k:].logsumexp(0) - score[k])
    return total


def test_m3_and_its_gradient_against_the_naive_loop() -> None:
    score = torch.rand(7, dtype=torch.float64).requires_grad_()
    teacher = torch.tensor([3.0, 2.5, 1.0, -2.0, NONE, NONE, NONE])
    targets = taught([1, 0, 0, 0, 0, 0, 0], teacher.tolist())
    naive = naive_sequential(score, teacher.double(), 4, 0.1)
    ours = m3_distillation(score[None], targets, temperature=0.1)[0]
    torch.testing.assert_close(ours, naive)
    torch.testing.assert_close(torch.autograd.grad(ours, score), torch.autograd.grad(naive, score))


def test_m3_orders_by_relevance_before_the_teacher() -> None:
    score = torch.rand(3, dtype=torch.float64)
    ours = m3_distillation(score[None], taught([0, 1, 0], [2.0, 1.0, 0.0]), temperature=1.0)[0]
    order = torch.tensor([1, 0, 2])
    naive = naive_sequential(score[order], torch.tensor([1.0, 2.0, 0.0]).double(), 3, 1.0)
    torch.testing.assert_close(ours, naive)


def test_m3_candidates_of_the_same_rank_compete() -> None:
    loss_Q = m3_distillation(torch.zeros(1, 3), taught([1, 0, 0], [0.0, 0.0, 0.0]))
    assert loss_Q.item() == pytest.approx((math.log(3) + 2 * math.log(2)) / 3)


def test_m3_with_one_taught_candidate_is_the_softmax_loss() -> None:
    score_QC, targets = torch.rand(1, 4), taught([1, 0, 0, 0], [0.7, NONE, NONE, NONE])
    torch.testing.assert_close(m3_distillation(score_QC, targets), softmax(score_QC, targets))


def test_m3_leaves_a_positive_without_a_teacher_out() -> None:
    with_it = m3_distillation(torch.tensor([[0.3, 0.9, 0.1]]), taught([1, 1, 0], [1.0, NONE, 0.0]))
    without = m3_distillation(torch.tensor([[0.3, 0.1]]), taught([1, 0], [1.0, 0.0]))
    torch.testing.assert_close(with_it, without)


def test_m3_own_scope_leaves_in_batch_negatives_out() -> None:
    targets = taught([1, 0, 0], [1.0, 0.0, NONE], own=[True, True, False])
    narrow = m3_distillation(torch.tensor([[0.3, 0.1]]), taught([1, 0], [1.0, 0.0]))
    torch.testing.assert_close(m3_distillation(torch.tensor([[0.3, 0.1, 9.0]]), targets, scope="own"), narrow)


def test_margin_mse() -> None:
    # margins: student 0.3 and 0.6, teacher 0.5 and 0.2
    loss_Q = margin_mse(torch.tensor([[0.9, 0.6, 0.3, 4.0]]), taught([1, 0, 0, 0], [1.0, 0.5, 0.8, NONE]))
    assert loss_Q.item() == pytest.approx((0.2**2 + 0.4**2) / 2)


def test_margin_mse_does_not_see_constants() -> None:
    targets = taught([2, 0, 1], [3.0, 1.0, 2.0])
    score_QC = torch.rand(1, 3)
    torch.testing.assert_close(margin_mse(score_QC + 5, targets), margin_mse(score_QC, targets))

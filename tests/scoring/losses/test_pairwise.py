"""Closed forms of triplet, circle and CoSENT, and a second way to compute the last two."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from ragtune.scoring.losses.pairwise import circle, cosent, triplet
from ragtune.scoring.targets import Targets


def all_valid(relevance_QC: Tensor, **more: Tensor) -> Targets:
    return Targets(relevance_QC.float(), torch.ones_like(relevance_QC, dtype=torch.bool), **more)


@pytest.mark.parametrize(
    ("negatives", "expected"), [("all", (0.1 + 0.0 + 0.3 + 0.1) / 4), ("hardest", (0.1 + 0.3) / 2)]
)
def test_triplet(negatives: str, expected: float) -> None:
    score_QC, targets = torch.tensor([[0.7, 0.5, 0.6, 0.4]]), all_valid(torch.tensor([[1, 1, 0, 0]]))
    assert triplet(score_QC, targets, negatives=negatives).item() == pytest.approx(expected)


def test_triplet_margin() -> None:
    targets = all_valid(torch.tensor([[1, 0]]))
    assert triplet(torch.tensor([[0.7, 0.5]]), targets, margin=0.2).item() == pytest.approx(0, abs=1e-7)
    assert triplet(torch.tensor([[0.7, 0.5]]), targets, margin=1.0).item() == pytest.approx(0.8)


@pytest.mark.parametrize("relevance", [[1, 1], [0, 0]])
def test_losses_of_positives_against_negatives_need_both(relevance: list[int]) -> None:
    targets = all_valid(torch.tensor([relevance]))
    for loss in (triplet, circle):
        assert loss(torch.tensor([[0.1, 0.2]]), targets).item() == 0


def naive_circle(score: Tensor, relevance: Tensor, gamma: float, margin: float) -> Tensor:
    """Equation 6 of the paper as it is printed: one sum over all pairs."""
    total = torch.ones((), dtype=score.dtype)
    for s_p, s_n in itertools.product(score[relevance > 0], score[relevance == 0]):
        alpha_p, alpha_n = max(1 + margin - s_p.item(), 0.0), max(s_n.item() + margin, 0.0)
        total = total + torch.exp(gamma * (alpha_n * (s_n - margin) - alpha_p * (s_p - (1 - margin))))
    return total.log()


@pytest.mark.parametrize("gamma", [1.0, 16.0, 80.0])
@pytest.mark.parametrize("margin", [0.25, 0.4])
def test_circle_and_its_gradient_against_a_naive_circle(gamma: float, margin: float) -> None:
    score = (torch.rand(6, dtype=torch.float64) * 2 - 1).requires_grad_()
    relevance = torch.tensor([1, 0, 0, 2, 0, 1])
    naive = naive_circle(score, relevance, gamma, margin)
    ours = circle(score[None], all_valid(relevance[None]), temperature=1 / gamma, margin=margin)[0]
    torch.testing.assert_close(ours, naive)
    torch.testing.assert_close(torch.autograd.grad(ours, score), torch.autograd.grad(naive, score))


def test_circle_lets_go_of_what_is_beyond_its_optimum() -> None:
    score_QC = torch.tensor([[1.5, -0.5]], requires_grad=True)
    circle(score_QC, all_valid(torch.tensor([[1, 0]]))).sum().backward()
    assert score_QC.grad is not None and (score_QC.grad == 0).all()


def naive_cosent(score: Tensor, relevance: Tensor, temperature: float, weight: Tensor) -> Tensor:
    total = torch.ones((), dtype=score.dtype)
    for i, j in itertools.permutations(range(len(score)), 2):
        if relevance[i] > relevance[j]:
            total = total + weight[i] * weight[j] * torch.exp((score[j] - score[i]) / temperature)
    return total.log()


@pytest.mark.parametrize("weighted", [False, True])
def test_cosent_and_its_gradient_against_a_naive_cosent(weighted: bool) -> None:
    score_QC = torch.rand(8, 1, dtype=torch.float64).requires_grad_()
    relevance_QC = torch.tensor([[0.1], [0.9], [0.4], [0.4], [0.9], [0.1], [0.0], [0.7]])
    weight_Q = torch.tensor([1.0, 0.5, 2.0, 0.0, 1.0, 3.0, 1.0, 1.0]).double() if weighted else torch.ones(8).double()
    targets = all_valid(relevance_QC, **({"weight_Q": weight_Q} if weighted else {}))
    loss_Q = cosent(score_QC, targets, temperature=0.2)
    naive = naive_cosent(score_QC[:, 0], relevance_QC[:, 0], 0.2, weight_Q)
    torch.testing.assert_close(loss_Q, naive * weight_Q)
    gradients = [torch.autograd.grad(value, score_QC)[0] for value in (loss_Q.sum() / weight_Q.sum(), naive)]
    torch.testing.assert_close(*gradients)


def test_a_row_of_weight_two_is_the_same_row_twice() -> None:
    score_QC, relevance_QC = torch.rand(3, 2).double(), torch.tensor([[0.1, 0.8], [0.5, 0.0], [1.0, 0.3]])
    weight_Q, twice = torch.tensor([1.0, 2.0, 1.0]), torch.tensor([0, 1, 1, 2])
    weighted = cosent(score_QC, all_valid(relevance_QC, weight_Q=weight_Q)).sum() / weight_Q.sum()
    torch.testing.assert_close(weighted, cosent(score_QC[twice], all_valid(relevance_QC[twice])).mean())


def test_cosent_of_equal_labels_is_zero() -> None:
    assert cosent(torch.rand(4, 1), all_valid(torch.ones(4, 1))).tolist() == [0, 0, 0, 0]


def test_one_misordered_pair() -> None:
    loss_Q = cosent(torch.tensor([[0.2], [0.5]]), all_valid(torch.tensor([[1], [0]])), temperature=0.1)
    assert loss_Q.tolist() == pytest.approx([math.log(1 + math.exp(3))] * 2)

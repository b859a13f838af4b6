"""Closed forms of the softmax loss and of its three treatments of several positives."""

from __future__ import annotations

import math

import pytest
import torch

from ragtune.scoring.losses.softmax import softmax
from ragtune.scoring.targets import Targets


def targets_of(relevance: list[list[float]], own: list[list[bool]] | None = None) -> Targets:
    relevance_QC = torch.tensor(relevance)
    own_QC = None if own is None else torch.tensor(own)
    return Targets(relevance_QC, torch.ones_like(relevance_QC, dtype=torch.bool), own_QC=own_QC)


@pytest.mark.parametrize("positives", ["apart", "mean", "sum"])
@pytest.mark.parametrize("negatives", [1, 7, 99])
def test_equal_scores_cost_the_log_of_the_number_of_candidates(positives: str, negatives: int) -> None:
    loss_Q = softmax(torch.zeros(1, 1 + negatives), targets_of([[1.0] + [0.0] * negatives]), positives=positives)
    assert loss_Q.item() == pytest.approx(math.log(1 + negatives))


@pytest.mark.parametrize("positives", ["apart", "mean", "sum"])
def test_with_one_positive_it_is_the_cross_entropy(positives: str) -> None:
    score_QC, target_Q = torch.randn(5, 9), torch.tensor([3, 0, 8, 1, 3])
    relevance_QC = torch.nn.functional.one_hot(target_Q, 9).float()
    loss_Q = softmax(
        score_QC, Targets(relevance_QC, torch.ones(5, 9, dtype=torch.bool)), temperature=0.3, positives=positives
    )
    torch.testing.assert_close(loss_Q, torch.nn.functional.cross_entropy(score_QC / 0.3, target_Q, reduction="none"))


@pytest.mark.parametrize(
    ("positives", "expected"),
    [
        ("apart", (math.log(1 + 3 / 4) + math.log(1 + 3 / 2)) / 2),
        ("mean", (math.log(9 / 4) + math.log(9 / 2)) / 2),
        ("sum", math.log(9 / 6)),
    ],
)
def test_several_positives(positives: str, expected: float) -> None:
    score_QC = torch.tensor([[4.0, 2.0, 1.0, 2.0]]).log()
    loss_Q = softmax(score_QC, targets_of([[1, 3, 0, 0]]), temperature=1.0, positives=positives)
    assert loss_Q.item() == pytest.approx(expected)


def test_a_second_positive_never_pushes_the_first_when_they_stand_apart() -> None:
    score_QC = torch.tensor([[5.0, -5.0, 0.0]], requires_grad=True)
    softmax(score_QC, targets_of([[1, 1, 0]]), temperature=1.0).sum().backward()
    assert score_QC.grad is not None and (score_QC.grad[0, :2] < 0).all() and score_QC.grad[0, 2] > 0


def test_own_scope_leaves_other_queries_candidates_out() -> None:
    score_QC = torch.tensor([[0.0, 0.0, 9.0]])
    targets = targets_of([[1, 0, 0]], [[True, True, False]])
    assert softmax(score_QC, targets, temperature=1.0, scope="own").item() == pytest.approx(math.log(2))


def test_the_temperature_divides() -> None:
    targets = targets_of([[1, 0]])
    assert softmax(torch.tensor([[0.3, 0.2]]), targets, temperature=0.1).item() == pytest.approx(
        softmax(torch.tensor([[3.0, 2.0]]), targets, temperature=1.0).item()
    )


@pytest.mark.parametrize("relevance", [[1.0, 1.0], [0.0, 0.0]])
@pytest.mark.parametrize("positives", ["apart", "mean", "sum"])
def test_without_a_positive_or_a_negative_there_is_nothing_to_learn(relevance: list[float], positives: str) -> None:
    assert softmax(torch.randn(1, 2), targets_of([relevance]), positives=positives).item() == 0

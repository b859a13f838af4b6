"""Closed forms of the losses of single cells."""

from __future__ import annotations

import math

import pytest
import torch

from ragtune.scoring.losses.pointwise import binary_cross_entropy, contrastive, cosine_similarity, online_contrastive
from ragtune.scoring.targets import Targets


def value(loss, score: list[float], relevance: list[float], **options: float) -> float:
    targets = Targets(torch.tensor([relevance]), torch.ones(1, len(score), dtype=torch.bool))
    return float(loss(torch.tensor([score]), targets, **options))


@pytest.mark.parametrize(
    ("score", "relevance", "expected"),
    [
        ([0.6], [1.0], 0.5 * 0.4**2),
        ([0.6], [3.0], 0.5 * 0.4**2),
        ([0.9], [0.0], 0.5 * 0.4**2),
        ([0.5], [0.0], 0.0),
        ([-0.2], [0.0], 0.0),
        ([1.0], [1.0], 0.0),
        ([0.8], [0.25], 0.5 * (0.25 * 0.2**2 + 0.75 * 0.3**2)),
        ([0.6, 0.5], [1.0, 0.0], 0.5 * 0.4**2 / 2),
    ],
)
def test_contrastive(score: list[float], relevance: list[float], expected: float) -> None:
    assert value(contrastive, score, relevance) == pytest.approx(expected, abs=1e-7)


def test_the_margin_is_how_far_negatives_are_pushed() -> None:
    assert value(contrastive, [0.5], [0.0], margin=0.9) == pytest.approx(0.5 * 0.4**2)


def test_online_contrastive_takes_the_hard_cells_of_the_whole_batch() -> None:
    # distances: positives 0.1 and 0.6, negatives 0.3 and 0.8; hard are the positive 0.6 and the negative 0.3
    targets = Targets(torch.tensor([[1.0], [1.0], [0.0], [0.0]]), torch.ones(4, 1, dtype=torch.bool))
    loss_Q = online_contrastive(torch.tensor([[0.9], [0.4], [0.7], [0.2]]), targets)
    torch.testing.assert_close(loss_Q, torch.tensor([0.0, 0.36, 0.04, 0.0]))


def test_online_contrastive_with_one_kind_alone_takes_those_beyond_its_mean() -> None:
    assert value(online_contrastive, [0.9, 0.5], [1.0, 1.0]) == pytest.approx(0.5**2 / 2)
    assert value(online_contrastive, [0.9, 0.5], [0.0, 0.0]) == pytest.approx(0.4**2 / 2)


def test_cosine_similarity_is_the_mean_squared_error() -> None:
    assert value(cosine_similarity, [0.9, -0.5], [0.7, -1.0]) == pytest.approx((0.04 + 0.25) / 2)


@pytest.mark.parametrize(
    ("score", "relevance", "expected"),
    [
        ([0.0], [1.0], math.log(2)),
        ([2.0], [1.0], math.log(1 + math.exp(-2))),
        ([2.0], [4.0], math.log(1 + math.exp(-2))),
        ([2.0], [0.0], math.log(1 + math.exp(2))),
        ([0.0], [0.3], math.log(2)),
        ([200.0], [0.0], 200.0),
    ],
)
def test_binary_cross_entropy(score: list[float], relevance: list[float], expected: float) -> None:
    assert value(binary_cross_entropy, score, relevance) == pytest.approx(expected)


def test_options_of_binary_cross_entropy() -> None:
    assert value(binary_cross_entropy, [0.2], [1.0], temperature=0.1) == pytest.approx(math.log(1 + math.exp(-2)))
    weighted = value(binary_cross_entropy, [0.0, 0.0], [1.0, 0.0], positive_weight=3.0)
    assert weighted == pytest.approx(2 * math.log(2))

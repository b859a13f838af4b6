"""Closed forms of the losses of order, and LambdaLoss computed a second, naive way."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from ragtune.scoring.losses.ranking import lambda_loss, listnet, ranknet
from ragtune.scoring.targets import Targets

SCORE = [0.3, -1.2, 0.9, 0.1, 0.5, -0.4]
RELEVANCE = [2.0, 0.0, 0.0, 1.0, 0.0, 3.0]


def value(loss, score: list[float], relevance: list[float], **options: object) -> float:
    targets = Targets(torch.tensor([relevance]), torch.ones(1, len(score), dtype=torch.bool))
    return float(loss(torch.tensor([score], dtype=torch.float64), targets, **options))


def naive_lambda(score, relevance, *, weighting, k, temperature, mu):
    n = len(score)
    k = k or n
    rank = {c: r for r, c in enumerate(sorted(range(n), key=lambda c: -score[c]), 1)}
    gain = [2**grade - 1 for grade in relevance]
    best = sum(g / math.log2(1 + r) for r, g in enumerate(sorted(gain, reverse=True)[:k], 1))
    total, pairs = 0.0, 0
    for i, j in itertools.permutations(range(n), 2):
        if relevance[i] <= relevance[j] or min(rank[i], rank[j]) > k:
            continue
        gap = abs(gain[i] - gain[j]) / best
        distance = abs(rank[i] - rank[j])
        rho = abs(1 / math.log2(1 + distance) - 1 / math.log2(2 + distance)) * gap
        swap = abs(1 / math.log2(1 + rank[i]) - 1 / math.log2(1 + rank[j])) * gap
        weight = {"none": 1.0, "lambdarank": swap, "ndcg_loss2": rho, "ndcg_loss2pp": mu * rho + swap}[weighting]
        total += weight * math.log2(1 + math.exp((score[j] - score[i]) / temperature))
        pairs += 1
    return total / pairs


@pytest.mark.parametrize("weighting", ["none", "lambdarank", "ndcg_loss2", "ndcg_loss2pp"])
@pytest.mark.parametrize("k", [None, 1, 3])
def test_lambda_loss_against_a_naive_one(weighting: str, k: int | None) -> None:
    options = {"weighting": weighting, "k": k, "temperature": 0.7, "mu": 4.0}
    assert value(lambda_loss, SCORE, RELEVANCE, **options) == pytest.approx(naive_lambda(SCORE, RELEVANCE, **options))


def test_lambda_loss_without_weights_is_ranknet_in_bits() -> None:
    bits = value(lambda_loss, SCORE, RELEVANCE, weighting="none")
    assert bits == pytest.approx(value(ranknet, SCORE, RELEVANCE) / math.log(2))


def test_equal_scores_are_ranked_against_the_model() -> None:
    # the relevant one stands second: 1/log2(3) instead of 1 of the best DCG is lost
    expected = 1 - 1 / math.log2(3)
    assert value(lambda_loss, [0.0, 0.0], [1.0, 0.0], weighting="lambdarank") == pytest.approx(expected)
    assert value(lambda_loss, [0.0, 0.0], [1.0, 0.0], weighting="lambdarank", k=1) == pytest.approx(expected)
    assert value(lambda_loss, [0.0, 0.0, 0.0], [0.0, 0.0, 1.0], k=1) == value(
        lambda_loss, [0.0, 0.0, 0.0], [1.0, 0.0, 0.0], k=1
    )


def test_pairs_below_k_do_not_count() -> None:
    assert value(lambda_loss, [9.0, 1.0, 2.0], [0.0, 1.0, 0.0], k=1, weighting="none") == pytest.approx(
        math.log2(1 + math.exp(8))
    )


def test_ranknet_is_the_mean_over_the_pairs_of_different_relevance() -> None:
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(1))) / 2
    assert value(ranknet, [1.0, 0.0, 2.0], [1.0, 0.0, 0.0]) == pytest.approx(expected)
    assert value(ranknet, [0.1, 0.0], [1.0, 0.0], temperature=0.1) == pytest.approx(math.log(1 + math.exp(-1)))


def test_listnet_is_the_cross_entropy_of_two_softmaxes() -> None:
    wanted, score = torch.tensor(RELEVANCE).double().softmax(0), torch.tensor(SCORE).double()
    expected = -(wanted * (score / 0.5).log_softmax(0)).sum().item()
    assert value(listnet, SCORE, RELEVANCE, temperature=0.5) == pytest.approx(expected)


@pytest.mark.parametrize("loss", [ranknet, listnet, lambda_loss])
@pytest.mark.parametrize("relevance", [[1.0, 1.0], [0.0, 0.0]])
def test_equal_relevance_says_nothing_about_the_order(loss, relevance: list[float]) -> None:
    assert value(loss, [0.3, 0.9], relevance) == 0


@pytest.mark.parametrize("loss", [ranknet, listnet, lambda_loss])
def test_fractions_and_negative_grades_order_too(loss) -> None:
    right = value(loss, [2.0, 0.0], [0.5, -1.0])
    assert 0 < right < value(loss, [0.0, 2.0], [0.5, -1.0])

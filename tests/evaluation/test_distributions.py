from __future__ import annotations

import numpy as np
import pytest

from ragtune.evaluation.distributions import BINS, PairScores, histograms


def pair(positive: list[float], other: list[float]) -> PairScores:
    return PairScores(np.array(positive), np.array(positive), np.array(other))


def test_every_score_is_counted_once_over_common_bins() -> None:
    before, after = histograms({"before": pair([0.5, 0.7], [0.6, 0.2]), "after": pair([0.9, 1.0], [0.1, 0.0])})
    assert before.edges == after.edges
    assert (before.edges[0], before.edges[-1], len(before.edges)) == (0.0, 1.0, BINS + 1)
    for found in (before, after):
        assert sum(found.positives) == sum(found.negatives) == 2


def test_separated_is_the_share_of_questions_whose_positive_is_ahead() -> None:
    (found,) = histograms({"m": pair([0.5, 0.7, 0.3, 0.9], [0.6, 0.2, 0.3, 0.1])})
    assert found.separated == 0.5
    assert found.positive_mean == pytest.approx(0.6)
    assert found.negative_mean == pytest.approx(0.3)


def test_nothing_to_show_without_scores() -> None:
    assert histograms({}) == []
    assert histograms({"m": pair([], [])}) == []

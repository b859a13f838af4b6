"""How a model scores relevant passages, and the best of all others, question by question. Shapes: Q queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from ragtune.evaluation.results import ScoreDistribution

BINS = 40

Scores = npt.NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class PairScores:
    """``positive``: every relevant passage of every question; ``best_positive_Q`` against ``best_other_Q``."""

    positive: Scores
    best_positive_Q: Scores
    best_other_Q: Scores


def histograms(scores: Mapping[str, PairScores]) -> list[ScoreDistribution]:
    """A histogram a contender, all over the same bins, so that they can be laid above each other."""
    shown = {name: pair for name, pair in scores.items() if pair.positive.size and pair.best_other_Q.size}
    if not shown:
        return []
    values = [part for pair in shown.values() for part in (pair.positive, pair.best_other_Q)]
    edges = np.histogram_bin_edges(np.concatenate(values), bins=BINS)
    return [_distribution(name, pair, edges) for name, pair in shown.items()]


def _distribution(name: str, pair: PairScores, edges: Scores) -> ScoreDistribution:
    return ScoreDistribution(
        contender=name,
        edges=tuple(round(float(edge), 6) for edge in edges),
        positives=tuple(np.histogram(pair.positive, bins=edges)[0].tolist()),
        negatives=tuple(np.histogram(pair.best_other_Q, bins=edges)[0].tolist()),
        positive_mean=float(pair.positive.mean()),
        negative_mean=float(pair.best_other_Q.mean()),
        separated=float(np.mean(pair.best_positive_Q > pair.best_other_Q)),
    )

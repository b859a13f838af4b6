"""Intervals and tests over the clusters of one split, all with the same seed and number of resamples."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from ragtune.evaluation.results import CONFIDENCE
from ragtune.measures import compare, paired_bootstrap

Values = Mapping[str, float]
"""Query id -> value of a measure."""


@final
@dataclass(frozen=True, slots=True)
class Resampling:
    """How differences are judged: whole clusters of questions are resampled and flipped."""

    clusters: Mapping[str, Hashable]
    resamples: int
    seed: int

    def mean(self, values: Values) -> dict[str, float | None]:
        """``mean``, ``low`` and ``high`` of one contender's values; the ends are None for a single cluster."""
        value_Q = np.array(list(values.values()), dtype=np.float64)
        found = paired_bootstrap(
            np.zeros_like(value_Q),
            value_Q,
            groups=[self.clusters[query_id] for query_id in values],
            resamples=self.resamples,
            seed=self.seed,
            confidence=CONFIDENCE,
        )
        ends = {"low": found.low, "high": found.high}
        return {"mean": found.mean, **{name: end if math.isfinite(end) else None for name, end in ends.items()}}

    def change(self, before: Values, after: Values, *, measure: str) -> dict[str, Any]:
        """What ``measures.compare`` finds between two contenders, as plain values."""
        found = compare(
            before,
            after,
            measure=measure,
            groups=self.clusters,
            resamples=self.resamples,
            seed=self.seed,
            confidence=CONFIDENCE,
        )
        return found.to_json()

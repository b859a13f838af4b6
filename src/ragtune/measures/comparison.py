"""Two sets of values, query by query: the line that every training ends with."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np

from ragtune.errors import InputError, Problem
from ragtune.measures.statistics import Interval, paired_bootstrap, sign_flip_test

Verdict = Literal["better", "worse", "no proof of a difference"]


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """What one measure was before and after, over the same queries.

    ``wins`` and ``losses`` count queries whose value rose and fell; ``groups`` counts what was taken as independent.
    """

    measure: str
    before: float
    after: float
    interval: Interval
    p: float
    wins: int
    losses: int
    ties: int
    groups: int

    @property
    def delta(self) -> float:
        """The mean difference, after minus before."""
        return self.interval.mean

    @property
    def queries(self) -> int:
        """How many queries were compared."""
        return self.wins + self.losses + self.ties

    @property
    def verdict(self) -> Verdict:
        """Better or worse only when the interval excludes zero and the sign-flip test agrees at the same level."""
        alpha = 1 - self.interval.confidence  # 0.05 for the usual interval
        if not self.interval.excludes_zero or self.p >= alpha:
            return "no proof of a difference"
        return "better" if self.delta > 0 else "worse"

    def __str__(self) -> str:
        low, high = self.interval.low, self.interval.high
        p = "p < 0.001" if self.p < 0.001 else f"p = {self.p:.3f}"
        return (
            f"{self.measure} {self.before:.4f} -> {self.after:.4f} ({self.delta:+.4f}, {self.interval.confidence:.0%} "
            f"interval {low:+.4f} to {high:+.4f}, {p}, {self.queries} queries): {self.verdict}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``; an interval without an end has None there."""
        ends = {"low": self.interval.low, "high": self.interval.high}
        return {
            "measure": self.measure,
            "before": self.before,
            "after": self.after,
            "delta": self.delta,
            **{name: value if math.isfinite(value) else None for name, value in ends.items()},
            "confidence": self.interval.confidence,
            "p": self.p,
            "wins": self.wins,
            "losses": self.losses,
            "ties": self.ties,
            "queries": self.queries,
            "groups": self.groups,
            "verdict": self.verdict,
        }


def compare(
    before: Mapping[str, float],
    after: Mapping[str, float],
    *,
    measure: str,
    groups: Mapping[str, Hashable] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Comparison:
    """Compare two values of each query, matched by query id, as `evaluate_run` gives them.

    ``groups`` maps query ids to what stands or falls together (a document, a set of duplicates); None takes every
    query for independent. InputError when the two sides, or the groups, do not know the same queries.

    >>> result = compare({"q": 0.0, "r": 0.5}, {"q": 1.0, "r": 0.5}, measure="MRR@10")
    >>> result.delta, result.wins, result.losses, result.ties, result.verdict
    (0.5, 1, 0, 1, 'no proof of a difference')
    """
    _same_queries(before, after, groups)
    before_Q = np.array([before[query] for query in before], dtype=np.float64)
    after_Q = np.array([after[query] for query in before], dtype=np.float64)
    group_Q = list(before) if groups is None else [groups[query] for query in before]
    interval = paired_bootstrap(
        before_Q, after_Q, groups=group_Q, resamples=resamples, seed=seed, confidence=confidence
    )
    return Comparison(
        measure=measure,
        before=float(before_Q.mean()),
        after=float(after_Q.mean()),
        interval=interval,
        p=sign_flip_test(before_Q, after_Q, groups=group_Q, flips=resamples, seed=seed),
        wins=int((after_Q > before_Q).sum()),
        losses=int((after_Q < before_Q).sum()),
        ties=int((after_Q == before_Q).sum()),
        groups=len(set(group_Q)),
    )


def _same_queries(
    before: Mapping[str, float], after: Mapping[str, float], groups: Mapping[str, Hashable] | None
) -> None:
    lacking = {"after": before.keys() - after.keys(), "before": after.keys() - before.keys()}
    if groups is not None:
        lacking["groups"] = before.keys() - groups.keys()
    problems = [
        Problem(
            what=f"{name} lacks {len(queries)} queries of the comparison",
            where=name,
            found=", ".join(sorted(queries)[:5]) + (", ..." if len(queries) > 5 else ""),
            do="give a value for every query; a query that a run lacks counts 0",
        )
        for name, queries in lacking.items()
        if queries
    ]
    if problems:
        raise InputError(problems)

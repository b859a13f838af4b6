"""Is the difference a difference? Paired bootstrap and sign-flip test, both by whole groups of queries.

Queries about the same document, or about copies of it, rise and fall together; a test that takes them for
independent finds proofs everywhere. So whole groups are resampled and flipped. Shapes: Q queries, G groups.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragtune.errors import InputError, Problem

FloatArray = NDArray[np.float64]
_CELLS_AT_ONCE = 1 << 22
"""Random numbers drawn at a time: 32 MB, whatever the number of queries."""


@final
@dataclass(frozen=True, slots=True)
class Interval:
    """The mean of a paired difference and its confidence interval.

    ``low`` and ``high`` are -inf and inf where a single group leaves nothing to judge the spread by.
    """

    mean: float
    low: float
    high: float
    confidence: float = 0.95

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside the interval."""
        return self.low > 0 or self.high < 0


def paired_bootstrap(
    before_Q: ArrayLike,
    after_Q: ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """The mean of ``after_Q - before_Q`` with its bootstrap interval, resampling whole groups (None: each query).

    Percentile interval (Efron & Tibshirani 1993, ch. 13) with the tails widened for few groups (Hesterberg 2015,
    "What Teachers Should Know About the Bootstrap", sec. 3.2): the tail is Phi(-sqrt(G / (G - 1)) t), t being Student's
    quantile with G - 1 degrees of freedom. The same seed gives the same interval. InputError: see `sign_flip_test`.

    >>> paired_bootstrap([0, 0, 1, 0], [1, 0, 1, 1], seed=1)
    Interval(mean=0.5, low=0.0, high=1.0, confidence=0.95)
    """
    delta_Q = _deltas(before_Q, after_Q)
    sum_G, size_G = _by_group(delta_Q, groups)
    count, mean = len(sum_G), float(delta_Q.mean())
    if count == 1:
        return Interval(mean, -math.inf, math.inf, confidence)
    rng = np.random.default_rng(seed)
    one_size = bool((size_G == size_G[0]).all())
    means = []
    for rows in _blocks(resamples, count):
        chosen = rng.integers(0, count, size=(rows, count), dtype=np.int32)
        size_R = size_G.sum() if one_size else size_G[chosen].sum(axis=1)
        means.append(sum_G[chosen].sum(axis=1) / size_R)
    normal = NormalDist()
    tail = normal.cdf(-math.sqrt(count / (count - 1)) * _student_quantile((1 + confidence) / 2, count - 1))
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Interval(mean, float(low), float(high), confidence)


def sign_flip_test(
    before_Q: ArrayLike,
    after_Q: ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
    flips: int = 10_000,
    seed: int = 0,
) -> float:
    """The p-value of "no difference": the differences of each group keep or change their sign together.

    Fisher's randomisation test on the mean (two-sided). All sign patterns are counted when there are no more than
    ``flips``; otherwise ``flips`` random ones, with p = (1 + as extreme) / (1 + flips) (Phipson & Smyth 2010), which
    is never 0. Empty or unequal input, NaN, or groups of another length are an InputError.

    >>> sign_flip_test([0, 0, 0, 0], [1, 1, 1, 1]), sign_flip_test([1, 0], [1, 0])
    (0.125, 1.0)
    """
    sum_G, _ = _by_group(_deltas(before_Q, after_Q), groups)
    sum_G = sum_G[sum_G != 0]  # a zero stays what it is under both signs
    count = len(sum_G)
    # Sums of the same numbers in another order differ in their last bits; those are as extreme, not less.
    observed = abs(float(sum_G.sum())) - 1e-12 * float(np.abs(sum_G).sum())
    if count <= math.log2(max(flips, 1)):
        every_FG = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        return float(np.mean(_flipped(every_FG, sum_G) >= observed))
    rng = np.random.default_rng(seed)
    extreme = 0
    for rows in _blocks(flips, count):
        bits = np.frombuffer(rng.bytes(-(-rows * count // 8)), dtype=np.uint8)
        some_FG = np.unpackbits(bits, count=rows * count).reshape(rows, count)
        extreme += int(np.count_nonzero(_flipped(some_FG, sum_G) >= observed))
    return (1 + extreme) / (1 + flips)


def _flipped(sign_FG: NDArray[np.integer], sum_G: FloatArray) -> FloatArray:
    """total_F: the absolute sum under each pattern of signs (1 = kept, 0 = changed)."""
    total_F: FloatArray = np.abs(sign_FG.astype(np.float64) @ (2 * sum_G) - sum_G.sum())
    return total_F


def _blocks(rows: int, columns: int) -> Iterator[int]:
    step = max(1, _CELLS_AT_ONCE // columns)
    for start in range(0, rows, step):
        yield min(step, rows - start)


def _deltas(before_Q: ArrayLike, after_Q: ArrayLike) -> FloatArray:
    before = np.asarray(before_Q, dtype=np.float64)
    after = np.asarray(after_Q, dtype=np.float64)
    checks = (
        (before.ndim != 1 or after.ndim != 1, "one value a query is needed", "give two flat lists of numbers"),
        (before.shape != after.shape, "before and after are not paired", "give both values of every query"),
        (before.size == 0, "there is nothing to compare", "give at least one query"),
        (not (np.isfinite(before).all() and np.isfinite(after).all()), "a value is NaN or infinite", "mend the values"),
    )
    found = f"shapes {before.shape} and {after.shape}"
    problems = [Problem(what=what, where="before_Q, after_Q", found=found, do=do) for bad, what, do in checks if bad]
    if problems:
        raise InputError(problems)
    return after - before


def _by_group(delta_Q: FloatArray, groups: Sequence[Hashable] | None) -> tuple[FloatArray, FloatArray]:
    """sum_G and size_G: the total difference and the number of queries of each group."""
    if groups is None:
        return delta_Q, np.ones_like(delta_Q)
    if len(groups) != len(delta_Q):
        found = f"{len(groups)} groups for {len(delta_Q)} queries"
        raise InputError(Problem(what="groups do not fit", where="groups", found=found, do="name one group a query"))
    codes: dict[Hashable, int] = {}
    code_Q = np.array([codes.setdefault(group, len(codes)) for group in groups])
    sum_G = np.bincount(code_Q, weights=delta_Q).astype(np.float64)
    return sum_G, np.bincount(code_Q).astype(np.float64)


def _student_quantile(probability: float, freedom: int) -> float:
    """Student's t by the normal's z: Abramowitz & Stegun 26.7.5, within 1 % from 4 degrees of freedom on."""
    z = NormalDist().inv_cdf(probability)
    terms: tuple[float, ...] = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return math.fsum(term / freedom**power for power, term in enumerate(terms))

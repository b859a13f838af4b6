from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student

from ragtune.errors import InputError
from ragtune.measures import paired_bootstrap, sign_flip_test
from ragtune.measures.statistics import _student_quantile


def paired(seed: int, queries: int, *, effect: float = 0.0, per_group: int = 1) -> tuple[Any, Any, list[int]]:
    """Before and after with a group's shared difference: queries of one group rise and fall together."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(queries // per_group), per_group)
    delta = effect + rng.normal(size=queries // per_group)[groups]
    before = rng.random(len(groups))
    return before, before + delta, groups.tolist()


def test_the_same_seed_gives_the_same_answer_and_another_seed_a_near_one() -> None:
    before, after, groups = paired(0, 300, effect=0.1, per_group=3)
    first = paired_bootstrap(before, after, groups=groups, seed=7)
    assert first == paired_bootstrap(before, after, groups=groups, seed=7)
    assert first != paired_bootstrap(before, after, groups=groups, seed=8)
    assert first.low == pytest.approx(paired_bootstrap(before, after, groups=groups, seed=8).low, abs=0.02)
    p = sign_flip_test(before, after, groups=groups, seed=7)
    assert p == sign_flip_test(before, after, groups=groups, seed=7)
    assert p == pytest.approx(sign_flip_test(before, after, groups=groups, seed=8), abs=0.02)


def test_swapping_before_and_after_mirrors_the_answer() -> None:
    before, after, _ = paired(1, 60, effect=0.2)
    there, back = paired_bootstrap(before, after), paired_bootstrap(after, before)
    assert there.mean == -back.mean
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=0.03)
    assert sign_flip_test(before, after) == pytest.approx(sign_flip_test(after, before), abs=0.02)


def test_no_difference_proves_nothing() -> None:
    values = np.linspace(0, 1, 50)
    interval = paired_bootstrap(values, values)
    assert (interval.mean, interval.low, interval.high) == (0.0, 0.0, 0.0)
    assert not interval.excludes_zero
    assert sign_flip_test(values, values) == 1.0


def test_many_queries_give_the_normal_interval() -> None:
    before, after, _ = paired(2, 4000, effect=0.3)
    delta = after - before
    half = 1.96 * delta.std() / math.sqrt(len(delta))
    interval = paired_bootstrap(before, after)
    assert (interval.low, interval.high) == pytest.approx((delta.mean() - half, delta.mean() + half), abs=0.003)


@pytest.mark.parametrize(("groups", "per_group"), [(8, 1), (40, 1), (40, 5)])
def test_the_interval_covers_the_truth_as_often_as_it_says(groups: int, per_group: int) -> None:
    covered = 0
    for seed in range(400):
        before, after, names = paired(seed, groups * per_group, effect=0.5, per_group=per_group)
        interval = paired_bootstrap(before, after, groups=names, resamples=600, seed=seed)
        covered += interval.low <= 0.5 <= interval.high
    assert 0.91 <= covered / 400 <= 0.985


@pytest.mark.parametrize("groups", [12, 40])
def test_p_is_below_five_percent_five_times_in_a_hundred_when_nothing_changed(groups: int) -> None:
    below = 0
    for seed in range(400):
        before, after, names = paired(seed, groups * 3, per_group=3)
        below += sign_flip_test(before, after, groups=names, flips=400, seed=seed) < 0.05
    assert 0.02 <= below / 400 <= 0.08


def test_queries_of_one_group_are_no_more_proof_than_one_query() -> None:
    before, after, groups = paired(3, 400, per_group=20)
    apart, together = paired_bootstrap(before, after), paired_bootstrap(before, after, groups=groups)
    assert together.high - together.low > 3 * (apart.high - apart.low)
    assert sign_flip_test(before, after, groups=groups) > sign_flip_test(before, after)


def test_unequal_groups_keep_the_mean_over_queries() -> None:
    before, after = np.zeros(6), np.array([1.0, 1.0, 1.0, 1.0, 0.0, 0.5])
    interval = paired_bootstrap(before, after, groups=["a", "a", "a", "a", "b", "c"])
    assert interval.mean == pytest.approx(4.5 / 6)
    assert interval.low >= 0.0
    assert interval.high <= 1.0


def test_one_group_leaves_everything_open() -> None:
    interval = paired_bootstrap([0.0, 0.1], [1.0, 1.0], groups=["same", "same"])
    assert (interval.low, interval.high) == (-math.inf, math.inf)
    assert not interval.excludes_zero
    assert sign_flip_test([0.0, 0.1], [1.0, 1.0], groups=["same", "same"]) == 1.0


def test_few_groups_count_every_pattern_of_signs() -> None:
    delta = np.array([3.0, -1.0, 2.0])
    # |±3 ±1 ±2| reaches the observed 4 for the patterns +-+ and ++- ... : sums 6, 4, 2, 0 and their mirrors
    assert sign_flip_test(np.zeros(3), delta) == 4 / 8


def test_random_patterns_agree_with_all_patterns() -> None:
    delta = np.random.default_rng(4).normal(0.4, 1, size=12)
    every = sign_flip_test(np.zeros(12), delta, flips=4096)
    assert sign_flip_test(np.zeros(12), delta, flips=4000) == pytest.approx(every, abs=0.02)


def test_p_is_never_zero() -> None:
    assert sign_flip_test(np.zeros(100), np.ones(100), flips=999) == 1 / 1000


def test_memory_blocks_do_not_meet_the_eye(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after, groups = paired(5, 90, effect=0.2, per_group=3)
    whole = paired_bootstrap(before, after, groups=groups), sign_flip_test(before, after, groups=groups)
    monkeypatch.setattr("ragtune.measures.statistics._CELLS_AT_ONCE", 30 * 4000)
    cut = paired_bootstrap(before, after, groups=groups), sign_flip_test(before, after, groups=groups)
    assert cut == whole


@pytest.mark.parametrize("freedom", [4, 10, 30, 1000])
def test_student_quantile(freedom: int) -> None:
    assert _student_quantile(0.975, freedom) == pytest.approx(student.ppf(0.975, freedom), rel=1e-3)


@pytest.mark.parametrize(
    ("before", "after", "groups", "what"),
    [
        ([], [], None, "nothing to compare"),
        ([0.0], [0.0, 1.0], None, "not paired"),
        ([[0.0]], [[1.0]], None, "one value a query"),
        ([math.nan], [1.0], None, "NaN"),
        ([0.0, 1.0], [1.0, 1.0], ["a"], "groups do not fit"),
    ],
)
@pytest.mark.parametrize("function", [paired_bootstrap, sign_flip_test])
def test_what_cannot_be_compared_is_refused(function: Any, before: Any, after: Any, groups: Any, what: str) -> None:
    with pytest.raises(InputError, match=what):
        function(before, after, groups=groups)

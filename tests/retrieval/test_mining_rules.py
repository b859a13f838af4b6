"""Which candidates may be negatives, and which are taken: properties of the rules, whatever was found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ragtune.data.records import Passage
from ragtune.recipe_mining import MineRecipe
from ragtune.retrieval.mining.mine import union
from ragtune.retrieval.mining.pool import Known, Pool
from ragtune.retrieval.mining.rules import LEFT, REASONS, Candidates, best_first, ceiling, choose, cut, proportions

NOBODY = Known(frozenset(), frozenset(), frozenset(), frozenset(), frozenset())
SCORES = st.floats(min_value=-50, max_value=50, allow_nan=False, width=32)


def pool_of(*texts: str, near: float | None = None, neighbours: int = 0, **metadata: list[Any]) -> Pool:
    passages = [
        Passage(f"p{i}", text, metadata={name: values[i] for name, values in metadata.items()})
        for i, text in enumerate(texts)
    ]
    return Pool({passage.id: passage for passage in passages}, near=near, neighbours=neighbours)


PLAIN = pool_of(*(f"passage {number} of many" for number in range(40)))


def found_of(score_C: list[float], rank_C: list[int] | None = None) -> Candidates:
    count = len(score_C)
    ranks = np.arange(1, count + 1) if rank_C is None else np.array(rank_C, dtype=np.int64)
    return Candidates(np.arange(count, dtype=np.int64), np.array(score_C, dtype=np.float64), ranks)


def left(found: Candidates, known: Known = NOBODY, positive: list[float] | None = None, **recipe: Any) -> list[int]:
    why = cut(found, known, np.array(positive or []), pool=PLAIN, recipe=MineRecipe(**recipe))
    return [int(row) for row, reason in zip(found.row_C, why, strict=True) if reason == LEFT]


@given(score=st.lists(SCORES, min_size=1, max_size=30), positive=SCORES, margin=st.floats(0, 1))
def test_a_relative_margin_keeps_below_whatever_the_sign(score: list[float], positive: float, margin: float) -> None:
    """A plain product would put the ceiling of a negative positive above it (sentence-transformers #3821)."""
    limit = ceiling(np.array([positive]), MineRecipe(relative_margin=margin))
    assert limit <= positive
    kept = left(found_of(score), positive=[positive], relative_margin=margin)
    assert all(score[row] <= limit for row in kept)
    assert len(kept) == sum(value <= limit for value in score)


@given(score=st.lists(SCORES, min_size=1, max_size=30), positive=SCORES, margin=st.floats(0, 10))
def test_an_absolute_margin_is_a_distance(score: list[float], positive: float, margin: float) -> None:
    kept = left(found_of(score), positive=[positive], relative_margin=None, absolute_margin=margin)
    assert kept == [row for row, value in enumerate(score) if value <= positive - margin]


def test_both_margins_hold_together() -> None:
    kept = left(found_of([0.9, 0.75, 0.6]), positive=[1.0], relative_margin=0.2, absolute_margin=0.3)
    assert kept == [2]


def test_the_margin_starts_from_the_positive_that_is_named() -> None:
    found = found_of([0.7, 0.4])
    assert left(found, positive=[0.9, 0.5]) == [1]
    assert left(found, positive=[0.9, 0.5], margin_from="highest") == [0, 1]


@given(
    score=st.lists(SCORES, min_size=1, max_size=30),
    first=st.integers(1, 20),
    last=st.integers(1, 30),
)
def test_no_rank_outside_the_window_is_taken(score: list[float], first: int, last: int) -> None:
    first, last = min(first, last), max(first, last)
    found = found_of(score)
    kept = left(found, relative_margin=None, min_rank=first, max_rank=last)
    assert kept == [row for row in range(len(score)) if first <= found.rank_C[row] <= last]


def test_the_window_counts_the_positives_too() -> None:
    """The minimum rank is a rank of the search, not of what is left after the positives went out."""
    known = Known(frozenset({0, 1}), frozenset({0, 1}), frozenset(), frozenset(), frozenset())
    assert left(found_of([9, 8, 7, 6, 5]), known, positive=[9, 8], relative_margin=None, min_rank=4) == [3, 4]


def test_a_passage_that_one_retriever_ranks_above_the_window_is_not_taken() -> None:
    row_C, rank_C = union([np.array([5, 6, 7]), np.array([7, 8, 9])])
    assert dict(zip(row_C.tolist(), rank_C.tolist(), strict=True)) == {5: 1, 6: 2, 7: 1, 8: 2, 9: 3}
    found = Candidates(row_C, np.zeros(len(row_C)), rank_C)
    assert left(found, relative_margin=None, min_rank=3) == [9]


@given(score=st.lists(SCORES, min_size=1, max_size=30), low=SCORES, high=SCORES)
def test_scores_stay_between_the_limits(score: list[float], low: float, high: float) -> None:
    low, high = min(low, high), max(low, high)
    kept = left(found_of(score), positive=[60.0], relative_margin=None, min_score=low, max_score=high)
    assert kept == [row for row, value in enumerate(score) if low <= value <= high]


def test_without_a_positive_there_is_no_margin() -> None:
    assert ceiling(np.zeros(0), MineRecipe(relative_margin=0.5, absolute_margin=1.0)) == float("inf")


def test_every_reason_can_hold_and_the_first_one_counts() -> None:
    pool = pool_of(
        "yes it is", "Yes  it is", "the question", "given", "beside", " ", "second", "x" * 9, "x" * 9, "y", "z"
    )
    known = Known(
        positives=frozenset({0}),
        positive_groups=frozenset({0, int(pool.group_N[1])}),
        given=frozenset({3}),
        itself=frozenset({2}),
        neighbours=frozenset({4}),
    )
    recipe = MineRecipe(depth=10, min_rank=2, relative_margin=None, absolute_margin=0.1, min_score=0.2, max_score=0.8)
    score = np.array([1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.4, 0.3, 0.1, 0.85])
    rank = np.array([2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2])
    found = Candidates(np.arange(11), score, rank)
    why = cut(found, known, np.array([1.0]), pool=pool, recipe=recipe)
    assert why == [
        "positive", "duplicate", "query", "given", "neighbour", "blank", "rank", LEFT, "repeat", "min_score",
        "max_score",
    ]  # fmt: skip
    margin = cut(found, known, np.array([0.9]), pool=pool, recipe=recipe)
    assert margin[10] == "margin"
    assert set(why) | set(margin) == {*REASONS, LEFT}


def test_nearly_equal_passages_are_duplicates() -> None:
    text = " ".join(f"word{number}" for number in range(40))
    pool = pool_of(text, f"{text} more", "something else entirely here", near=0.8)
    assert pool.group_N[0] == pool.group_N[1] != pool.group_N[2]
    known = Known(frozenset({0}), frozenset({int(pool.group_N[0])}), frozenset(), frozenset(), frozenset())
    why = cut(found_of([1, 1, 1]), known, np.zeros(0), pool=pool, recipe=MineRecipe())
    assert why == ["positive", "duplicate", LEFT]


def test_neighbours_are_those_of_the_same_document_in_its_order() -> None:
    pool = pool_of(
        "c", "a", "b", "d", "other", "none",
        neighbours=1,
        document=["one", "one", "one", "one", "two", None],
        order=[2, 0, 1, 3, 2, 2],
    )  # fmt: skip
    assert pool.neighbours([2]) == {1, 0}
    assert pool.neighbours([1]) == {2}
    assert pool.neighbours([4]) == pool.neighbours([5]) == frozenset()
    spans = pool_of("b", "a", neighbours=1, document=["one", "one"], span=[[10, 20], [0, 10]])
    assert spans.neighbours([0]) == {1}
    assert pool_of("b", "a", neighbours=1, document=["one", "one"]).neighbours([0]) == frozenset()


@settings(deadline=None)
@given(
    score=st.lists(SCORES, max_size=40),
    number=st.integers(1, 10),
    choice=st.sampled_from(["top", "random", "score"]),
    seed=st.integers(0, 1000),
)
def test_as_many_as_asked_are_chosen_none_twice(score: list[float], number: int, choice: str, seed: int) -> None:
    score_L = -np.sort(-np.array(score))
    recipe = MineRecipe(negatives=number, choice=choice, choose_from=15)
    chosen = choose(score_L, recipe=recipe, rng=np.random.default_rng(seed))
    again = choose(score_L, recipe=recipe, rng=np.random.default_rng(seed))
    assert chosen.tolist() == again.tolist() == sorted(set(chosen.tolist()))
    assert len(chosen) == min(number, len(score))
    assert all(place < (number if choice == "top" else 15) for place in chosen)


def test_every_place_of_the_pool_can_be_drawn() -> None:
    score_L = np.linspace(1, 0, 20)
    for choice in ("random", "score"):
        recipe = MineRecipe(negatives=2, choice=choice, choose_from=10)
        drawn = [choose(score_L, recipe=recipe, rng=np.random.default_rng(seed)) for seed in range(400)]
        assert set(np.concatenate(drawn).tolist()) == set(range(10))


def test_score_draws_in_proportion() -> None:
    score_L = np.array([0.9, 0.5, 0.1])
    recipe = MineRecipe(negatives=1, choice="score")
    drawn = [int(choose(score_L, recipe=recipe, rng=np.random.default_rng(seed))[0]) for seed in range(4000)]
    share = np.bincount(drawn, minlength=3) / len(drawn)
    weight = proportions(score_L)
    assert np.allclose(share, weight / weight.sum(), atol=0.03)


@given(st.lists(SCORES, min_size=1, max_size=20))
def test_proportions_are_positive_and_fall_with_the_score(score: list[float]) -> None:
    score_L = -np.sort(-np.array(score))
    weight = proportions(score_L)
    assert (weight > 0).all()
    assert (np.diff(weight) <= 0).all()


@given(
    st.lists(st.lists(st.integers(0, 30), unique=True, max_size=15), max_size=4),
)
def test_a_union_holds_every_row_once_with_its_best_rank(listed: list[list[int]]) -> None:
    row, rank = union([np.array(rows, dtype=np.int64) for rows in listed])
    wanted = {one: min(rows.index(one) for rows in listed if one in rows) + 1 for rows in listed for one in rows}
    assert dict(zip(row.tolist(), rank.tolist(), strict=True)) == wanted


def test_equal_scores_come_in_the_order_of_the_corpus() -> None:
    found = Candidates(np.array([7, 3, 5]), np.array([1.0, 1.0, 2.0]), np.array([1, 2, 3]))
    assert found.row_C[best_first(found)].tolist() == [5, 3, 7]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"max_rank": 101}, "beyond depth"),
        ({"min_rank": 101}, "beyond the last rank"),
        ({"min_score": 1.0, "max_score": 0.5}, "min_score is above max_score"),
        ({"models": [], "bm25": False}, "name a model"),
        ({"models": ["a", "a"]}, "names a model twice"),
        ({"splits": ["train", "test"]}, "'train' or 'dev'"),
        ({"choice": "random", "choose_from": 3}, "choose_from"),
        ({"verify": {"model": "r"}}, "relevant_from"),
        ({"verify": {"model": "r", "relevant_from": 0.1, "doubtful_from": 0.5}}, "above"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        MineRecipe(**wrong)

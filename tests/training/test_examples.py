"""Rows of a training run: what of a dataset is trained on, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ragtune.data.records import Candidate, Dataset, DatasetInfo, Passage, Query
from ragtune.errors import DataError
from ragtune.training.examples import TrainingSet

Build = Callable[..., TrainingSet]


def small_dataset(size: int, *, name: str = "small", first: int = 0) -> Dataset:
    """``size`` queries with one passage each."""
    numbers = range(first, first + size)
    return Dataset(
        info=DatasetInfo(name=name),
        corpus={f"p{i}": Passage(id=f"p{i}", text=f"passage {i}") for i in numbers},
        queries={f"q{i}": Query(id=f"q{i}", text=f"query {i}") for i in numbers},
        qrels={"train": {f"q{i}": {f"p{i}": 1} for i in numbers}},
    )


def names(rows: TrainingSet, group: Sequence[int]) -> set[str]:
    return {rows.rows[n].query_id for n in group}


def test_only_train_rows_are_trained_on(tiny_dataset: Callable[..., Dataset], training_set: Build) -> None:
    dataset = tiny_dataset()
    assert {row.query_id for row in training_set(dataset).rows} == set(dataset.qrels["train"])


def test_equal_passages_are_one(training_set: Build) -> None:
    dataset = small_dataset(3)
    dataset.corpus["p1"] = Passage(id="p1", text="passage  0 ")
    rows = training_set(dataset)
    assert len(rows.passages) == 2
    assert rows.rows[0].positives[0].passage_id == rows.rows[1].positives[0].passage_id


def test_equal_passages_of_two_datasets_are_one(training_set: Build) -> None:
    rows = training_set(small_dataset(3), small_dataset(4, name="other"))
    assert (len(rows.rows), len(rows.passages)) == (7, 4)


def test_max_examples_caps_each_source_by_the_seed(training_set: Build) -> None:
    sources = [{"max_examples": 4}, {}]

    def chosen(seed: int) -> set[str]:
        rows = training_set(small_dataset(30), small_dataset(5, first=100), sources=sources, seed=seed)
        assert [len(group) for group in rows.groups] == [4, 5]
        return names(rows, rows.groups[0])

    assert chosen(1) == chosen(1) != chosen(2)


def test_small_sets_are_merged(training_set: Build) -> None:
    sets = [small_dataset(n, name=f"d{n}", first=100 * n) for n in (9, 2, 3)]
    rows = training_set(*sets, sources=[{}, {"weight": 2.0}, {"weight": 1.0}], small_threshold=5)
    assert [len(group) for group in rows.groups] == [9, 5]
    assert names(rows, rows.groups[1]) == {"q200", "q201", "q300", "q301", "q302"}
    assert rows.weights == (1.0, pytest.approx((2 * 2 + 3 * 1) / 5))
    assert any("d2, d3" in notice and "merged" in notice for notice in rows.notices)


def test_a_merged_set_that_is_still_small_is_dropped_and_said_so(training_set: Build) -> None:
    sets = [small_dataset(n, name=f"d{n}", first=100 * n) for n in (9, 2, 3)]
    rows = training_set(*sets, small_threshold=5, drop_threshold=6)
    assert [len(group) for group in rows.groups] == [9]
    assert any("left out" in notice and "d2, d3 (5 queries)" in notice for notice in rows.notices)
    kept = training_set(*sets, small_threshold=5, drop_threshold=5)
    assert [len(group) for group in kept.groups] == [9, 5]


def test_nothing_left_is_refused(training_set: Build) -> None:
    with pytest.raises(DataError, match="drop_threshold"):
        training_set(small_dataset(3), small_threshold=5, drop_threshold=10)


def test_a_dataset_without_a_train_split_is_refused_with_the_splits_it_has(training_set: Build) -> None:
    dataset = small_dataset(3)
    dataset.qrels = {"test": dataset.qrels["train"]}
    with pytest.raises(DataError, match=r"nothing to train on[\s\S]*small[\s\S]*test"):
        training_set(dataset)


def test_every_wrong_source_is_told_at_once(training_set: Build) -> None:
    bare, unscored = small_dataset(3, name="bare"), small_dataset(3, name="unscored")
    bare.qrels = {}
    with pytest.raises(DataError) as caught:
        training_set(bare, unscored, distillation=True)
    assert [problem.where for problem in caught.value.problems] == ["bare", "unscored"]


def test_missing_teacher_scores_name_the_query(training_set: Build) -> None:
    dataset = small_dataset(3)
    for i in (0, 2):
        dataset.candidates[f"q{i}"] = [Candidate(corpus_id=f"p{i}", relevance=1.0, teacher=0.5)]
    with pytest.raises(DataError, match=r"1 of 3 queries without one, first 'q1'"):
        training_set(dataset, distillation=True)
    dataset.candidates["q1"] = [Candidate(corpus_id="p1", teacher=0.1)]
    rows = training_set(dataset, distillation=True)
    assert rows.rows[1].positives[0].teacher == 0.1
    assert rows.rows[1].positives[0].relevance == 1.0


def test_rows_without_text_are_left_out_and_counted(training_set: Build) -> None:
    dataset = small_dataset(4)
    dataset.queries["q1"] = Query(id="q1", text="  ")
    dataset.corpus["p2"] = Passage(id="p2", text=" ")
    rows = training_set(dataset)
    assert {row.query_id for row in rows.rows} == {"q0", "q3"}
    assert any("2 queries with an empty text or no passage" in notice for notice in rows.notices)


def test_what_is_known_of_a_passage_beside_a_candidate_is_kept(training_set: Build) -> None:
    dataset = small_dataset(5)
    dataset.qrels["train"]["q0"] = {"p0": 2, "p1": 0}
    dataset.candidates["q0"] = [
        Candidate(corpus_id="p0", teacher=3.0),
        Candidate(corpus_id="p2", relevance=0.0),
        Candidate(corpus_id="p3", valid=False),
    ]
    row = training_set(dataset).rows[0]
    assert [(c.relevance, c.teacher) for c in row.positives] == [(2.0, 3.0)]
    assert [(c.relevance, c.valid) for c in row.negatives] == [(0.0, True), (0.0, True)]
    assert len(row.doubtful) == 1


@pytest.mark.parametrize(
    ("of_source", "of_dataset", "wanted"), [(True, True, True), (False, True, False), (True, False, False)]
)
def test_either_may_switch_off_in_batch_negatives(
    of_source: bool, of_dataset: bool, wanted: bool, training_set: Build
) -> None:
    dataset = small_dataset(2)
    dataset.info.in_batch_negatives = of_dataset
    source: dict[str, Any] = {"in_batch_negatives": of_source}
    assert training_set(dataset, sources=[source]).rows[0].in_batch_negatives is wanted


def test_a_query_that_is_a_passage_of_any_source_knows_it(training_set: Build) -> None:
    """So that it is masked when it meets itself, whichever source brings the passage."""
    asking, answering = small_dataset(2), small_dataset(2, first=50)
    answering.corpus["p50"] = Passage(id="p50", text="query 1")
    rows = training_set(asking, answering)
    assert rows.rows[1].text_id == rows.rows[2].positives[0].passage_id

from __future__ import annotations

from collections.abc import Callable

import pytest

from ragtune.data.records import Dataset, DatasetInfo, Passage, Query
from ragtune.errors import DataError
from ragtune.evaluation.judged import clusters, judged_split, sampled


def test_merged_counts_equal_passages_once_and_keeps_the_best_grade(doubled_dataset: Dataset) -> None:
    doubled_dataset.qrels["test"]["q3"] = {"z3": 1, "p3": 2, "p4": 0}
    judged = judged_split(doubled_dataset, "test")
    assert list(judged.passages) == [f"p{i}" for i in range(12)]
    assert judged.qrels["q3"] == {"p3": 2, "p4": 0}
    assert judged.qrels["q6"] == {"p6": 1}


def test_single_id_leaves_every_id_as_it_is(doubled_dataset: Dataset) -> None:
    judged = judged_split(doubled_dataset, "test", protocol="single-id")
    assert len(judged.passages) == 16
    assert judged.qrels == doubled_dataset.qrels["test"]


def test_relevant_passages_come_by_grade_then_id(doubled_dataset: Dataset) -> None:
    doubled_dataset.qrels["test"]["q3"] = {"p5": 1, "p4": 1, "p3": 2, "p1": 0}
    assert judged_split(doubled_dataset, "test").relevant("q3") == ["p3", "p4", "p5"]


def test_an_unknown_split_is_refused_with_the_nearest_name(doubled_dataset: Dataset) -> None:
    with pytest.raises(DataError, match=r"did you mean 'test'"):
        judged_split(doubled_dataset, "tset")


def test_a_sample_keeps_all_judged_passages_and_the_seed_decides_on_the_rest(doubled_dataset: Dataset) -> None:
    judged = judged_split(doubled_dataset, "train", protocol="single-id")
    few = sampled(judged, max_passages=6, seed=3)
    assert len(few.passages) == 6
    assert {"z0", "p1"} <= set(few.passages)
    assert few.passages == sampled(judged, max_passages=6, seed=3).passages
    assert sampled(judged, max_passages=1, seed=0).passages.keys() == {"z0", "p1"}
    assert sampled(judged, max_passages=99, seed=0).passages == judged.passages


def test_questions_about_near_duplicates_are_one_cluster() -> None:
    long = "the tenant pays the rent on the first day of every month to the bank account of the owner of the house " * 2
    corpus = {"a": Passage("a", long), "b": Passage("b", long + "now"), "c": Passage("c", "bees dance in the hive")}
    queries = {name: Query(name, name) for name in ("q1", "q2", "q3", "q4")}
    qrels = {"test": {"q1": {"a": 1}, "q2": {"b": 2, "c": 1}, "q3": {"c": 1}, "q4": {"c": 0}}}
    dataset = Dataset(info=DatasetInfo(name="x"), corpus=corpus, queries=queries, qrels=qrels)
    found = clusters(judged_split(dataset, "test"))
    assert found["q1"] == found["q2"]
    assert len(set(found.values())) == 3


def test_chinese_data_is_judged_alike(tiny_dataset: Callable[..., Dataset]) -> None:
    judged = judged_split(tiny_dataset("zh"), "test")
    assert len(judged.queries) == len(judged.qrels) == len(set(clusters(judged).values()))

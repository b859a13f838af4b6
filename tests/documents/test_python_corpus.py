"""The demo corpus: what it asks, what it takes out, how it is split."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from ragtune.data.records import Dataset
from ragtune.documents import build_python_dataset
from ragtune.documents.python_corpus import LARGEST_HELD_OUT_SHARE, TRAIN_QUERIES
from ragtune.documents.python_units import normal


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return build_python_dataset(seed=0)


def test_there_are_thousands_of_passages_and_enough_questions(dataset: Dataset) -> None:
    assert len(dataset.corpus) > 4_000
    assert 1_500 < len(dataset.split("train")) <= TRAIN_QUERIES
    assert len(dataset.split("dev")) >= 200
    assert len(dataset.split("test")) >= 400


def test_every_question_has_an_answer_and_stands_in_one_split(dataset: Dataset) -> None:
    asked = [query for split in dataset.qrels.values() for query in split]
    assert sorted(asked) == sorted(dataset.queries)
    for _, query, passage, grade in dataset.judged_pairs():
        assert query in dataset.queries and grade == 1
        assert dataset.corpus[passage].text.strip()


def test_what_is_asked_stands_in_no_passage(dataset: Dataset) -> None:
    everything = "\n".join(normal(passage.text) for passage in dataset.corpus.values())
    found = [query.text for query in dataset.queries.values() if normal(query.text) in everything]
    assert found == []


def test_no_two_questions_read_the_same(dataset: Dataset) -> None:
    texts = [normal(query.text) for query in dataset.queries.values()]
    assert len(set(texts)) == len(texts)


def test_a_module_is_asked_about_in_one_split_only(dataset: Dataset) -> None:
    groups = {
        split: {dataset.corpus[passage].metadata["group"] for grades in qrels.values() for passage in grades}
        for split, qrels in dataset.qrels.items()
    }
    assert not groups["train"] & groups["test"]
    assert not groups["train"] & groups["dev"]
    assert not groups["dev"] & groups["test"]


def test_no_module_decides_the_verdict_alone(dataset: Dataset) -> None:
    groups = [dataset.queries[query].metadata["group"] for query in dataset.split("test")]
    assert max(map(groups.count, set(groups))) <= LARGEST_HELD_OUT_SHARE * len(dataset.queries)


def test_the_same_seed_gives_the_same_dataset_and_another_seed_another_split(dataset: Dataset) -> None:
    assert asdict(build_python_dataset(seed=0)) == asdict(dataset)
    other = build_python_dataset(seed=1)
    assert other.corpus.keys() == dataset.corpus.keys()
    assert other.split("test").keys() != dataset.split("test").keys()

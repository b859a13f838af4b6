"""A sealed test split: what breaks the seal, what may not be trained on, what travels with the dataset."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragtune.data.check import check_dataset
from ragtune.data.duplicates import jaccard, near_texts
from ragtune.data.folder import dataset_hash, read_dataset, write_dataset
from ragtune.data.records import Candidate, Dataset, Passage, Query
from ragtune.data.sealing import is_broken, refuse_trained_on, seal_test, split_hash, trained_questions
from ragtune.data.splitting import carve_dev, split_dataset
from ragtune.errors import DataError

LONG = "how many days after moving out does the tenant get the deposit back from the landlord of the flat"


@pytest.fixture
def sealed(tiny_dataset: Callable[..., Dataset]) -> Dataset:
    return seal_test(tiny_dataset())


def with_training_query(dataset: Dataset, text: str, *, key: str = "new") -> Dataset:
    return replace(
        dataset,
        queries={**dataset.queries, key: Query(key, text)},
        qrels={**dataset.qrels, "train": {**dataset.split("train"), key: {"p0": 1}}},
    )


def test_a_seal_travels_with_the_folder(sealed: Dataset, tmp_path: Path) -> None:
    write_dataset(sealed, tmp_path / "ds")
    back = read_dataset(tmp_path / "ds")
    assert back.seal == sealed.seal
    assert not is_broken(back)
    assert dataset_hash(back) == dataset_hash(sealed) != dataset_hash(replace(sealed, seal=None))
    write_dataset(replace(back, seal=None), tmp_path / "ds", overwrite=True)
    assert read_dataset(tmp_path / "ds").seal is None


def test_what_is_not_the_test_split_may_change(sealed: Dataset) -> None:
    more = with_training_query(sealed, "a question that nobody asked before")
    more.corpus["extra"] = Passage("extra", "another passage")
    more.candidates["q5"] = [Candidate("p1", teacher=0.5)]
    assert not is_broken(more)
    refuse_trained_on([more])
    assert not is_broken(carve_dev(replace(more, qrels={n: q for n, q in more.qrels.items() if n != "dev"}), 3).dataset)


def test_the_order_of_lines_does_not_matter(sealed: Dataset) -> None:
    turned = dict(reversed(list(sealed.split("test").items())))
    assert split_hash(replace(sealed, qrels={**sealed.qrels, "test": turned}), "test") == split_hash(sealed, "test")


def changed(dataset: Dataset) -> dict[str, Dataset]:
    query = next(iter(dataset.split("test")))
    (passage,) = dataset.split("test")[query]
    test = dataset.split("test")
    fewer = {key: grades for key, grades in test.items() if key != query}
    graded = {**test, query: {passage: 2}}
    return {
        "query text": replace(dataset, queries={**dataset.queries, query: Query(query, "something else")}),
        "passage text": replace(dataset, corpus={**dataset.corpus, passage: Passage(passage, "something else")}),
        "a query less": replace(dataset, qrels={**dataset.qrels, "test": fewer}),
        "another grade": replace(dataset, qrels={**dataset.qrels, "test": graded}),
        "a positive more": replace(dataset, qrels={**dataset.qrels, "test": {**test, query: {passage: 1, "p0": 1}}}),
        "no test": replace(dataset, qrels={**dataset.qrels, "test": {}}),
    }


@pytest.mark.parametrize(
    "what", ["query text", "passage text", "a query less", "another grade", "a positive more", "no test"]
)
def test_whatever_changes_in_the_test_split_breaks_the_seal(sealed: Dataset, what: str) -> None:
    other = changed(sealed)[what]
    assert is_broken(other)
    with pytest.raises(DataError, match="not what it was when it was sealed"):
        refuse_trained_on([other])
    assert "broken seal of the test split" in [finding.name for finding in check_dataset(other)]


def test_a_test_question_in_training_is_refused_under_any_id(sealed: Dataset) -> None:
    query = next(iter(sealed.split("test")))
    leaked = with_training_query(sealed, f"  {sealed.queries[query].text.upper()} ")
    assert list(trained_questions(leaked, leaked)) == ["new"]
    with pytest.raises(DataError, match=r"sealed test split[\s\S]*1 queries, equal or nearly equal: new"):
        refuse_trained_on([leaked])
    names = [finding.name for finding in check_dataset(leaked)]
    assert "training queries that ask what the sealed test asks" in names


def test_a_near_duplicate_is_refused_too(tiny_dataset: Callable[..., Dataset]) -> None:
    dataset = tiny_dataset()
    dataset.queries["q5"] = Query("q5", LONG)
    sealed = seal_test(dataset)
    refuse_trained_on([with_training_query(sealed, "how long does the tenant wait for the deposit")])
    with pytest.raises(DataError, match="nearly equal: new"):
        refuse_trained_on([with_training_query(sealed, f"{LONG}, please")])


def test_test_questions_moved_into_training_are_known_by_their_hash(sealed: Dataset) -> None:
    """The test split is gone, its questions are not forgotten."""
    moved = replace(sealed, qrels={"train": {**sealed.split("train"), **sealed.split("test")}})
    assert set(trained_questions(sealed, moved)) == set(sealed.split("test"))
    with pytest.raises(DataError) as error:
        refuse_trained_on([moved])
    assert len(error.value.problems) == 2


def test_another_dataset_may_not_train_on_them_either(sealed: Dataset, tiny_dataset: Callable[..., Dataset]) -> None:
    other = tiny_dataset("zh")
    other.queries["q0"] = Query("q0", sealed.queries[next(iter(sealed.split("test")))].text)
    with pytest.raises(DataError, match="dataset 'tiny-zh'"):
        refuse_trained_on([replace(sealed, qrels={"test": sealed.split("test")}), other])


def test_blank_questions_are_nobodys(tiny_dataset: Callable[..., Dataset]) -> None:
    dataset = tiny_dataset()
    dataset.queries |= {"q0": Query("q0", " "), "q5": Query("q5", "")}
    refuse_trained_on([seal_test(dataset)])


def test_a_dataset_without_a_seal_is_free(tiny_dataset: Callable[..., Dataset]) -> None:
    dataset = tiny_dataset()
    refuse_trained_on([with_training_query(dataset, dataset.queries["q5"].text)])


def test_the_passages_of_test_may_be_negatives(sealed: Dataset) -> None:
    sealed.candidates["q0"] = [Candidate("p5", relevance=0.0)]
    refuse_trained_on([sealed])


def test_what_leaks_already_cannot_be_sealed(tiny_dataset: Callable[..., Dataset]) -> None:
    dataset = tiny_dataset()
    with pytest.raises(DataError, match="training queries ask"):
        seal_test(with_training_query(dataset, dataset.queries["q5"].text))
    with pytest.raises(DataError, match="no test split to seal"):
        seal_test(replace(dataset, qrels={"train": dataset.split("train")}))


def test_a_split_seals(tiny_dataset: Callable[..., Dataset]) -> None:
    dataset = replace(tiny_dataset(), qrels={"train": {f"q{i}": {f"p{i}": 1} for i in range(30)}})
    done = split_dataset(dataset, dev=0.1, test=0.2, level="query").dataset
    assert done.seal is not None
    assert len(done.seal.questions) == len(done.split("test"))
    refuse_trained_on([done])
    assert split_dataset(dataset, dev=0.1, test=0).dataset.seal is None


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=4, max_size=12), min_size=8, max_size=30))
def test_whatever_is_split_can_be_sealed(texts: list[list[str]]) -> None:
    """Chains of near duplicates that MinHash groups miss go to test with their neighbours."""
    from ragtune.data.records import DatasetInfo

    queries = {f"q{i}": Query(f"q{i}", " ".join(text)) for i, text in enumerate(texts)}
    corpus = {f"p{i}": Passage(f"p{i}", f"passage {i}") for i in range(len(texts))}
    dataset = Dataset(DatasetInfo("d"), corpus, queries, {"train": {f"q{i}": {f"p{i}": 1} for i in range(len(texts))}})
    try:
        done = split_dataset(dataset, dev=0, test=2, level="query").dataset
    except DataError as error:
        assert "whole groups" in str(error)
        return
    refuse_trained_on([done])


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=10).map(" ".join), min_size=2, max_size=12))
def test_near_texts_misses_no_pair(texts: list[str]) -> None:
    from ragtune.data.duplicates import _shingle_sets

    sets = _shingle_sets(texts)
    half = len(texts) // 2
    wanted = {str(i) for i in range(half) if any(jaccard(sets[i], other) >= 0.5 for other in sets[half:])}
    assert near_texts({str(i): texts[i] for i in range(half)}, texts[half:], near=0.5) == wanted


def test_an_unreadable_seal_is_told(sealed: Dataset, tmp_path: Path) -> None:
    write_dataset(sealed, tmp_path / "ds")
    for broken in ("{", json.dumps({"split": "test"})):
        (tmp_path / "ds" / "seal.json").write_text(broken)
        with pytest.raises(DataError, match=r"seal\.json"):
            read_dataset(tmp_path / "ds")

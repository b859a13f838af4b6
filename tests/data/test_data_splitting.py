"""What belongs together stays together, every query lands once, and the same seed gives the same split."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragtune.data.duplicates import canonical_ids
from ragtune.data.folder import read_dataset
from ragtune.data.records import Dataset, DatasetInfo, Passage, Query
from ragtune.data.splitting import carve_dev, split_dataset
from ragtune.errors import DataError


def chain(count: int, *, linked: int = 1, document: int = 0) -> Dataset:
    """``count`` queries; each run of ``linked`` shares one passage, each run of ``document`` lies in one document."""
    corpus, queries, train = {}, {}, {}
    for number in range(count):
        passage = f"p{number // linked}"
        metadata = {"document": f"d{number // document}"} if document else {}
        corpus.setdefault(passage, Passage(passage, f"passage {number // linked} " * 3, metadata=metadata))
        queries[f"q{number}"] = Query(f"q{number}", f"query {number} about {number * 7}")
        train[f"q{number}"] = {passage: 1}
    return Dataset(DatasetInfo("chain"), corpus, queries, {"train": train})


@given(count=st.integers(20, 60), linked=st.integers(1, 3), seed=st.integers(0, 5))
def test_groups_stay_together_and_nothing_is_lost(count: int, linked: int, seed: int) -> None:
    dataset = chain(count, linked=linked)
    split = split_dataset(dataset, dev=0.2, test=0.2, seed=seed)
    parts = split.dataset.qrels
    assert sorted(key for part in parts.values() for key in part) == sorted(dataset.queries)
    assert {key: grades for part in parts.values() for key, grades in part.items()} == dataset.qrels["train"]
    wanted = round(0.2 * count)
    assert all(wanted - linked < len(parts[part]) <= wanted for part in ("dev", "test"))
    passages = [{passage for grades in part.values() for passage in grades} for part in parts.values()]
    assert sum(map(len, passages)) == len(set().union(*passages))
    assert split.level == "duplicates"
    assert len(split.notices) == sum(len(parts[part]) < wanted for part in ("dev", "test"))
    assert split_dataset(dataset, dev=0.2, test=0.2, seed=seed).dataset.qrels == parts


def test_another_seed_is_another_split() -> None:
    dataset = chain(60)
    assert len({frozenset(carve_dev(dataset, 6, seed=seed).dataset.qrels["dev"]) for seed in range(5)}) == 5


def test_duplicate_passages_and_queries_are_links() -> None:
    dataset = chain(20)
    for number in range(0, 20, 2):  # each pair: equal passages under two ids
        text = f"the text of pair {number} is one long sentence, told twice"
        for key, passage in ((f"p{number}", text), (f"p{number + 1}", text.replace(" ", "  "))):
            dataset.corpus[key] = Passage(key, passage)
    dev = set(carve_dev(dataset, 4).dataset.qrels["dev"])
    assert len(dev) == 4
    assert all((f"q{number}" in dev) == (f"q{number + 1}" in dev) for number in range(0, 20, 2))

    dataset = chain(20)
    for number in range(0, 20, 2):
        dataset.queries[f"q{number + 1}"] = Query(f"q{number + 1}", dataset.queries[f"q{number}"].text.upper() + "?")
    dev = set(carve_dev(dataset, 4).dataset.qrels["dev"])
    assert all((f"q{number}" in dev) == (f"q{number + 1}" in dev) for number in range(0, 20, 2))


def test_documents_stay_together() -> None:
    split = carve_dev(chain(40, document=5), 10)
    assert split.level == "document"
    assert len({int(key[1:]) // 5 for key in split.dataset.qrels["dev"]}) == 2


def test_one_giant_group_is_told_and_split_by_query() -> None:
    dataset = chain(30, linked=30, document=30)
    split = carve_dev(dataset, 6)
    assert split.level == "query"
    assert split.notices == (
        "grouped by document, the largest of 1 groups holds 30 of 30 queries; whole groups fill only dev 0 of 6",
        "grouped by duplicates, the largest of 1 groups holds 30 of 30 queries; whole groups fill only dev 0 of 6",
    )
    with pytest.raises(DataError, match="cannot be filled with whole groups"):
        split_dataset(dataset, dev=6, test=0, level="duplicates")


def test_texts_with_a_class_are_not_one_group_a_class() -> None:
    dataset = chain(30, linked=30)
    for key, query in dataset.queries.items():
        dataset.queries[key] = Query(key, query.text, {"label": "x"})
    assert carve_dev(dataset, 6).level == "duplicates"


def test_other_splits_are_untouched() -> None:
    dataset = chain(40)
    test = {key: dataset.qrels["train"].pop(key) for key in ("q1", "q2")}
    dataset.qrels["test"] = test
    split = carve_dev(dataset, 0.1).dataset
    assert split.qrels["test"] == test
    assert len(split.qrels["dev"]) == 4
    assert dataset.qrels.keys() == {"train", "test"}


@pytest.mark.parametrize(
    ("sizes", "what"),
    [
        ({"dev": -0.1, "test": 0}, "no size for dev"),
        ({"dev": 1.5, "test": 0}, "no size for dev"),
        ({"dev": 0.01, "test": 0}, "no size for dev"),
        ({"dev": 0.5, "test": 0.5}, "nothing would be left in train"),
        ({"dev": 0, "test": 20}, "nothing would be left in train"),
        ({"dev": 2, "test": 0, "source": "all"}, "nothing to split"),
        ({"dev": 2, "test": 0, "level": "pair"}, "unknown level of grouping"),
    ],
)
def test_sizes_that_cannot_be_had(sizes: dict[str, float], what: str) -> None:
    with pytest.raises(DataError) as caught:
        split_dataset(chain(20), **sizes)
    assert caught.value.problems[0].what == what


def test_an_existing_dev_is_not_overwritten() -> None:
    dataset = carve_dev(chain(20), 2).dataset
    with pytest.raises(DataError, match="the dataset has a dev split"):
        carve_dev(dataset, 2)


def test_real_sets(shared_data: Path) -> None:
    levels = {"financial-qa-10K": "duplicates", "nfcorpus": "query", "dureader-robust": "duplicates"}
    for name, level in levels.items():
        dataset = read_dataset(shared_data / name)
        dataset.qrels.pop("dev", None)
        split = carve_dev(dataset, 0.1, near=None)
        assert split.level == level
        assert bool(split.notices) == (level == "query")
        if level == "duplicates":
            canonical = canonical_ids(dataset.corpus)
            seen, asked = (
                {canonical[key] for grades in split.dataset.qrels[part].values() for key in grades}
                for part in ("train", "dev")
            )
            assert not seen & asked

from __future__ import annotations

from collections.abc import Callable

import pytest

from ragtune.data.records import Dataset, DatasetInfo, Passage, Query
from ragtune.evaluation.judged import JudgedSplit, judged_split
from ragtune.evaluation.resampling import Resampling
from ragtune.evaluation.slices import SLICES, by_length, by_overlap, by_seen, by_style, slice_rows


def made(corpus: dict[str, Passage], queries: dict[str, str], **qrels: dict[str, dict[str, int]]) -> Dataset:
    return Dataset(
        info=DatasetInfo(name="made"),
        corpus=corpus,
        queries={key: Query(key, text) for key, text in queries.items()},
        qrels=qrels,
    )


def judged(dataset: Dataset) -> tuple[JudgedSplit, Dataset]:
    return judged_split(dataset, "test"), dataset


def test_length_makes_thirds_that_name_their_range() -> None:
    queries = {f"q{n}": " ".join(["word"] * n) for n in range(1, 10)}
    data = made({"p": Passage("p", "text")}, queries, test={key: {"p": 1} for key in queries})
    parts = by_length(*judged(data))
    assert list(dict.fromkeys(parts.values())) == [
        "lowest third: 1 to 3",
        "middle third: 4 to 6",
        "highest third: 7 to 9",
    ]
    assert parts["q3"] == "lowest third: 1 to 3"


def test_equal_lengths_stay_together() -> None:
    queries = {f"q{n}": "two words" for n in range(5)}
    data = made({"p": Passage("p", "text")}, queries, test={key: {"p": 1} for key in queries})
    assert set(by_length(*judged(data)).values()) == {"lowest third: 2"}


def test_overlap_takes_the_best_relevant_passage_and_pairs_of_chinese_characters() -> None:
    corpus = {"a": Passage("a", "cats hunt mice"), "b": Passage("b", "dogs bark"), "c": Passage("c", "绿茶不发酵")}
    queries = {"q1": "dogs hunt", "q2": "cats hunt mice", "q3": "绿茶发酵"}  # q3: 绿茶 发酵 of 绿茶 茶发 发酵
    data = made(corpus, queries, test={"q1": {"a": 1, "b": 1}, "q2": {"a": 1}, "q3": {"c": 1}})
    assert by_overlap(*judged(data)) == {
        "q1": "lowest third: 50%", "q3": "middle third: 67%", "q2": "highest third: 100%",
    }  # fmt: skip


def test_seen_is_by_passage_by_copy_and_by_document() -> None:
    corpus = {
        "a": Passage("a", "one"),
        "copy": Passage("copy", "one "),
        "b": Passage("b", "two", metadata={"document": "d"}),
        "c": Passage("c", "three", metadata={"document": "d"}),
        "e": Passage("e", "four"),
    }
    queries = {key: key for key in ("t1", "t2", "q1", "q2", "q3")}
    train = {"t1": {"copy": 1, "e": 0}, "t2": {"b": 1}}
    data = made(corpus, queries, train=train, test={"q1": {"a": 1}, "q2": {"c": 1}, "q3": {"e": 1}})
    expected = {"q3": "unseen", "q1": "seen in training", "q2": "seen in training"}
    for protocol in ("merged", "single-id"):
        assert by_seen(judged_split(data, "test", protocol=protocol), data) == expected


def test_there_is_nothing_seen_without_a_train_split_and_no_style_without_styles() -> None:
    data = made({"a": Passage("a", "one")}, {"q": "one"}, test={"q": {"a": 1}})
    assert by_seen(*judged(data)) == by_style(*judged(data)) == {}


def test_rows_hold_the_means_of_their_own_questions() -> None:
    before, after = {"q1": 0.0, "q2": 0.5, "q3": 1.0}, {"q1": 1.0, "q2": 1.0, "q3": 0.0}
    resampling = Resampling(clusters={"q1": "a", "q2": "b", "q3": "c"}, resamples=200, seed=0)
    parts = {"q1": "low", "q2": "low", "q3": "high"}
    low, high = slice_rows(parts, title="t", before=before, after=after, resampling=resampling)
    assert (low.part, low.n, low.before, low.after, low.delta) == ("low", 2, 0.25, 1.0, 0.75)
    assert low.low is not None and low.low <= 0.75 <= (low.high or 0)
    assert (high.n, high.delta, high.low, high.high) == (1, -1.0, None, None)
    assert slice_rows(parts, title="t", before=before, after=None, resampling=resampling)[0].after is None
    whole = dict.fromkeys(before, "all")
    assert slice_rows(whole, title="t", before=before, after=after, resampling=resampling) == []


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_slice_puts_a_question_into_one_part(tiny_dataset: Callable[..., Dataset], language: str) -> None:
    split, dataset = judged(tiny_dataset(language))
    for parts_of in SLICES.values():
        assert set(parts_of(split, dataset)) in (set(), {query.id for query in split.queries})

"""The numbers are those that one counts by hand, and everything odd is found."""

from __future__ import annotations

import json
from collections.abc import Callable

from ragtune.data.check import CHECKS, check_dataset
from ragtune.data.records import Candidate, Dataset, DatasetInfo, Passage, Query
from ragtune.data.statistics import Lengths, dataset_statistics


def odd_dataset() -> Dataset:
    corpus = {
        "a": Passage("a", "the cat sleeps"),
        "b": Passage("b", "the  cat sleeps"),
        "c": Passage("c", "The cat sleeps!"),
        "d": Passage("d", ""),
        "e": Passage("e", "what sleeps"),
    }
    queries = {
        key: Query(key, text) for key, text in (("q", "what sleeps"), ("r", "what sleeps "), ("s", " "), ("t", "cat"))
    }
    qrels = {"train": {"q": {"a": 1, "e": 2}, "s": {"d": 0}}, "test": {"r": {"b": 1}}}
    candidates = {"q": [Candidate("b", 0.0, teacher=0.5), Candidate("c"), Candidate("d", valid=False)]}
    return Dataset(DatasetInfo("odd"), corpus, queries, qrels, candidates)


def test_statistics_by_hand() -> None:
    found = dataset_statistics(odd_dataset(), count_tokens=lambda texts: [2 * len(text.split()) for text in texts])
    assert (found.passages.count, found.passages.blank, found.passages.equal, found.passages.near) == (5, 1, 1, 1)
    assert (found.queries.count, found.queries.blank, found.queries.equal, found.queries.near) == (4, 1, 1, 0)
    assert found.passages.words == Lengths(mean=2.2, median=3.0, p95=3.0, longest=3)
    assert found.passages.tokens is not None and found.passages.tokens.longest == 6
    train = found.splits["train"]
    assert (train.queries, train.judgements, train.without_positive) == (2, 3, 1)
    assert train.positives_a_query.longest == 2
    assert train.overlap == 0.75
    (leak,) = found.leakage
    assert (leak.equal_queries, leak.near_queries, leak.equal_positives, leak.near_positives) == (1, 1, 1, 1)
    assert found.candidates == {
        "queries": 1,
        "candidates": 3,
        "negatives": 1,
        "unknown": 2,
        "with_teacher": 1,
        "not_valid": 1,
    }
    assert json.loads(json.dumps(found.as_dict()))["splits"]["test"]["queries"] == 1


def test_everything_odd_is_found() -> None:
    found = {finding.name: finding.examples for finding in check_dataset(odd_dataset())}
    assert found == {
        "passages without text": ("d",),
        "queries without text": ("s",),
        "passages that repeat another": ("b",),
        "queries that repeat another": ("r",),
        "queries nobody judged": ("t",),
        "judged queries without a positive": ("train:s",),
        "negatives that equal a positive": ("q:b",),
        "queries that equal their positive": ("q",),
        "queries shared by splits, train -> test": (),
        "queries whose positive is shared by splits, train -> test": (),
    }
    assert CHECKS.keys() <= found.keys()


def test_a_sound_dataset_has_no_findings(tiny_dataset: Callable[..., Dataset]) -> None:
    assert check_dataset(tiny_dataset(with_candidates=True)) == ()


def test_an_empty_dataset() -> None:
    found = dataset_statistics(Dataset(DatasetInfo("none"), {}, {}))
    assert found.passages.count == 0 and found.passages.words.longest == 0 and not found.leakage

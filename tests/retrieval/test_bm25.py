from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ragtune.data.folder_reading import read_dataset
from ragtune.data.records import Dataset, Passage, Query
from ragtune.measures import evaluate_run, mean_values
from ragtune.retrieval.bm25 import BM25Retriever
from ragtune.retrieval.search import search

TEXTS = ["red red fish", "blue fish swims", "red blue green yellow", "nothing here"]
CORPUS = {f"p{number}": Passage(f"p{number}", text) for number, text in enumerate(TEXTS)}


def test_scores_are_those_of_the_formula() -> None:
    rows = [text.split() for text in TEXTS]
    mean_length = sum(map(len, rows)) / len(rows)
    expected = np.zeros(len(rows))
    for word in ("red", "fish"):
        holding = sum(word in row for row in rows)
        idf = math.log(1 + (len(rows) - holding + 0.5) / (holding + 0.5))
        for number, row in enumerate(rows):
            count = Counter(row)[word]
            expected[number] += idf * count / (count + 1.2 * (1 - 0.75 + 0.75 * len(row) / mean_length))
    assert BM25Retriever(CORPUS, language="de").score("red fish") == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_questions_find_their_passages(tiny_dataset: Callable[..., Dataset], language: str) -> None:
    dataset = tiny_dataset(language)
    ranking = search(BM25Retriever(dataset.corpus, language=language), list(dataset.queries.values()), k=10)
    qrels = {f"q{i}": {f"p{i}": 1} for i in range(len(dataset.queries))}
    assert mean_values(evaluate_run(["nDCG@10"], qrels, ranking.as_run()))["nDCG@10"] > 0.85


def test_what_shares_no_word_is_not_found() -> None:
    ranking = search(BM25Retriever(CORPUS), [Query("q", "blue"), Query("none", "elephant"), Query("empty", "")], k=10)
    assert ranking.passage_ids == [["p1", "p2"], [], []]
    assert min(ranking.scores[0]) > 0


def test_ties_are_ordered_by_id_even_at_the_edge() -> None:
    corpus = {str(number): Passage(str(number), "same words") for number in range(12)}
    assert search(BM25Retriever(corpus), [Query("q", "words")], k=3).passage_ids == [["9", "8", "7"]]


@pytest.mark.parametrize("texts", [[], ["", "  "], ["the of", "。"]])
def test_a_corpus_without_words_finds_nothing(texts: list[str]) -> None:
    corpus = {str(number): Passage(str(number), text) for number, text in enumerate(texts)}
    assert search(BM25Retriever(corpus), [Query("q", "word")], k=3).as_run() == {"q": {}}


def test_nothing_is_printed_or_logged(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        search(BM25Retriever(CORPUS), [Query("q", "red")], k=3)
    captured = capfd.readouterr()
    assert (captured.out, captured.err, caplog.text) == ("", "", "")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "language", "at_least"), [("cmrc2018", "zh", 0.97), ("nfcorpus", "en", 0.32)])
def test_real_data(shared_data: Path, name: str, language: str, at_least: float) -> None:
    # nfcorpus: 0.325 in Thakur et al. 2021 (BEIR), table 2
    dataset = read_dataset(shared_data / name)
    qrels = dataset.split("test")
    ranking = search(BM25Retriever(dataset.corpus, language=language), [dataset.queries[q] for q in qrels], k=100)
    assert mean_values(evaluate_run(["nDCG@10"], qrels, ranking.as_run()))["nDCG@10"] > at_least

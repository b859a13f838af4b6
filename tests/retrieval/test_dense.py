from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pytest

from ragtune.data.records import Dataset, Passage, Query
from ragtune.measures import evaluate_run, mean_values
from ragtune.retrieval.dense import DenseRetriever
from ragtune.retrieval.search import search
from ragtune.retrieval.vectors import VectorStore, prefix


class LetterPairs:
    """An encoder of 256 hashed letter pairs; it notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def encode(
        self,
        texts: Sequence[str],
        *,
        kind: Literal["query", "passage"],
        label: str = "",
        prompts: Sequence[str | None] | None = None,
    ) -> Any:
        self.asked.append((kind, len(texts)))
        vector_ND = np.zeros((len(texts), 257), np.float32)
        joined = [(prompt or "") + text for text, prompt in zip(texts, prompts or [None] * len(texts), strict=True)]
        for row, text in enumerate(joined):
            for place in range(len(text) - 1):
                vector_ND[row, zlib.crc32(text[place : place + 2].lower().encode()) % 256] += 1
        return prefix(vector_ND, 256)


@pytest.mark.parametrize("language", ["en", "zh", "mixed"])
def test_questions_find_their_passages(tiny_dataset: Callable[..., Dataset], language: str) -> None:
    dataset, encoder = tiny_dataset(language), LetterPairs()
    queries = list(dataset.queries.values())
    ranking = search(DenseRetriever.build(dataset.corpus, encoder), queries, k=10)
    assert ranking.query_ids == [query.id for query in queries]
    assert encoder.asked == [("passage", len(dataset.corpus)), ("query", len(queries))]
    qrels = {f"q{i}": {f"p{i}": 1} for i in range(len(queries))}
    assert mean_values(evaluate_run(["nDCG@10"], qrels, ranking.as_run()))["nDCG@10"] > 0.75


def test_the_title_is_part_of_the_passage() -> None:
    corpus = {"a": Passage("a", "sleeps all day", title="zebra"), "b": Passage("b", "sleeps all day")}
    encoder = LetterPairs()
    vectors = DenseRetriever.build(corpus, encoder).vectors
    expected = encoder.encode(["zebra sleeps all day", "sleeps all day"], kind="passage")
    assert np.array_equal(vectors.kept.stored, expected)


def test_a_querys_own_prompt_is_used() -> None:
    corpus = {"a": Passage("a", "zebra zebra zebra"), "b": Passage("b", "sleeps all day")}
    queries = [Query("plain", "sleeps"), Query("own", "sleeps", {"prompt": "zebra zebra zebra zebra: "})]
    ranking = search(DenseRetriever.build(corpus, LetterPairs()), queries, k=1)
    assert ranking.passage_ids == [["b"], ["a"]]


def test_ties_fall_as_they_are_measured() -> None:
    corpus = {name: Passage(name, "the same text") for name in ("1", "10", "9")}
    ranking = search(DenseRetriever.build(corpus, LetterPairs()), [_query("the same")], k=2)
    assert ranking.passage_ids == [["9", "10"]]


def test_no_queries_and_storage_options(tiny_dataset: Callable[..., Dataset]) -> None:
    dataset = tiny_dataset("en")
    retriever = DenseRetriever.build(dataset.corpus, LetterPairs(), storage="int8", dims=128)
    assert search(retriever, [], k=3).as_run() == {}
    assert (retriever.vectors.bytes_per_vector, len(retriever.vectors)) == (128, len(dataset.corpus))
    again = DenseRetriever(VectorStore.build(np.zeros((0, 256), np.float32), []), LetterPairs())
    assert search(again, [_query("anything")], k=3).as_run() == {"q": {}}


def _query(text: str) -> Query:
    return Query("q", text)

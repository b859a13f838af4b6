from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from ragtune.data.records import Dataset, Query
from ragtune.errors import InputError
from ragtune.measures import evaluate_run, mean_values
from ragtune.retrieval.bm25 import BM25Retriever
from ragtune.retrieval.search import Ranking, rerank, search


@pytest.fixture
def dataset(tiny_dataset: Callable[..., Dataset]) -> Dataset:
    return tiny_dataset("en")


@pytest.fixture
def first(dataset: Dataset) -> Ranking:
    return search(BM25Retriever(dataset.corpus), list(dataset.queries.values()), k=5)


def shared_letters(queries: Sequence[str], passages: Sequence[str]) -> list[float]:
    return [float(len(set(query) & set(passage))) for query, passage in zip(queries, passages, strict=True)]


def test_a_ranking_and_its_run_say_the_same(first: Ranking) -> None:
    assert Ranking.from_run(first.as_run()) == first
    assert first.top(2).passage_ids == [row[:2] for row in first.passage_ids]


def test_a_second_stage_orders_the_top_by_its_own_scores(dataset: Dataset, first: Ranking) -> None:
    second = rerank(first, shared_letters, queries=dataset.queries, passages=dataset.corpus, top=3)
    assert second.query_ids == first.query_ids
    for query, before, after, scores in zip(
        first.query_ids, first.passage_ids, second.passage_ids, second.scores, strict=True
    ):
        assert sorted(after) == sorted(before[:3])
        texts = [dataset.corpus[passage].content for passage in after]
        assert scores == shared_letters([dataset.queries[query].text] * len(texts), texts)
        assert scores == sorted(scores, reverse=True)


def test_a_threshold_leaves_out_what_scores_below_it(dataset: Dataset, first: Ranking) -> None:
    def score(queries: Sequence[str], passages: Sequence[str]) -> Any:
        return np.linspace(0, 1, len(queries))

    options: Any = {"queries": dataset.queries, "passages": dataset.corpus}
    whole, cut = rerank(first, score, **options), rerank(first, score, **options, threshold=0.5)
    assert min(score for row in cut.scores for score in row) >= 0.5
    assert sum(map(len, cut.scores)) == sum(score >= 0.5 for row in whole.scores for score in row)
    assert cut.query_ids == first.query_ids
    assert cut.scores[0] == []


def test_a_perfect_second_stage_gives_a_perfect_ranking(dataset: Dataset, first: Ranking) -> None:
    texts = {dataset.queries[f"q{i}"].text: dataset.corpus[f"p{i}"].content for i in range(len(dataset.corpus))}
    second = rerank(
        first,
        lambda queries, passages: [texts[query] == passage for query, passage in zip(queries, passages, strict=True)],
        queries=dataset.queries,
        passages=dataset.corpus,
    )
    qrels = {query: {query.replace("q", "p"): 1} for query in first.query_ids}
    found = {query: row for query, row in second.as_run().items() if query.replace("q", "p") in row}
    assert mean_values(evaluate_run(["MRR"], {query: qrels[query] for query in found}, found)) == {"MRR": 1.0}


def test_nothing_to_score_asks_no_scorer(dataset: Dataset) -> None:
    def never(queries: Sequence[str], passages: Sequence[str]) -> Any:
        raise AssertionError("asked")

    empty = Ranking(["q0"], [[]], [[]])
    assert rerank(empty, never, queries=dataset.queries, passages=dataset.corpus) == empty


@pytest.mark.parametrize(("value", "what"), [([1.0], "scores do not fit"), (math.nan, "not a number")])
def test_scores_that_cannot_be_used_are_refused(dataset: Dataset, first: Ranking, value: Any, what: str) -> None:
    with pytest.raises(InputError, match=what):
        rerank(
            first,
            lambda queries, _: value if isinstance(value, list) else [value] * len(queries),
            queries=dataset.queries,
            passages=dataset.corpus,
        )


def test_wrong_calls_are_told_at_once(dataset: Dataset) -> None:
    with pytest.raises(InputError) as caught:
        search(BM25Retriever(dataset.corpus), [Query("q", "a"), Query("q", "b")], k=0)
    assert [problem.what for problem in caught.value.problems] == ["k must be 1 or more", "a query id is there twice"]

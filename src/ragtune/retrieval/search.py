"""Search is one function: what mining digs up, evaluation measures and the service answers comes from here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike

from ragtune.data.records import Passage, Query
from ragtune.errors import InputError, Problem
from ragtune.measures.ordering import trec_order

PairScorer = Callable[[Sequence[str], Sequence[str]], ArrayLike]
"""Query texts and passage texts, pair by pair, to one score a pair."""


@final
@dataclass(frozen=True, slots=True)
class Ranking:
    """The passages found for each query, best first, with their scores; a query may have found none."""

    query_ids: list[str]
    passage_ids: list[list[str]]
    scores: list[list[float]]

    def __post_init__(self) -> None:
        shapes = [len(row) for row in self.passage_ids], [len(row) for row in self.scores]
        assert shapes[0] == shapes[1] and len(shapes[0]) == len(self.query_ids), "one score a passage, one row a query"

    def __len__(self) -> int:
        return len(self.query_ids)

    @staticmethod
    def from_run(run: Mapping[str, Mapping[str, float]]) -> Ranking:
        """Put a run, as `evaluate_run` takes it, in trec_eval's order.

        >>> Ranking.from_run({"q": {"a": 0.5, "b": 0.5}}).passage_ids
        [['b', 'a']]
        """
        orders = {query: trec_order(scores, query_id=query) for query, scores in run.items()}
        scores = [[float(run[query][passage]) for passage in order] for query, order in orders.items()]
        return Ranking(list(orders), list(orders.values()), scores)

    def as_run(self) -> dict[str, dict[str, float]]:
        """``{query id: {passage id: score}}``, what `evaluate_run` measures."""
        return {
            query: dict(zip(passages, scores, strict=True))
            for query, passages, scores in zip(self.query_ids, self.passage_ids, self.scores, strict=True)
        }

    def top(self, k: int) -> Ranking:
        """The first k passages of every query."""
        return Ranking(self.query_ids, [row[:k] for row in self.passage_ids], [row[:k] for row in self.scores])


class Retriever(ABC):
    """Something that finds passages: the first stage of every search."""

    @abstractmethod
    def retrieve(self, queries: Sequence[Query], *, k: int) -> Ranking:
        """At most k passages a query, in trec_eval's order, the queries in their given order."""


def search(retriever: Retriever, queries: Sequence[Query], *, k: int) -> Ranking:
    """The best k passages for each query. InputError: k below 1, or a query id twice."""
    problems = []
    if k < 1:
        problems.append(
            Problem(what="k must be 1 or more", where="search", found=f"k = {k}", do="ask for at least one result")
        )
    twice = [query_id for query_id, count in Counter(query.id for query in queries).items() if count > 1]
    problems += [
        Problem(
            what="a query id is there twice", where="queries", found=repr(query_id), do="give each query its own id"
        )
        for query_id in twice
    ]
    if problems:
        raise InputError(problems)
    return retriever.retrieve(queries, k=k)


def rerank(
    ranking: Ranking,
    scorer: PairScorer,
    *,
    queries: Mapping[str, Query],
    passages: Mapping[str, Passage],
    top: int = 100,
    threshold: float | None = None,
) -> Ranking:
    """The second stage: the first ``top`` passages of each query in the order of their new scores.

    ``scorer`` sees all pairs in one call, so that it can sort and cut them as it likes. Passages beyond ``top``, and
    those that score below ``threshold``, are left out; a query may be left with none. InputError: the scorer gives
    another number of scores, or NaN.
    """
    first = ranking.top(top)
    pairs = [(query, passage) for query, row in first.as_run().items() for passage in row]
    score_P = np.zeros(0)
    if pairs:
        texts = [queries[query].text for query, _ in pairs], [passages[passage].content for _, passage in pairs]
        score_P = np.asarray(scorer(*texts), dtype=np.float64)
    if score_P.shape != (len(pairs),):
        found = f"shape {score_P.shape} for {len(pairs)} pairs"
        raise InputError(
            Problem(what="scores do not fit", where="the second stage", found=found, do="one score a pair")
        )
    run: dict[str, dict[str, float]] = {query: {} for query in first.query_ids}
    for (query, passage), score in zip(pairs, score_P.tolist(), strict=True):
        if threshold is None or not score < threshold:
            run[query][passage] = score
    return Ranking.from_run(run)

"""Two stages: something finds passages, a reranker puts the first of them in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

from numpy.typing import ArrayLike

from ragtune.data.records import Passage, Query
from ragtune.retrieval.search import Ranking, Retriever, rerank, search
from ragtune.retrieval.teaching import PairTeacher


@final
class Remembered(Retriever):
    """A first stage whose last answer is kept, so that several second stages over it search once."""

    def __init__(self, retriever: Retriever) -> None:
        self._retriever = retriever
        self._last: tuple[list[str], int, Ranking] | None = None

    def retrieve(self, queries: Sequence[Query], *, k: int) -> Ranking:
        """What the retriever finds."""
        ids = [query.id for query in queries]
        if self._last is None or self._last[0] != ids or self._last[1] < k:
            self._last = ids, k, search(self._retriever, queries, k=k)
        return self._last[2].top(k)


@final
class TwoStage(Retriever):
    """The first ``depth`` passages of a first stage in the order of a second one; the rest keep their order behind."""

    def __init__(
        self, first: Retriever, second: PairTeacher, *, passages: Mapping[str, Passage], depth: int = 100
    ) -> None:
        self.first = first
        self.second = second
        self.passages = passages
        self.depth = depth

    def retrieve(self, queries: Sequence[Query], *, k: int) -> Ranking:
        """At most k passages a query, the scored ones first."""
        if not queries:
            return Ranking([], [], [])
        found = search(self.first, queries, k=max(k, self.depth))
        by_id = {query.id: query for query in queries}
        # a query keeps its own prompt
        by_text = {query.text: query for query in queries}

        def score(asked: Sequence[str], read: Sequence[str]) -> ArrayLike:
            pairs = [by_text[text] for text in asked], [Passage(id=text, text=text) for text in read]
            return self.second.score_pairs(*pairs)

        best = rerank(found, score, queries=by_id, passages=self.passages, top=self.depth)
        return with_tail(best, found, depth=self.depth).top(k)


def with_tail(best: Ranking, found: Ranking, *, depth: int) -> Ranking:
    """``best`` with what ``found`` holds beyond ``depth`` behind it, each one below the lowest score before it.

    >>> found = Ranking(["q"], [["a", "b", "c"]], [[9.0, 8.0, 7.0]])
    >>> with_tail(Ranking(["q"], [["b", "a"]], [[0.5, 0.25]]), found, depth=2)
    Ranking(query_ids=['q'], passage_ids=[['b', 'a', 'c']], scores=[[0.5, 0.25, -0.75]])
    """
    passage_ids, scores = [], []
    for first, row, values in zip(found.passage_ids, best.passage_ids, best.scores, strict=True):
        tail = first[depth:]
        lowest = values[-1] if values else 0.0
        passage_ids.append([*row, *tail])
        scores.append([*values, *(lowest - 1 - place for place in range(len(tail)))])
    return Ranking(best.query_ids, passage_ids, scores)

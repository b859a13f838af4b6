"""Reciprocal-rank fusion of several rankings."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from ragtune.errors import InputError, Problem
from ragtune.retrieval.search import Ranking

RRF_K = 60
"""The constant of Cormack et al. 2009, chosen there on pilot data."""


def fuse(rankings: Sequence[Ranking], *, k: int = RRF_K, top: int | None = None) -> Ranking:
    """One ranking of several: score = sum of 1 / (k + rank) over the rankings that found the passage.

    (Cormack, Clarke & Buettcher 2009, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
    Methods".) Queries are matched by id; the order of the rankings changes nothing but the order of new queries.
    ``top`` keeps the best of each query. InputError: k below 0 or top below 1.

    >>> one, two = Ranking(["q"], [["a", "b"]], [[9.0, 8.0]]), Ranking(["q"], [["b", "c"]], [[0.2, 0.1]])
    >>> fuse([one, two]).passage_ids
    [['b', 'a', 'c']]
    """
    if k < 0 or (top is not None and top < 1):
        found, do = f"k = {k}, top = {top}", "choose k of 0 or more and top of 1 or more"
        raise InputError(Problem(what="fusion cannot work like this", where="fuse", found=found, do=do))
    shares: dict[str, dict[str, list[float]]] = {}
    for ranking in rankings:
        for query, passages in zip(ranking.query_ids, ranking.passage_ids, strict=True):
            row = shares.setdefault(query, defaultdict(list))
            for rank, passage in enumerate(passages, start=1):
                row[passage].append(1 / (k + rank))
    # fsum rounds once, so equal sums are equal whatever the order of the rankings
    fused = Ranking.from_run({q: {p: math.fsum(parts) for p, parts in row.items()} for q, row in shares.items()})
    return fused if top is None else fused.top(top)

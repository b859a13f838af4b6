"""The one order of a ranking: score as float32, descending; equal scores by passage id, descending.

This is what trec_eval does, so every search of the package breaks its ties in the same way, and what is shown is
what is measured. Strings compare by code point, which is also the byte order of UTF-8 that trec_eval sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ragtune.errors import InputError, Problem


def trec_order(scores: Mapping[str, float], *, query_id: str = "") -> list[str]:
    """The passage ids of one query, best first. A NaN score is an InputError, since it has no place in an order.

    >>> trec_order({"9": 1.0, "10": 1.0, "a": 0.5, "b": 2.0})
    ['b', '9', '10', 'a']
    """
    with np.errstate(over="ignore"):
        score_N = np.fromiter(scores.values(), dtype=np.float32, count=len(scores))
    if np.isnan(score_N).any():
        bad = next(passage for passage, score in zip(scores, score_N, strict=True) if np.isnan(score))
        raise InputError(
            Problem(
                what="a score is not a number",
                where=f"the run, query {query_id!r}, passage {bad!r}",
                found="NaN",
                do="give every retrieved passage a number, or leave it out of the run",
            )
        )
    return [passage for _, passage in sorted(zip(score_N.tolist(), scores, strict=True), reverse=True)]


def tie_ranks(ids: Sequence[str]) -> NDArray[np.int64]:
    """rank_N: the place of each id in descending string order; of two equal scores the smaller rank comes first.

    >>> tie_ranks(["10", "9", "a"]).tolist()
    [2, 1, 0]
    """
    rank_N = np.empty(len(ids), dtype=np.int64)
    rank_N[sorted(range(len(ids)), key=ids.__getitem__, reverse=True)] = np.arange(len(ids))
    return rank_N

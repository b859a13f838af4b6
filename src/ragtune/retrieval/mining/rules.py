"""Which candidates may be negatives, and which of those are taken: pure rules over one query's candidates.

Margins: Moreira et al. 2024, "NV-Retriever", arXiv:2407.15831 (a negative above a share of the positive's score is
likely to be a positive that nobody marked).

Shapes: C candidates of a query, P its positives, L candidates that are left, best first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import numpy as np
from numpy.typing import NDArray

from ragtune.recipe_mining import MineRecipe
from ragtune.retrieval.mining.pool import Known, Pool

LEFT = ""
REASONS: Mapping[str, str] = MappingProxyType(
    {
        "positive": "known to be relevant",
        "duplicate": "equal or nearly equal to a positive",
        "query": "is the query's own text",
        "given": "stands beside the query already",
        "neighbour": "beside a positive in its document",
        "blank": "has no text",
        "rank": "outside the rank window",
        "margin": "scores too near to the positive",
        "max_score": "scores above max_score",
        "min_score": "scores below min_score",
        "repeat": "equal or nearly equal to a better candidate",
    }
)
"""Why a candidate is cut; the first reason that holds is counted."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What the retrievers found for a query: rows of the pool, the score that counts, and the best rank (from 1)."""

    row_C: NDArray[np.int64]
    score_C: NDArray[np.float64]
    rank_C: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.row_C)


def ceiling(positive_P: NDArray[np.float64], recipe: MineRecipe) -> float:
    """The highest score that the margins allow a negative; infinite where there is no margin.

    A share of a negative score would lie above it, so the relative margin is taken off as a share of the size.

    >>> ceiling(np.array([0.8]), MineRecipe()), ceiling(np.array([-2.0]), MineRecipe())
    (0.76, -2.1)
    """
    if not len(positive_P):
        return float("inf")
    start = float(positive_P.min() if recipe.margin_from == "lowest" else positive_P.max())
    relative, absolute = recipe.relative_margin, recipe.absolute_margin
    by_share = float("inf") if relative is None else start - abs(start) * relative
    by_distance = float("inf") if absolute is None else start - absolute
    return min(by_share, by_distance)


def cut(
    found: Candidates, known: Known, positive_P: NDArray[np.float64], *, pool: Pool, recipe: MineRecipe
) -> list[str]:
    """For every candidate the reason why it is cut, or LEFT."""
    row_C, score_C, rank_C = found.row_C, found.score_C, found.rank_C
    last = recipe.depth if recipe.max_rank is None else recipe.max_rank
    holds = {
        "positive": _among(row_C, known.positives),
        "duplicate": _among(pool.group_N[row_C], known.positive_groups),
        "query": _among(row_C, known.itself),
        "given": _among(row_C, known.given),
        "neighbour": _among(row_C, known.neighbours),
        "blank": pool.blank_N[row_C],
        "rank": (rank_C < recipe.min_rank) | (rank_C > last),
        "margin": score_C > ceiling(positive_P, recipe),
        "max_score": score_C > (np.inf if recipe.max_score is None else recipe.max_score),
        "min_score": score_C < (-np.inf if recipe.min_score is None else recipe.min_score),
    }
    reason_C = np.full(len(row_C), LEFT, dtype=object)
    for reason, true_C in holds.items():
        reason_C[(reason_C == LEFT) & true_C] = reason
    seen: set[int] = set()
    for place in best_first(found):
        group = int(pool.group_N[row_C[place]])
        if reason_C[place] == LEFT and group in seen:
            reason_C[place] = "repeat"
        if reason_C[place] == LEFT:
            seen.add(group)
    reasons: list[str] = reason_C.tolist()
    return reasons


def best_first(found: Candidates) -> NDArray[np.intp]:
    """Places of the candidates, highest score first; equal scores in the order of the corpus."""
    return np.lexsort((found.row_C, -found.score_C))


def choose(score_L: NDArray[np.float64], *, recipe: MineRecipe, rng: np.random.Generator) -> NDArray[np.intp]:
    """Places of what is taken among the candidates that are left (best first), best first; never one twice."""
    count = min(recipe.negatives, len(score_L))
    if recipe.choice == "top":
        return np.arange(count)
    pool_L = score_L[: max(recipe.choose_from, count)]
    weight_L = np.ones(len(pool_L)) if recipe.choice == "random" else proportions(pool_L)
    # The largest of u^(1/w) is a draw in proportion to w without repetition (Efraimidis and Spirakis 2006)
    key_L = np.log(rng.random(len(pool_L))) / weight_L
    return np.sort(np.argsort(-key_L, kind="stable")[:count])


def proportions(score_L: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights in proportion to the score above the lowest, which itself keeps a small chance.

    >>> proportions(np.array([3.0, 2.0, 1.0])).round(2).tolist()
    [2.67, 1.67, 0.67]
    >>> proportions(np.array([-1.0, -1.0])).tolist()
    [1.0, 1.0]
    """
    span = float(score_L.max() - score_L.min()) if len(score_L) else 0.0
    if span == 0.0:
        return np.ones(len(score_L))
    weight_L: NDArray[np.float64] = score_L - score_L.min() + span / len(score_L)
    return weight_L


def _among(value_C: NDArray[np.int64], wanted: frozenset[int]) -> NDArray[np.bool_]:
    if not wanted:
        return np.zeros(len(value_C), dtype=bool)
    return np.isin(value_C, np.fromiter(wanted, dtype=np.int64))

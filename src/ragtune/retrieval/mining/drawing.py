"""Random negatives by a rule that others can repeat: numpy's legacy generator, one draw of rows a query.

``numpy.random.RandomState(seed).randint(0, N, size=n)`` for every query of the dataset in its order, drawn again while
one of the query's positives is in it; N is the number of passages. This is how the published worked example of
financial-qa-10K draws its negatives (seed 520, n = 10). That rule may draw a passage twice, or one whose text is the
positive's; such a draw is replaced by one from a generator of the query's own, so that the other rows stay the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ragtune.data.records import Candidate, Dataset
from ragtune.errors import InputError, Problem
from ragtune.recipe_mining import MineRecipe
from ragtune.retrieval.mining.audit import AuditBuilder, Taken
from ragtune.retrieval.mining.mine import Mined, generator_for, queries_to_mine
from ragtune.retrieval.mining.pool import RANDOM, Knowledge, Known, Pool
from ragtune.retrieval.mining.rules import LEFT, Candidates, cut

_ANY_SCORE = {"relative_margin": None, "absolute_margin": None, "max_score": None, "min_score": None}
_ANY_RANK = {"min_rank": 1, "max_rank": 1}


def draw_negatives(dataset: Dataset, *, recipe: MineRecipe) -> Mined:
    """``recipe.negatives`` random negatives for the queries of ``recipe.splits``, fewer where the corpus has no more.

    InputError: nothing to draw for, or fewer passages than a query and its negatives need.
    """
    pool = Pool(dataset.corpus, near=recipe.near, neighbours=recipe.neighbours)
    knowledge = Knowledge(dataset, pool, splits=recipe.splits, keeps_mined=recipe.existing == "keep")
    ids = queries_to_mine(knowledge, recipe)
    _check_size(pool, dataset, recipe)
    audit = AuditBuilder(recipe, dataset=dataset, pool=pool, queries=ids, left_out=knowledge.left_out)
    unscored = recipe.model_copy(update=_ANY_SCORE | _ANY_RANK)
    drawn = _by_the_rule(dataset, pool, recipe)
    candidates: dict[str, list[Candidate]] = {}
    for query in ids:
        rng = generator_for(query, recipe.seed)
        known = knowledge.of(query)
        rows, reasons = _fitting(drawn[query], known, pool, recipe=unscored, rng=rng)
        taken = Taken(
            query=query,
            positive_rows=np.array(sorted(known.positives), dtype=np.int64),
            positive_scores=np.full(len(known.positives), np.nan),
            rows=rows,
            scores=np.full(len(rows), np.nan),
            ranks=np.zeros(len(rows), dtype=np.int64),
            sources=[RANDOM] * len(rows),
            filled=len(rows),
        )
        audit.add(taken, reasons, left=reasons.count(LEFT))
        if audit.samples(query):
            audit.cross_check(taken, (), 0, judged_by_first=False)
        made = [Candidate(pool.ids[row], relevance=0.0, source=RANDOM) for row in rows.tolist()]
        candidates[query] = [*knowledge.kept(query), *made]
    return Mined(candidates, audit.finish(verified=False))


def _check_size(pool: Pool, dataset: Dataset, recipe: MineRecipe) -> None:
    most = max((len(_positive_rows(dataset, query, pool)) for query in dataset.queries), default=0)
    if len(pool) <= most + recipe.negatives:
        found = f"{len(pool)} passages; a query has up to {most} positives and shall have {recipe.negatives} negatives"
        raise InputError(Problem("too few passages to draw from", dataset.info.name, found, "ask for fewer negatives"))


def _positive_rows(dataset: Dataset, query: str, pool: Pool) -> set[int]:
    """In any split: the rule goes over all queries, so that a split changes nobody's draw."""
    judged = (qrels[query] for qrels in dataset.qrels.values() if query in qrels)
    return {pool.row_of[key] for grades in judged for key, grade in grades.items() if grade > 0}


def _by_the_rule(dataset: Dataset, pool: Pool, recipe: MineRecipe) -> dict[str, NDArray[np.int64]]:
    legacy = np.random.RandomState(recipe.seed % 2**32)
    drawn = {}
    for query in dataset.queries:
        own = _positive_rows(dataset, query, pool)
        row = legacy.randint(0, len(pool), size=recipe.negatives)
        while own & set(row.tolist()):
            row = legacy.randint(0, len(pool), size=recipe.negatives)
        drawn[query] = row.astype(np.int64)
    return drawn


def _fitting(
    drawn: NDArray[np.int64], known: Known, pool: Pool, *, recipe: MineRecipe, rng: np.random.Generator
) -> tuple[NDArray[np.int64], list[str]]:
    """The draws that may be negatives, others in the place of those that may not, and what was wrong with each draw."""
    reasons = _reasons(drawn, known, pool, recipe=recipe)
    if not any(reasons):
        return drawn, reasons
    kept = [row for row, reason in zip(drawn.tolist(), reasons, strict=True) if reason == LEFT]
    more = rng.choice(len(pool), size=min(len(pool), 64 * len(drawn) + 256), replace=False)
    both = np.array([*kept, *more.tolist()], dtype=np.int64)
    fits = [p for p, reason in enumerate(_reasons(both, known, pool, recipe=recipe)) if reason == LEFT]
    return both[fits[: len(drawn)]], reasons


def _reasons(row_C: NDArray[np.int64], known: Known, pool: Pool, *, recipe: MineRecipe) -> list[str]:
    # Scores fall from draw to draw, so that of two equal draws the first one stays
    score_C = -np.arange(len(row_C), dtype=np.float64)
    found = Candidates(row_C, score_C, np.ones(len(row_C), dtype=np.int64))
    return cut(found, known, np.zeros(0), pool=pool, recipe=recipe)

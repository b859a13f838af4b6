"""Mining: a block of queries after the other, so that memory depends on the block and not on the number of queries.

Every retriever finds its candidates; their union is scored on one scale (the reranker's, else the first retriever's),
cut by the rules, chosen from, filled up and verified as the recipe says. Each query draws from a generator of its own,
so its negatives depend neither on the other queries nor on the size of a block.

Shapes: C candidates of a query, P its positives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from ragtune.data.records import Candidate, Dataset, Query
from ragtune.errors import InputError, Problem
from ragtune.recipe_mining import MineRecipe
from ragtune.retrieval.mining.audit import Audit, AuditBuilder, Taken
from ragtune.retrieval.mining.finders import Finder, FoundBlock
from ragtune.retrieval.mining.pool import MINED, RANDOM, Knowledge, Known, Pool
from ragtune.retrieval.mining.rules import LEFT, Candidates, best_first, choose, cut
from ragtune.retrieval.search import PairScorer
from ragtune.run import progress

BLOCK_QUERIES = 4096
VERIFIED = "verified:"
RELEVANT, DOUBTFUL = "relevant", "doubtful"


@final
@dataclass(frozen=True, slots=True)
class Mined:
    """What mining found: candidates by query (all that stand beside it from now on), and the audit."""

    candidates: dict[str, list[Candidate]]
    audit: Audit

    def beside(self, dataset: Dataset) -> Dataset:
        """The dataset with these candidates; those of other queries stay."""
        merged = {**dataset.candidates, **self.candidates}
        return replace(dataset, candidates={query: listed for query, listed in merged.items() if listed})


@final
@dataclass(frozen=True, slots=True)
class Judges:
    """Models that read query and passage together: one scores every candidate, one verifies what was chosen."""

    reranker: PairScorer | None = None
    verifier: PairScorer | None = None


def mine_negatives(
    dataset: Dataset, *, recipe: MineRecipe, finders: Sequence[Finder], judges: Judges | None = None
) -> Mined:
    """Negatives for the queries of ``recipe.splits``, beside the candidates that stay.

    ``finders`` in the order of their say: without a reranker the first one's scores are what margins are measured in.
    InputError: nothing to mine for, or a judge that gives other than one finite score a pair.
    """
    pool = Pool(dataset.corpus, near=recipe.near, neighbours=recipe.neighbours)
    knowledge = Knowledge(dataset, pool, splits=recipe.splits, keeps_mined=recipe.existing == "keep")
    ids = queries_to_mine(knowledge, recipe)
    audit = AuditBuilder(recipe, dataset=dataset, pool=pool, queries=ids, left_out=knowledge.left_out)
    work = _Work(pool, recipe, tuple(finders), judges or Judges(), knowledge)
    candidates: dict[str, list[Candidate]] = {}
    blocks = [ids[start : start + BLOCK_QUERIES] for start in range(0, len(ids), BLOCK_QUERIES)]
    for block in progress(blocks, label="mining", total=len(blocks)):
        for taken in work.block([dataset.queries[query] for query in block], audit):
            candidates[taken.query] = [*knowledge.kept(taken.query), *_as_candidates(taken, pool, recipe)]
    return Mined(candidates, audit.finish(verified=work.judges.verifier is not None))


def queries_to_mine(knowledge: Knowledge, recipe: MineRecipe) -> list[str]:
    """The queries that can have negatives. InputError when there is none."""
    if ids := knowledge.queries:
        return ids
    where, do = f"splits: {', '.join(recipe.splits)}", "give the queries positives in qrels (ragtune check shows them)"
    raise InputError(Problem("there is nothing to mine for", where, "no query with a text and a positive", do))


def generator_for(query: str, seed: int) -> np.random.Generator:
    """The random generator of one query."""
    digest = hashlib.sha256(f"{seed} {query}".encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng(int.from_bytes(digest[:16]))


@final
@dataclass(slots=True)
class _Searched:
    """One query on its way: what is known, what was found, the scores of its positives."""

    query: Query
    known: Known
    found: Candidates
    positive_row_P: NDArray[np.int64]
    positive_P: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))


@final
@dataclass(frozen=True, slots=True)
class _Work:
    pool: Pool
    recipe: MineRecipe
    finders: tuple[Finder, ...]
    judges: Judges
    knowledge: Knowledge

    def block(self, queries: Sequence[Query], audit: AuditBuilder) -> Iterator[Taken]:
        """What is taken for each query of a block."""
        blocks = [finder.find(queries, k=self.recipe.depth) for finder in self.finders]
        searched: Iterable[_Searched] = (self._searched(query, blocks, place) for place, query in enumerate(queries))
        if self.judges.reranker is not None:
            searched = self._reranked(list(searched), self.judges.reranker)
        taken = (self._taken(one, blocks, number, audit) for number, one in enumerate(searched))
        yield from taken if self.judges.verifier is None else self._verified(list(taken), self.judges.verifier, audit)

    def _searched(self, query: Query, blocks: Sequence[FoundBlock], number: int) -> _Searched:
        known = self.knowledge.of(query.id)
        listed = [block.rows(number) for block in blocks]
        row_C, rank_C = union(listed)
        positive_row_P = np.array(sorted(known.positives), dtype=np.int64)
        searched = _Searched(query, known, Candidates(row_C, np.zeros(len(row_C)), rank_C), positive_row_P)
        if self.judges.reranker is None:
            searched.found = Candidates(row_C, blocks[0].scores(number, row_C), rank_C)
            searched.positive_P = blocks[0].scores(number, positive_row_P)
        return searched

    def _reranked(self, block: list[_Searched], reranker: PairScorer) -> list[_Searched]:
        """All pairs of a block in one call, so that the reranker can sort and cut them as it likes."""
        rows = [np.concatenate([one.found.row_C, one.positive_row_P]) for one in block]
        parts = self._scored(reranker, [one.query for one in block], rows)
        for one, score in zip(block, parts, strict=True):
            count = len(one.found)
            one.found = Candidates(one.found.row_C, score[:count], one.found.rank_C)
            one.positive_P = score[count:]
        return block

    def _scored(
        self, judge: PairScorer, queries: Sequence[Query], rows: Sequence[NDArray[np.int64]]
    ) -> list[NDArray[np.float64]]:
        texts = [query.text for query, listed in zip(queries, rows, strict=True) for _ in listed]
        passages = [self.pool.passages[row].content for listed in rows for row in listed]
        score = np.asarray(judge(texts, passages), dtype=np.float64) if texts else np.zeros(0)
        if score.shape != (len(texts),) or not np.isfinite(score).all():
            found = f"shape {score.shape} for {len(texts)} pairs" if score.shape != (len(texts),) else "NaN or infinite"
            do = "one finite score a pair"
            raise InputError(Problem("scores do not fit", "the model that reads pairs", found, do))
        return np.split(score, np.cumsum([len(listed) for listed in rows])[:-1])

    def _taken(self, one: _Searched, blocks: Sequence[FoundBlock], number: int, audit: AuditBuilder) -> Taken:
        recipe, found = self.recipe, one.found
        reasons = cut(found, one.known, one.positive_P, pool=self.pool, recipe=recipe)
        left = np.array([place for place in best_first(found) if reasons[place] == LEFT], dtype=np.int64)
        rng = generator_for(one.query.id, recipe.seed)
        chosen = left[choose(found.score_C[left], recipe=recipe, rng=rng)] if len(left) else left
        taken = Taken(
            query=one.query.id,
            positive_rows=one.positive_row_P,
            positive_scores=one.positive_P,
            rows=found.row_C[chosen],
            scores=found.score_C[chosen],
            ranks=found.rank_C[chosen],
            sources=self._sources(blocks, number, found.row_C[chosen]),
        )
        if recipe.fill == "random" and len(chosen) < recipe.negatives:
            self._fill(taken, one, blocks, number, rng)
        audit.add(taken, reasons, left=len(left))
        if audit.samples(taken.query):
            audit.cross_check(taken, blocks, number, judged_by_first=self.judges.reranker is None)
        return taken

    def _sources(self, blocks: Sequence[FoundBlock], number: int, rows: NDArray[np.int64]) -> list[str]:
        """``mined:`` and the names of the retrievers that found each passage."""
        finds = [
            (finder.name, np.isin(rows, block.rows(number))) for finder, block in zip(self.finders, blocks, strict=True)
        ]
        return [MINED + "+".join(name for name, hit in finds if hit[place]) for place in range(len(rows))]

    def _fill(
        self, taken: Taken, one: _Searched, blocks: Sequence[FoundBlock], number: int, rng: np.random.Generator
    ) -> None:
        """Random passages of the corpus that no retriever found and no rule forbids; fewer where there are no more."""
        missing = self.recipe.negatives - len(taken.rows)
        drawn = rng.choice(len(self.pool), size=min(len(self.pool), 64 * missing + 256), replace=False)
        drawn = drawn[~np.isin(drawn, one.found.row_C)]
        scored = self.judges.reranker is None
        score_C = blocks[0].scores(number, drawn) if scored else np.full(len(drawn), -np.inf)
        limits = self.recipe.model_copy(update={"min_rank": 1, "max_rank": 1, "min_score": None})
        candidates = Candidates(drawn, score_C, np.ones(len(drawn), dtype=np.int64))
        reasons = cut(candidates, one.known, one.positive_P, pool=self.pool, recipe=limits)
        groups = {int(self.pool.group_N[row]) for row in taken.rows}
        fits = [p for p, why in enumerate(reasons) if why == LEFT and int(self.pool.group_N[drawn[p]]) not in groups]
        places = np.array(fits[:missing], dtype=np.int64)
        taken.rows = np.concatenate([taken.rows, drawn[places]])
        taken.scores = np.concatenate([taken.scores, score_C[places] if scored else np.full(len(places), np.nan)])
        taken.ranks = np.concatenate([taken.ranks, np.zeros(len(places), dtype=np.int64)])
        taken.sources = [*taken.sources, *[RANDOM] * len(places)]
        taken.filled = len(places)

    def _verified(self, block: list[Taken], verifier: PairScorer, audit: AuditBuilder) -> list[Taken]:
        verify = self.recipe.verify
        assert verify is not None, "a verifier comes with its thresholds"
        relevant = np.inf if verify.relevant_from is None else verify.relevant_from
        doubtful = np.inf if verify.doubtful_from is None else verify.doubtful_from
        queries = [self.knowledge.query(taken.query) for taken in block]
        for taken, score_C in zip(block, self._scored(verifier, queries, [t.rows for t in block]), strict=True):
            taken.verdicts = [RELEVANT if s >= relevant else DOUBTFUL if s >= doubtful else "" for s in score_C]
            audit.verified(taken)
        return block


def union(listed: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every row of several rankings once, with its best rank, counted from 1.

    >>> [part.tolist() for part in union([np.array([7, 3]), np.array([3, 9])])]
    [[3, 7, 9], [1, 1, 2]]
    """
    row = np.concatenate([*listed, np.zeros(0, dtype=np.int64)])
    rank = np.concatenate([np.arange(1, len(rows) + 1) for rows in listed] or [np.zeros(0, dtype=np.int64)])
    order = np.lexsort((rank, row))
    first = np.unique(row[order], return_index=True)[1]
    return row[order][first].astype(np.int64), rank[order][first]


def _as_candidates(taken: Taken, pool: Pool, recipe: MineRecipe) -> list[Candidate]:
    made = []
    for place, row in enumerate(taken.rows.tolist()):
        verdict = taken.verdicts[place] if taken.verdicts else ""
        assert recipe.verify is not None or not verdict
        score, rank = float(taken.scores[place]), int(taken.ranks[place])
        source = f"{VERIFIED}{recipe.verify.model}" if recipe.verify and verdict == RELEVANT else taken.sources[place]
        made.append(
            Candidate(
                corpus_id=pool.ids[row],
                relevance=1.0 if verdict == RELEVANT else 0.0,
                score=None if np.isnan(score) else score,
                source=source,
                rank=rank or None,
                valid=verdict != DOUBTFUL,
            )
        )
    return made

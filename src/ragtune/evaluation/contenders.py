"""What is compared, and what one contender does on a judged split. Shapes: Q queries."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import final

import numpy as np

from ragtune.evaluation.distributions import PairScores
from ragtune.evaluation.encoding import EncodedSplit, encode_split
from ragtune.evaluation.judged import JudgedSplit
from ragtune.evaluation.results import ContenderFacts, Role, Row
from ragtune.measures import evaluate_run, mean_values
from ragtune.recipe import EvaluateRecipe
from ragtune.retrieval.encoded import TextEncoder
from ragtune.retrieval.search import Ranking, Retriever, search

JUDGED_DEPTH = 10


@final
@dataclass(frozen=True, slots=True)
class Contender:
    """A name and what it stands for: an encoder, or a retriever over the dataset's whole corpus (BM25, two stages).

    At most one contender is ``before`` and one ``after``; the verdict is about these two. All others are references.
    """

    name: str
    model: TextEncoder | Retriever
    role: Role = "reference"


@final
@dataclass(frozen=True, slots=True)
class Measured:
    """One contender's results: its facts and rows, and, at its full setting, ranking, values and scores."""

    facts: ContenderFacts
    rows: list[Row]
    ranking: Ranking
    values: Mapping[str, Mapping[str, float]]
    """Measure -> query id -> value."""
    pair_scores: PairScores | None = None


def measure_contender(contender: Contender, judged: JudgedSplit, plan: EvaluateRecipe) -> Measured:
    """Encode once (or search), then measure every combination of dimensions and storage."""
    if isinstance(contender.model, Retriever):
        return _measure_retriever(contender, contender.model, judged, plan)
    return _measure_encoder(contender, contender.model, judged, plan)


def _measure_encoder(contender: Contender, encoder: TextEncoder, judged: JudgedSplit, plan: EvaluateRecipe) -> Measured:
    encoded = encode_split(encoder, judged, label=contender.name)
    began = time.perf_counter()
    full = encoded.search(k=plan.top_k)
    seconds = {**encoded.seconds, "search": round(time.perf_counter() - began, 3)}
    values = evaluate_run(plan.measures, judged.qrels, full.ranking.as_run())
    rows = [
        Row(
            contender=contender.name,
            dims=encoded.dims,
            storage="fp32",
            bytes_per_passage=full.bytes_per_passage,
            scores=mean_values(values),
        )
    ]
    # prefixes and storages are of single vectors; a run of another family that asks for them is refused beforehand
    single = isinstance(encoded.passage_ND, np.ndarray)
    sizes = sorted({encoded.dims, *(plan.dims if single else ())}, reverse=True)
    for dims, storage in product(sizes, dict.fromkeys(plan.storages) if single else ()):
        if (dims, storage) == (encoded.dims, "fp32"):
            continue
        found = encoded.search(k=plan.top_k, dims=dims, storage=storage)
        scores = mean_values(evaluate_run(plan.measures, judged.qrels, found.ranking.as_run()))
        rows.append(
            Row(
                contender=contender.name,
                dims=dims,
                storage=storage,
                bytes_per_passage=found.bytes_per_passage,
                full=False,
                scores=scores,
            )
        )
    facts = _facts(contender, full.ranking, judged, kind="encoder", dims=encoded.dims, seconds=seconds)
    return Measured(facts, rows, full.ranking, values, _pair_scores(encoded, full.ranking, judged))


def _measure_retriever(
    contender: Contender, retriever: Retriever, judged: JudgedSplit, plan: EvaluateRecipe
) -> Measured:
    began = time.perf_counter()
    deep = search(retriever, judged.queries, k=plan.top_k + _copies(judged, plan.top_k))
    seconds = {"search": round(time.perf_counter() - began, 3)}
    ranking = _counted(deep, judged).top(plan.top_k)
    values = evaluate_run(plan.measures, judged.qrels, ranking.as_run())
    facts = _facts(contender, ranking, judged, kind="retriever", dims=None, seconds=seconds)
    return Measured(facts, [Row(contender=contender.name, scores=mean_values(values))], ranking, values)


def _copies(judged: JudgedSplit, k: int) -> int:
    """How many results beyond k may be needed, at worst, so that k are left when copies are taken out."""
    sizes = np.unique(list(judged.counted_as.values()), return_counts=True)[1]
    return int(np.sort(sizes)[-k:].sum() - min(k, len(sizes)))


def _counted(ranking: Ranking, judged: JudgedSplit) -> Ranking:
    """Every passage under the id that counts for it, at its best place."""
    run: dict[str, dict[str, float]] = {}
    for query_id, scores in ranking.as_run().items():
        row = run.setdefault(query_id, {})
        for pid, score in scores.items():
            row.setdefault(judged.counted_as[pid], score)
    return Ranking.from_run(run)


def _facts(
    contender: Contender,
    ranking: Ranking,
    judged: JudgedSplit,
    *,
    kind: str,
    dims: int | None,
    seconds: dict[str, float],
) -> ContenderFacts:
    return ContenderFacts.model_validate(
        {
            "name": contender.name,
            "role": contender.role,
            "kind": kind,
            "dims": dims,
            "seconds": seconds,
            "judged_at_10": _judged_share(ranking, judged),
        }
    )


def _judged_share(ranking: Ranking, judged: JudgedSplit) -> float:
    first = ranking.top(JUDGED_DEPTH)
    shown = sum(map(len, first.passage_ids))
    known = sum(
        pid in judged.qrels[query_id]
        for query_id, row in zip(first.query_ids, first.passage_ids, strict=True)
        for pid in row
    )
    return known / shown if shown else 0.0


def _pair_scores(encoded: EncodedSplit, ranking: Ranking, judged: JudgedSplit) -> PairScores:
    """Scores of the relevant passages, found or not, and of the first passage that is not known to be relevant."""
    row_of = {pid: row for row, pid in enumerate(encoded.passage_ids)}
    positive: list[float] = []
    best_positive: list[float] = []
    best_other: list[float] = []
    for row, (query_id, passages) in enumerate(zip(ranking.query_ids, ranking.passage_ids, strict=True)):
        relevant = judged.relevant(query_id)
        other = _first_other(passages, ranking.scores[row], set(relevant))
        if not relevant or other is None:
            continue
        scores = encoded.scores(row, [row_of[pid] for pid in relevant])
        positive += scores.tolist()
        best_positive.append(float(scores.max()))
        best_other.append(other)
    return PairScores(np.array(positive), np.array(best_positive), np.array(best_other))


def _first_other(passages: Sequence[str], scores: Sequence[float], relevant: set[str]) -> float | None:
    return next((score for pid, score in zip(passages, scores, strict=True) if pid not in relevant), None)

"""A run against its judgements: the values of trec_eval, a query at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ragtune.measures.measure import Hits, Judged, Measure, parse_measures
from ragtune.measures.ordering import trec_order


def evaluate_run(
    measures: Iterable[Measure | str],
    qrels: Mapping[str, Mapping[str, int]],
    run: Mapping[str, Mapping[str, float]],
) -> dict[str, dict[str, float]]:
    """The value of every measure for every query of ``qrels``: ``{"nDCG@10": {query id: value}}``.

    Equal to trec_eval (pytrec_eval): scores count as float32, equal scores are ordered by passage id descending, a
    passage is relevant from grade 1, gains are linear and negative grades gain nothing, unjudged passages are not
    relevant. A query that the run lacks, or that has nothing relevant, counts 0; a query that only the run has
    counts nowhere.

    >>> evaluate_run(["MRR@10", "P@2"], {"q": {"a": 1}}, {"q": {"b": 0.9, "a": 0.8}})
    {'MRR@10': {'q': 0.5}, 'P@2': {'q': 0.5}}
    """
    wanted = parse_measures(measures)
    judged = _judge(qrels, run)
    return {str(measure): dict(zip(qrels, measure.values(judged).tolist(), strict=True)) for measure in wanted}


def mean_values(evaluated: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The mean of each measure over its queries; 0 when there are none.

    >>> mean_values({"P@1": {"q": 1.0, "r": 0.0}})
    {'P@1': 0.5}
    """
    return {measure: float(np.mean(list(values.values()))) if values else 0.0 for measure, values in evaluated.items()}


def _judge(qrels: Mapping[str, Mapping[str, int]], run: Mapping[str, Mapping[str, float]]) -> Judged:
    found: list[list[tuple[int, int]]] = []
    ideal: list[list[tuple[int, int]]] = []
    for query_id, grades in qrels.items():
        order = trec_order(run.get(query_id, {}), query_id=query_id)
        gains = (grades.get(passage, 0) for passage in order)
        found.append([(rank, gain) for rank, gain in enumerate(gains, start=1) if gain > 0])
        best = sorted((grade for grade in grades.values() if grade > 0), reverse=True)
        ideal.append(list(enumerate(best, start=1)))
    relevant_Q = np.array([len(rows) for rows in ideal], dtype=np.int64)
    return Judged(found=_flat(found), ideal=_flat(ideal), relevant_Q=relevant_Q)


def _flat(rows_by_query: list[list[tuple[int, int]]]) -> Hits:
    rows = [
        (query, rank, gain, nth)
        for query, hits in enumerate(rows_by_query)
        for nth, (rank, gain) in enumerate(hits, start=1)
    ]
    table = np.array(rows, dtype=np.int64).reshape(-1, 4)
    return Hits(query_H=table[:, 0], rank_H=table[:, 1], gain_H=table[:, 2].astype(np.float64), nth_H=table[:, 3])

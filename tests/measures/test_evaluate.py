from __future__ import annotations

import math

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from ragtune.errors import InputError
from ragtune.measures import Measure, evaluate_run, mean_values, trec_order

# trec_eval has no cut-off for the reciprocal rank; the MRR@k of a run is the reciprocal rank where that is 1/k or more.
TREC_NAMES = {
    "nDCG@1": "ndcg_cut_1",
    "nDCG@10": "ndcg_cut_10",
    "MAP@3": "map_cut_3",
    "MAP": "map",
    "MRR": "recip_rank",
    "Recall@5": "recall_5",
    "P@3": "P_3",
    "HitRate@2": "success_2",
    "RPrec": "Rprec",
}
ASKED = {"ndcg_cut.1,10", "map_cut.3", "map", "recip_rank", "recall.5", "P.3", "success.2", "Rprec"}

passage_ids = st.sampled_from([*(str(number) for number in range(12)), "é", "北京", "北", "𝄞", "a b"])
query_ids = st.sampled_from(["q1", "q2", "问题", "q4"])
# few values, so that there are ties; and values that only differ beyond float32
scores = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 1.0 + 1e-9, 1.0 - 1e-9, -2.5, 1e30, 1e-30]), st.floats(-1, 1, width=32)
)
qrels_of_queries = st.dictionaries(
    query_ids, st.dictionaries(passage_ids, st.integers(-2, 4), min_size=1, max_size=10), min_size=1
)
runs = st.dictionaries(query_ids, st.dictionaries(passage_ids, scores, min_size=1, max_size=14))


@settings(max_examples=300, deadline=None)
@given(qrels=qrels_of_queries, run=runs)
def test_equal_to_trec_eval(qrels: dict[str, dict[str, int]], run: dict[str, dict[str, float]]) -> None:
    # pytrec_eval 0.5.11 writes beyond its memory for a query whose grades are all below 0; give it a 0 in their place
    readable = {q: row if max(row.values()) >= 0 else dict.fromkeys(row, 0) for q, row in qrels.items()}
    expected = pytrec_eval.RelevanceEvaluator(readable, ASKED).evaluate(run)
    found = evaluate_run(TREC_NAMES, qrels, run)
    assert list(found) == list(TREC_NAMES)
    for measure, trec_name in TREC_NAMES.items():
        assert list(found[measure]) == list(qrels)
        for query, value in found[measure].items():
            assert math.isclose(value, expected.get(query, {}).get(trec_name, 0.0), rel_tol=1e-12, abs_tol=0.0)


@settings(max_examples=100, deadline=None)
@given(qrels=qrels_of_queries, run=runs, k=st.integers(1, 6))
def test_a_cutoff_is_the_whole_measure_of_the_cut_run(
    qrels: dict[str, dict[str, int]], run: dict[str, dict[str, float]], k: int
) -> None:
    cut = {query: {passage: row[passage] for passage in trec_order(row)[:k]} for query, row in run.items()}
    for name in ("MRR", "MAP"):
        assert evaluate_run([Measure(name, k)], qrels, run)[f"{name}@{k}"] == evaluate_run([name], qrels, cut)[name]


def test_a_query_that_the_run_lacks_counts_zero_and_one_without_judgements_counts_nowhere() -> None:
    found = evaluate_run(["nDCG@10"], {"q": {"a": 1}, "lacking": {"a": 1}}, {"q": {"a": 1.0}, "unjudged": {"a": 1.0}})
    assert found == {"nDCG@10": {"q": 1.0, "lacking": 0.0}}
    assert mean_values(found) == {"nDCG@10": 0.5}


@pytest.mark.parametrize("measure", ["nDCG@10", "MAP", "MRR", "Recall@1", "P@1", "HitRate@1", "RPrec"])
def test_nothing_relevant_is_zero(measure: str) -> None:
    found = evaluate_run([measure], {"none": {"a": 0, "b": -1}, "unjudged": {}}, {"none": {"a": 1.0}, "unjudged": {}})
    assert found[measure] == {"none": 0.0, "unjudged": 0.0}


def test_no_queries_give_no_values() -> None:
    assert mean_values(evaluate_run(["nDCG@10"], {}, {})) == {"nDCG@10": 0.0}


def test_ndcg_by_hand() -> None:
    found = evaluate_run(["nDCG@3"], {"q": {"a": 3, "b": 1, "c": 2}}, {"q": {"b": 0.9, "x": 0.8, "a": 0.7, "c": 0.6}})
    ideal = 3 / np.log2(2) + 2 / np.log2(3) + 1 / np.log2(4)
    assert found["nDCG@3"]["q"] == pytest.approx((1 / np.log2(2) + 3 / np.log2(4)) / ideal, rel=1e-12)


def test_a_score_that_is_no_number_is_named() -> None:
    with pytest.raises(InputError, match=r"query 'q', passage 'b'"):
        evaluate_run(["MRR"], {"q": {"a": 1}}, {"q": {"a": 1.0, "b": math.nan}})


def test_a_score_beyond_float32_is_the_largest() -> None:
    assert trec_order({"a": 1e300, "b": 3e38, "c": -1e300}) == ["a", "b", "c"]

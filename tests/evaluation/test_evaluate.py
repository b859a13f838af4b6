from __future__ import annotations

import html
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import pytrec_eval

from ragtune.data.records import Dataset, Query
from ragtune.errors import InputError
from ragtune.evaluation.contenders import Contender
from ragtune.evaluation.evaluate import evaluate
from ragtune.evaluation.report import render_report
from ragtune.evaluation.results import Evaluation
from ragtune.recipe import EvaluateRecipe
from ragtune.retrieval.bm25 import BM25Retriever
from ragtune.retrieval.search import Ranking, Retriever

MEASURES = ("nDCG@10", "MAP@10", "MRR@10", "Recall@3", "P@1")
TREC = {"nDCG@10": "ndcg_cut_10", "MAP@10": "map_cut_10", "Recall@3": "recall_3", "P@1": "P_1"}
QUICK = {"split": "train", "measures": MEASURES, "top_k": 10, "resamples": 300}


def plan(**changes: object) -> EvaluateRecipe:
    return EvaluateRecipe.model_validate(QUICK | changes)


def pair(hash_encoder: type) -> list[Contender]:
    return [
        Contender("base", hash_encoder(dims=24, blur=2.0), role="before"),
        Contender("tuned", hash_encoder(dims=24, blur=0.1), role="after"),
    ]


@pytest.fixture
def compared(tiny_dataset: Callable[..., Dataset], hash_encoder: type) -> Evaluation:
    dataset = tiny_dataset("mixed")
    bm25 = Contender("BM25", BM25Retriever(dataset.corpus, language="zh"))
    return evaluate(dataset, contenders=[bm25, *pair(hash_encoder)], plan=plan(dims=(8,), storages=("fp32", "int8")))


def test_scores_are_those_of_pytrec_eval(tiny_dataset: Callable[..., Dataset], hash_encoder: type) -> None:
    dataset, encoder = tiny_dataset("mixed"), hash_encoder(dims=24, blur=1.0)
    found = evaluate(dataset, contenders=[Contender("m", encoder)], plan=plan()).scores("m")
    ids = list(dataset.corpus)
    passages = encoder.encode([dataset.corpus[pid].content for pid in ids], kind="passage").astype(np.float64)
    run = {}
    for query_id in dataset.split("train"):
        query = encoder.encode([dataset.queries[query_id].text], kind="query")[0].astype(np.float64)
        scores = dict(zip(ids, (passages @ query).astype(np.float32).tolist(), strict=True))
        run[query_id] = dict(sorted(scores.items(), key=lambda item: (item[1], item[0]), reverse=True)[:10])
    rows = pytrec_eval.RelevanceEvaluator(dataset.split("train"), set(TREC.values())).evaluate(run).values()
    expected = {measure: np.mean([row[name] for row in rows]) for measure, name in TREC.items()}
    assert {measure: found[measure] for measure in TREC} == pytest.approx(expected)


def test_the_verdict_is_about_before_and_after(compared: Evaluation) -> None:
    assert compared.verdict.text.startswith("tiny-mixed train, 20 questions: nDCG@10 ")
    first = compared.comparisons[0]
    assert (first.before_name, first.after_name, first.measure) == ("base", "tuned", "nDCG@10")
    assert first.delta == pytest.approx(compared.scores("tuned")["nDCG@10"] - compared.scores("base")["nDCG@10"])
    assert first.low is not None and first.high is not None and 0 < first.low < first.delta < first.high
    assert compared.verdict.outcome == "better"


def test_references_are_compared_on_the_first_measure_only(compared: Evaluation) -> None:
    listed = [(c.before_name, c.measure) for c in compared.comparisons]
    assert listed == [*(("base", measure) for measure in MEASURES), ("BM25", "nDCG@10")]


def test_each_size_and_storage_is_a_row_and_one_is_full(compared: Evaluation) -> None:
    rows = [
        (row.dims, row.storage, row.full, row.bytes_per_passage) for row in compared.rows if row.contender == "base"
    ]
    assert rows == [(24, "fp32", True, 96), (24, "int8", False, 24), (8, "fp32", False, 32), (8, "int8", False, 8)]
    assert [(row.dims, row.full) for row in compared.rows if row.contender == "BM25"] == [(None, True)]


def test_means_lie_inside_their_intervals(compared: Evaluation) -> None:
    assert len(compared.intervals) == 3 * len(MEASURES)
    for score in compared.intervals:
        assert score.mean == pytest.approx(compared.scores(score.contender)[score.measure])
        assert score.low is not None and score.high is not None and score.low <= score.mean <= score.high


def test_per_query_values_make_the_mean(compared: Evaluation) -> None:
    for name, values in compared.per_query.items():
        assert np.mean(list(values.values())) == pytest.approx(compared.scores(name)["nDCG@10"])


def test_wins_and_losses_are_real_and_sorted(compared: Evaluation) -> None:
    change = [item.after.value - item.before.value for item in compared.wins]
    assert change == sorted(change, reverse=True) and min(change) > 0
    assert len(compared.wins) == compared.comparisons[0].wins
    assert len(compared.losses) == compared.comparisons[0].losses
    assert {item.before.rank_of_relevant == 1 for item in compared.wins} == {False}
    assert all(item.after.relevant == (item.after.rank_of_relevant == 1) for item in compared.wins)


def test_the_better_model_sets_more_questions_apart(compared: Evaluation) -> None:
    before, after = compared.distributions
    assert (before.contender, after.contender) == ("base", "tuned")
    assert after.separated > before.separated
    assert after.separated == pytest.approx(compared.scores("tuned")["P@1"])


def test_a_judged_share_counts_what_is_known(compared: Evaluation) -> None:
    tuned = compared.by_role("after")
    found = sum(value > 0 for value in compared.per_query["tuned"].values())  # one judged passage a question, in ten
    assert tuned is not None and tuned.judged_at_10 == found / (10 * len(compared.per_query["tuned"]))


def test_the_same_seed_gives_the_same_evaluation(tiny_dataset: Callable[..., Dataset], hash_encoder: type) -> None:
    def once() -> dict[str, object]:
        found = evaluate(tiny_dataset("zh"), contenders=pair(hash_encoder), plan=plan(), seed=5).model_dump()
        for contender in found["contenders"]:
            contender["seconds"] = {}
        return {name: value for name, value in found.items() if name not in ("seconds", "created_at")}

    assert once() == once()


def test_protocols_differ_where_a_copy_is_ranked_first(doubled_dataset: Dataset, hash_encoder: type) -> None:
    # q3's judged passage is z3, the copy of p3; ids descending put z3 first, so judge p3 to see the difference.
    doubled_dataset.qrels["test"]["q3"] = {"p3": 1}
    contenders = [Contender("m", hash_encoder(dims=256))]
    options = {"split": "test", "measures": ("P@1", "MRR@10")}
    merged = evaluate(doubled_dataset, contenders=contenders, plan=plan(**options))
    single = evaluate(doubled_dataset, contenders=contenders, plan=plan(**options, protocol="single-id"))
    assert merged.scores("m") == {"P@1": 1.0, "MRR@10": 1.0}
    assert single.per_query["m"]["q3"] == 0.0
    assert single.scores("m") == {"P@1": 0.9, "MRR@10": pytest.approx(0.95)}
    assert (merged.dataset.searched, single.dataset.searched) == (12, 16)
    assert "single-id" in single.verdict.text and "merged" not in merged.verdict.text


class Listed(Retriever):
    """Gives every query the same list."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.ids = ids

    def retrieve(self, queries: Sequence[Query], *, k: int) -> Ranking:
        ids = list(self.ids[:k])
        scores = [float(len(self.ids) - rank) for rank in range(len(ids))]
        return Ranking([query.id for query in queries], [ids for _ in queries], [scores for _ in queries])


def test_copies_in_a_retrievers_list_take_no_place_when_merged(doubled_dataset: Dataset) -> None:
    contenders = [Contender("list", Listed(["z0", "p0", "p3", "z3", "p1", "p2"]))]
    options = {"split": "test", "measures": ("MRR@3", "Recall@3"), "top_k": 3}
    merged = evaluate(doubled_dataset, contenders=contenders, plan=plan(**options))
    single = evaluate(doubled_dataset, contenders=contenders, plan=plan(**options, protocol="single-id"))
    assert merged.scores("list") == pytest.approx({"MRR@3": 0.05, "Recall@3": 0.1})  # q3: p3 stands second
    assert single.scores("list") == pytest.approx({"MRR@3": 0.0, "Recall@3": 0.0})  # z3 is judged and stands fourth
    third = [Contender("list", Listed(["z0", "p0", "p3", "z3", "p1", "p2"]))]
    doubled_dataset.qrels["test"]["q4"] = {"p1": 1}
    assert evaluate(doubled_dataset, contenders=third, plan=plan(**options)).per_query["list"]["q4"] == pytest.approx(
        1 / 3
    )


def test_one_contender_is_measured(tiny_dataset: Callable[..., Dataset], hash_encoder: type) -> None:
    found = evaluate(tiny_dataset("en"), contenders=[Contender("only", hash_encoder())], plan=plan())
    assert found.verdict.outcome == "measured"
    assert found.comparisons == found.wins == found.losses == ()
    assert {row.after for row in found.slices} == {None}


def test_an_evaluation_goes_to_json_and_into_a_report(compared: Evaluation) -> None:
    assert Evaluation.from_json(compared.to_json()) == compared
    page = html.unescape(render_report(compared)).replace("\N{NO-BREAK SPACE}", " ")
    assert compared.verdict.text in page
    assert all(item.query in page and item.relevant in page for item in compared.wins)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"measures": ("nDCG@10", "nDGC@20")}, "did you mean 'nDCG'"),
        ({"measures": ("nDCG@20",)}, "set top_k to 20 or more"),
        ({"dims": (64,)}, "dims is out of range"),
        ({"split": "tset"}, "did you mean 'test'"),
    ],
)
def test_a_plan_that_cannot_be_done_is_refused(
    tiny_dataset: Callable[..., Dataset], hash_encoder: type, changes: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(tiny_dataset("en"), contenders=pair(hash_encoder), plan=plan(**changes))


def test_contenders_that_do_not_fit_together_are_refused_all_at_once(
    tiny_dataset: Callable[..., Dataset], hash_encoder: type
) -> None:
    twice = [Contender("m", hash_encoder(), role="after"), Contender("m", hash_encoder(), role="after")]
    with pytest.raises(InputError) as caught:
        evaluate(tiny_dataset("en"), contenders=twice, plan=plan())
    assert len(caught.value.problems) == 2
    with pytest.raises(InputError, match="nothing to evaluate"):
        evaluate(tiny_dataset("en"), contenders=[], plan=plan())

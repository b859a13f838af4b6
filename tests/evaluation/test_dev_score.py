from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import pytrec_eval

from ragtune.data.records import Dataset, Query
from ragtune.errors import InputError
from ragtune.evaluation.dev_score import DevScorer, dev_score
from ragtune.evaluation.encoding import encode_split
from ragtune.evaluation.judged import judged_split

MEASURES = ("nDCG@10", "MRR@10", "Recall@3")


def test_values_are_those_of_pytrec_eval(tiny_dataset: Callable[..., Dataset], hash_encoder: type) -> None:
    dataset = tiny_dataset("mixed")
    encoder = hash_encoder(dims=16, blur=0.8)
    texts = {pid: passage.content for pid, passage in dataset.corpus.items()}
    passages = encoder.encode(list(texts.values()), kind="passage")
    run = {}
    for query_id in dataset.split("train"):
        scores = encoder.encode([dataset.queries[query_id].text], kind="query").astype(np.float64) @ passages.T
        run[query_id] = dict(zip(texts, scores[0].tolist(), strict=True))
    judge = pytrec_eval.RelevanceEvaluator(dataset.split("train"), {"ndcg_cut_10", "recall_3"})
    rows = judge.evaluate(run).values()
    found = dev_score(dataset, "train", encoder, MEASURES)
    assert found["nDCG@10"] == pytest.approx(np.mean([row["ndcg_cut_10"] for row in rows]))
    assert found["Recall@3"] == pytest.approx(np.mean([row["recall_3"] for row in rows]))
    assert 0.2 < found["nDCG@10"] < 0.95


def test_prefixes_have_names_of_their_own_and_equal_a_shorter_model(
    tiny_dataset: Callable[..., Dataset], hash_encoder: type
) -> None:
    class Cut(hash_encoder):
        def encode(
            self, texts: list[str], *, kind: str, label: str = "", prompts: list[str | None] | None = None
        ) -> np.ndarray:
            cut = super().encode(texts, kind=kind, prompts=prompts)[:, :8]
            return cut / np.linalg.norm(cut, axis=1, keepdims=True)

    found = dev_score(tiny_dataset(), "train", hash_encoder(dims=32), MEASURES, dims=(8, 32))
    assert list(found) == [*MEASURES, *(f"{measure}:8" for measure in MEASURES)]
    short = dev_score(tiny_dataset(), "train", Cut(dims=32), MEASURES)
    assert {name: found[f"{name}:8"] for name in MEASURES} == pytest.approx(short)


def test_each_distinct_text_is_encoded_once(doubled_dataset: Dataset, hash_encoder: type) -> None:
    encoder = hash_encoder()
    dev_score(doubled_dataset, "test", encoder, MEASURES, dims=(4, 8))
    assert encoder.calls == [("passage", 12), ("query", 10)]


def test_equal_questions_under_different_prompts_are_different_inputs(
    doubled_dataset: Dataset, hash_encoder: type
) -> None:
    dataset = doubled_dataset
    ids = [f"r{i}" for i in range(3)]
    prompts = [None, "soil number 1: ", "soil number 2: "]
    for query_id, prompt in zip(ids, prompts, strict=True):
        dataset.queries[query_id] = Query(query_id, "the tree", {} if prompt is None else {"prompt": prompt})
    dataset.qrels["own"] = {query_id: {"p1": 1} for query_id in ids}
    judged = judged_split(dataset, "own")
    encoder = hash_encoder()
    encoded = encode_split(encoder, judged)
    assert ("query", 3) in encoder.calls
    alone = [encoder.encode(["the tree"], kind="query", prompts=[prompt])[0] for prompt in prompts]
    order = [ids.index(query_id) for query_id in encoded.query_ids]
    assert np.array_equal(encoded.query_QD, np.stack(alone)[order])
    assert len({tuple(row) for row in encoded.query_QD}) == 3


def test_a_copy_of_the_judged_passage_counts_as_it(doubled_dataset: Dataset, hash_encoder: type) -> None:
    assert dev_score(doubled_dataset, "test", hash_encoder(dims=256), ["P@1"]) == {"P@1": 1.0}


def test_fewer_passages_keep_the_judged_ones(doubled_dataset: Dataset, hash_encoder: type) -> None:
    encoder = hash_encoder(blur=3.0)
    scorer = DevScorer(doubled_dataset, split="train", measures=["MRR@10"], max_passages=5)
    few, whole = scorer(encoder), dev_score(doubled_dataset, "train", encoder, ["MRR@10"])
    assert encoder.calls[0] == ("passage", 5)
    assert few["MRR@10"] >= whole["MRR@10"] > 0


def test_the_same_scorer_says_the_same_twice(doubled_dataset: Dataset, hash_encoder: type) -> None:
    scorer = DevScorer(doubled_dataset, split="test", measures=MEASURES)
    assert scorer(hash_encoder(blur=1.0)) == scorer(hash_encoder(blur=1.0))


@pytest.mark.parametrize(
    ("options", "message"), [({"measures": ["nDGC@10"]}, "nDCG"), ({"dims": (64,)}, "dims is out of range")]
)
def test_wrong_measures_and_sizes_are_refused(
    doubled_dataset: Dataset, hash_encoder: type, options: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        DevScorer(doubled_dataset, split="test", **options)(hash_encoder())

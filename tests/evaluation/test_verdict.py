from __future__ import annotations

import pytest

from ragtune.data.records import Dataset, DatasetInfo
from ragtune.data.statistics import dataset_statistics
from ragtune.evaluation.results import Comparison, DatasetFacts, ScoreInterval
from ragtune.evaluation.verdict import verdict_of, verdict_of_one

COUNTS = {"wins": 3, "losses": 1, "ties": 0}


def facts(**changes: object) -> DatasetFacts:
    values = dict(
        name="financial-qa", language="en", hash="", split="test", protocol="merged", queries=700, judgements=700,
        clusters=600, statistics=dataset_statistics(Dataset(DatasetInfo("none"), corpus={}, queries={})),
    )  # fmt: skip
    return DatasetFacts.model_validate(values | changes)


def comparison(**changes: object) -> Comparison:
    values = dict(
        before_name="a", after_name="b", measure="nDCG@10", before=0.716, after=0.853, delta=0.137, low=0.112,
        high=0.161, p=1 / 10_001, outcome="better",
    )  # fmt: skip
    return Comparison.model_validate(values | COUNTS | changes)


@pytest.mark.parametrize(
    ("data", "change", "line"),
    [
        (
            {},
            {},
            "financial-qa test, 700 questions: nDCG@10 0.716 -> 0.853 "
            "(+0.137, 95 % interval +0.112 to +0.161, p < 0.0001): better",
        ),
        (
            {"protocol": "single-id", "queries": 6300},
            {"after": 0.700, "delta": -0.016, "low": -0.03, "high": -0.002, "p": 0.0231, "outcome": "worse"},
            "financial-qa test, 6,300 questions, single-id: nDCG@10 0.716 -> 0.700 "
            "(-0.016, 95 % interval -0.030 to -0.002, p = 0.023): worse",
        ),
        (
            {"name": "问答", "split": "dev"},
            {"after": 0.7163, "delta": 0.0003, "low": -0.01, "high": 0.0104, "p": 0.97}
            | {"outcome": "no proof of a difference"},
            "问答 dev, 700 questions: nDCG@10 0.716 -> 0.716 "
            "(0.000, 95 % interval -0.010 to +0.010, p = 0.970): no proof of a difference",
        ),
        (
            {"queries": 1},
            {"low": None, "high": None, "p": 1.0, "outcome": "no proof of a difference"},
            "financial-qa test, 1 question: nDCG@10 0.716 -> 0.853 "
            "(+0.137, 95 % interval unknown: all questions hang together, p = 1.000): no proof of a difference",
        ),
    ],
)
def test_the_line_says_what_before_after_interval_and_verdict(data: dict, change: dict, line: str) -> None:
    verdict = verdict_of(comparison(**change), dataset=facts(**data))
    assert verdict.text == line
    assert verdict.text.endswith(f": {verdict.outcome}")


def test_one_contender_alone_is_measured_not_judged() -> None:
    score = ScoreInterval(contender="builtin:minilm", measure="nDCG@10", mean=0.7244, low=0.7, high=0.75)
    verdict = verdict_of_one(score, dataset=facts())
    assert verdict.outcome == "measured"
    assert verdict.text == (
        "financial-qa test, 700 questions: builtin:minilm nDCG@10 0.724 (95 % interval 0.700 to 0.750)"
    )

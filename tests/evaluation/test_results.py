from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ragtune.errors import DataError
from ragtune.evaluation.results import Evaluation, read_evaluation, write_evaluation


@pytest.mark.parametrize("language", ["en", "zh"])
def test_json_and_back_is_the_same_evaluation(
    evaluation: Callable[[str], Evaluation], language: str, tmp_path: Path
) -> None:
    write_evaluation(evaluation(language), tmp_path / "metrics.json")
    assert read_evaluation(tmp_path / "metrics.json") == evaluation(language)


def test_chinese_stays_readable_in_the_file(evaluation: Callable[[str], Evaluation]) -> None:
    assert "净利润" in evaluation("zh").to_json()


def test_the_keys_of_the_file_are_these(evaluation: Callable[[str], Evaluation]) -> None:
    value = json.loads(evaluation("en").to_json())
    assert list(value) == [
        "schema_version", "verdict", "plan", "seed", "confidence", "dataset", "contenders", "rows", "intervals",
        "comparisons", "slices", "wins", "losses", "distributions", "per_query", "seconds", "created_at", "versions",
    ]  # fmt: skip
    assert value["schema_version"] == 1
    assert value["rows"][0]["scores"] == {"nDCG@10": 0.70, "MRR@10": 0.70}


@pytest.mark.parametrize(
    ("change", "field"),
    [({"schema_version": 2}, "schema_version"), ({"surprise": 1}, "surprise"), ({"seconds": "long"}, "seconds")],
)
def test_another_schema_is_refused_by_field(
    evaluation: Callable[[str], Evaluation], change: dict[str, object], field: str
) -> None:
    value = json.loads(evaluation("en").to_json()) | change
    with pytest.raises(DataError) as caught:
        Evaluation.from_json(json.dumps(value), where="metrics.json")
    assert [problem.where for problem in caught.value.problems] == [f"metrics.json: {field}"]


def test_text_that_is_no_json_is_refused(evaluation: Callable[[str], Evaluation]) -> None:
    with pytest.raises(DataError, match="whole file"):
        Evaluation.from_json(evaluation("en").to_json()[:-10])


def test_scores_are_those_of_the_full_vectors(evaluation: Callable[[str], Evaluation]) -> None:
    assert evaluation("en").scores("tuned")["nDCG@10"] == 0.85

"""The training stage put together: dev evaluation, room on the disk, what the saved model is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragtune.data.records import Dataset
from ragtune.evaluation.dev_score import dev_score
from ragtune.models import load_model
from ragtune.pipeline.tuning import tune
from ragtune.recipe import ModelRecipe, Recipe
from ragtune.training import telemetry
from ragtune.training.world import Launched

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tiny_model: Path, tiny_dataset: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``run(epochs=2, ...)``: the training stage on thirty rows with these training settings; gives its results."""
    monkeypatch.setattr(telemetry, "CEILING_SIZE", 64)

    def ran(**train: Any) -> dict[str, Any]:
        settings = {"batch_size": 8, "precision": "fp32", "learning_rate": 1e-3} | train
        recipe = Recipe.model_validate(
            {"run": tmp_path, "data": "given", "model": {"name": str(tiny_model)}, "train": settings}
        )
        launched = Launched(recipe.train, folder=tmp_path)
        return tune(recipe, [tiny_dataset()], folder=tmp_path, launched=launched, say=lambda line: None)

    return ran


def test_the_best_step_is_that_of_the_named_measure_and_dimensions(run: Run, tmp_path: Path) -> None:
    results = run(epochs=6, best_metric="nDCG@10:16", evaluate_every_steps=2)
    values = {entry["step"]: entry["nDCG@10:16"] for entry in results["evaluations"]}
    assert list(values) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    best = max(values.values())
    assert results["best_value"] == best
    assert results["best_step"] == next(step for step, value in values.items() if value == best)


def test_the_saved_model_is_the_best_one(run: Run, tiny_dataset: Callable[..., Dataset], tmp_path: Path) -> None:
    results = run(epochs=4, learning_rate=0.02)
    saved: Any = load_model(ModelRecipe(name=str(tmp_path / "model")))
    found = dev_score(tiny_dataset(), "dev", saved, ["nDCG@10"])
    assert found["nDCG@10"] == pytest.approx(results["best_value"], abs=1e-6)


def test_prefixes_that_are_trained_are_measured(run: Run) -> None:
    first = run(epochs=1, matryoshka={"dims": [8]})["evaluations"][0]
    assert {"nDCG@10", "nDCG@10:8"} <= first.keys()


def test_the_saved_model_knows_how_it_was_made(run: Run, tmp_path: Path, tiny_model: Path) -> None:
    results = run(epochs=1, losses={"name": "softmax", "temperature": 0.07}, matryoshka={"dims": [8]})
    told = json.loads((tmp_path / "model" / "ragtune.json").read_text(encoding="utf-8"))
    assert told["base_model"] == str(tiny_model)
    assert told["temperature"] == 0.07
    assert told["matryoshka_dims"] == [8]
    assert told["dev"] == results["evaluations"]
    assert told["recipe"]["train"]["batch_size"] == 8
    assert "run" not in told["recipe"] and "token" not in told["recipe"]["model"]

"""An adapter's run from recipe to verdict: over a model, and over vectors in files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragtune.data.records import Dataset
from ragtune.errors import InputError
from ragtune.models.adapter import read_transform
from ragtune.pipeline.running import run_recipe
from ragtune.recipe import Recipe
from ragtune.training import telemetry

EVALUATE = {"resamples": 100, "measures": ["nDCG@10"], "bm25": False}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "CEILING_SIZE", 64)


def recipe_of(run: Path, model: Path | str, *, epochs: float = 3, **adapter: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "run": run,
            "data": "tiny",
            "model": {"name": str(model), "family": "adapter", "adapter": adapter},
            "train": {"epochs": epochs, "learning_rate": 0.01, "batch_size": 20},
            "evaluate": EVALUATE,
        }
    )


def test_an_adapters_defaults_are_its_own() -> None:
    recipe = Recipe.model_validate({"run": "x", "data": "y", "model": {"family": "adapter"}})
    assert (recipe.train.weight_decay, recipe.train.precision, recipe.data.group_size) == (0.0, "fp32", 1)


@pytest.mark.parametrize("kind", ["linear", "low_rank", "mlp"])
def test_passages_stay_as_they_were(
    tiny_model: Path, tiny_dataset: Callable[..., Dataset], tmp_path: Path, kind: str
) -> None:
    from ragtune.models import load_model
    from ragtune.pipeline.loading import loaded, with_passage_side
    from ragtune.recipe import ModelRecipe

    result = run_recipe(recipe_of(tmp_path / "run", tiny_model, kind=kind, rank=4), datasets=[tiny_dataset()])
    assert [row["contender"] for row in result.metrics["rows"]] == [str(tiny_model), "adapter"]
    saved: Any = with_passage_side(loaded(ModelRecipe(name=str(result.model))))
    base: Any = load_model(ModelRecipe(name=str(tiny_model)))
    texts = [passage.content for passage in tiny_dataset().corpus.values()]
    assert np.allclose(saved.encode(texts, kind="passage"), base.encode(texts, kind="passage"), atol=1e-6)


def test_the_share_of_a_full_runs_gain_is_told(
    tiny_model: Path, tiny_dataset: Callable[..., Dataset], tmp_path: Path
) -> None:
    values = {
        "run": tmp_path / "full", "data": "tiny", "model": {"name": str(tiny_model)},
        "train": {"epochs": 4, "learning_rate": 2e-3, "batch_size": 20}, "evaluate": EVALUATE,
    }  # fmt: skip
    full = run_recipe(Recipe.model_validate(values), datasets=[tiny_dataset()])
    said: list[str] = []
    recipe = recipe_of(tmp_path / "run", tiny_model, full_run=full.folder)
    result = run_recipe(recipe, datasets=[tiny_dataset()], say=said.append)
    scores = {row["contender"]: row["scores"]["nDCG@10"] for row in result.metrics["rows"]}
    low, high, top = scores[str(tiny_model)], scores["adapter"], scores["full tuning"]
    assert top > low
    assert result.metrics["share_of_full_gain"] == pytest.approx((high - low) / (top - low))
    assert any("of the full tuning's gain" in line for line in said)


def test_vectors_in_files_are_tuned_without_a_model(tiny_dataset: Callable[..., Dataset], tmp_path: Path) -> None:
    """Queries lie in another rotation than passages: a linear transform finds the way back."""
    dataset = tiny_dataset()
    rng = np.random.default_rng(1)
    passage_ND = rng.normal(size=(len(dataset.corpus), 8)).astype(np.float32)
    passage_ND /= np.linalg.norm(passage_ND, axis=1, keepdims=True)
    turn_DD = np.linalg.qr(rng.normal(size=(8, 8)))[0].astype(np.float32)
    for name, matrix, keys in (
        ("passage", passage_ND, dataset.corpus),
        ("query", passage_ND @ turn_DD, dataset.queries),
    ):
        np.save(tmp_path / f"{name}.npy", matrix)
        (tmp_path / f"{name}.txt").write_text("\n".join(keys), encoding="utf-8")
    given = {
        f"{kind}_vectors": {"vectors": tmp_path / f"{kind}.npy", "ids": tmp_path / f"{kind}.txt"}
        for kind in ("query", "passage")
    }
    result = run_recipe(recipe_of(tmp_path / "run", "none", epochs=150, **given), datasets=[dataset])
    scores = {row["contender"]: row["scores"]["nDCG@10"] for row in result.metrics["rows"]}
    assert scores["adapter"] > scores["stored vectors"] + 0.2
    back_DD = read_transform(result.model).transform.whole_DD.detach().numpy()

    def likeness(matrix_DD: np.ndarray) -> float:
        return float((matrix_DD * turn_DD).sum() / np.linalg.norm(matrix_DD) / np.linalg.norm(turn_DD))

    assert likeness(back_DD) > likeness(np.eye(8)) + 0.3


def test_what_an_adapter_does_not_read_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path / "run", tiny_model)
    broken = Recipe.model_validate(
        {**recipe.model_dump(), "model": {**recipe.model.model_dump(), "lora": {"rank": 2}, "projection_dims": 8}}
    )
    with pytest.raises(InputError) as caught:
        run_recipe(broken, datasets=[])
    assert [problem.where for problem in caught.value.problems] == ["model.lora", "model.projection_dims"]

"""The proof: who is compared with whom, as whom, and with which passage side."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragtune.data.folder import write_dataset
from ragtune.errors import InputError
from ragtune.models.adapting import TwoSided
from ragtune.pipeline.loading import from_anywhere, loaded, other_model, with_passage_side
from ragtune.pipeline.proof import measure_models
from ragtune.pipeline.running import run_recipe
from ragtune.pipeline.searching import search_dataset
from ragtune.recipe import ModelRecipe, Recipe


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """The tiny model with other weights."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(tiny_model, tmp_path_factory.mktemp("models") / "other"))
    weights = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(1)
    moved = {name: value + 0.2 * torch.randn(value.shape, generator=generator) for name, value in weights.items()}
    save_file(moved, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def one_sided(tmp_path_factory: pytest.TempPathFactory, quick_recipe: Any, tiny_dataset: Any, other: Path) -> Path:
    """A run that tuned the query side alone, compared with another baseline than its base."""
    folder = tmp_path_factory.mktemp("runs") / "one-sided"
    recipe = quick_recipe(
        folder,
        model={"freeze": {"passage_side": True}, "passage_prompt": "passage: ", "pooling": "cls"},
        train={"learning_rate": 0.02, "max_steps": 3, "best_metric": "none"},
        evaluate={"baseline": str(other)},
    )
    run_recipe(recipe, datasets=[tiny_dataset()])
    return folder


def folder_recipe(dataset: Path, model: Path, **evaluate: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "run": ".",
            "data": str(dataset),
            "model": {"name": str(model)},
            "evaluate": {"resamples": 100, "measures": ["nDCG@10"], "bm25": False, **evaluate},
        }
    )


def test_a_query_side_brings_its_own_passage_side(one_sided: Path, tiny_model: Path) -> None:
    tuned = with_passage_side(loaded(ModelRecipe(name=str(one_sided / "model"))))
    assert isinstance(tuned, TwoSided)
    base = loaded(ModelRecipe(name=str(tiny_model), pooling="cls", passage_prompt="passage: "))
    assert np.allclose(tuned.encode(["tea"], kind="passage"), base.encode(["tea"], kind="passage"), atol=1e-6)
    assert not np.allclose(tuned.encode(["tea"], kind="query"), base.encode(["tea"], kind="query"), atol=1e-3)


def test_every_command_measures_the_same_two_sides(
    one_sided: Path, tmp_path: Path, tiny_dataset: Any, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGTUNE_CACHE", str(tmp_path / "cache"))
    dataset = write_dataset(tiny_dataset(), tmp_path / "ds")
    rows = json.loads((one_sided / "metrics.json").read_text())["rows"]
    proven = {row["contender"]: row["scores"] for row in rows}
    measured = measure_models(folder_recipe(dataset, one_sided), dataset, say=lambda line: None)
    assert measured.rows[0].scores == pytest.approx(proven["tuned"])
    base = loaded(ModelRecipe(name=str(tiny_model), pooling="cls", passage_prompt="passage: "))
    (hit,) = search_dataset(dataset, "tea", model=str(one_sided), retriever="dense", k=1)
    tuned = loaded(ModelRecipe(name=str(one_sided / "model")))
    score = tuned.encode(["tea"], kind="query")[0] @ base.encode([hit.passage.content], kind="passage")[0]
    assert hit.score == pytest.approx(float(score), abs=1e-5)


def test_the_baseline_is_read_as_it_says_itself(
    one_sided: Path, tmp_path: Path, tiny_dataset: Any, other: Path
) -> None:
    """The recipe's pooling and prompts are the tuned model's, not another model's."""
    dataset = write_dataset(tiny_dataset(), tmp_path / "ds")
    rows = json.loads((one_sided / "metrics.json").read_text())["rows"]
    alone = measure_models(folder_recipe(dataset, other), dataset, say=lambda line: None)
    assert {row["contender"]: row["scores"] for row in rows}[str(other)] == pytest.approx(alone.rows[0].scores)


def test_another_model_shares_lengths_and_access_alone() -> None:
    recipe = ModelRecipe(name="a", pooling="cls", query_prompt="q: ", query_max_tokens=9, token="t", projection_dims=3)
    assert other_model(recipe, "b") == ModelRecipe(name="b", query_max_tokens=9, token="t")
    assert other_model(recipe, "a") == recipe.model_copy(update={"projection_dims": None})


def test_a_run_folder_stands_for_its_model(one_sided: Path) -> None:
    assert from_anywhere(ModelRecipe(), str(one_sided)).name == str(one_sided / "model")
    assert from_anywhere(ModelRecipe(), "owner/name").name == "owner/name"


def test_a_comparison_names_both_and_counts_the_verdict_from_the_baseline(
    tmp_path: Path, tiny_dataset: Any, tiny_model: Path, other: Path
) -> None:
    dataset = write_dataset(tiny_dataset(), tmp_path / "ds")
    said: list[str] = []
    recipe = folder_recipe(dataset, tiny_model, baseline=str(other), bm25=True, dims=[16], storages=["fp32", "int8"])
    found = measure_models(recipe, dataset, say=said.append)
    assert [(c.name, c.role) for c in found.contenders] == [
        (str(other), "before"),
        (str(tiny_model), "after"),
        ("BM25", "reference"),
    ]
    assert len([row for row in found.rows if row.contender == str(tiny_model)]) == 4
    means = {row.contender: row.scores["nDCG@10"] for row in found.rows if row.full}
    first = found.comparisons[0]
    assert (first.before, first.after) == pytest.approx((means[str(other)], means[str(tiny_model)]))
    assert said == [f"measuring {other}, {tiny_model}, BM25 on test of tiny-mixed"]


def test_a_model_is_not_compared_with_itself(tmp_path: Path, tiny_dataset: Any, tiny_model: Path) -> None:
    dataset = write_dataset(tiny_dataset(), tmp_path / "ds")
    with pytest.raises(InputError, match="itself"):
        measure_models(folder_recipe(dataset, tiny_model, baseline=str(tiny_model)), dataset, say=print)


def test_a_base_may_be_called_as_the_tuned_one_is(
    tmp_path: Path, quick_recipe: Any, tiny_dataset: Any, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tuned").symlink_to(tiny_model)
    run_recipe(quick_recipe(tmp_path / "run", model={"name": "tuned"}), datasets=[tiny_dataset()])
    rows = json.loads((tmp_path / "run" / "metrics.json").read_text())["rows"]
    assert [row["contender"] for row in rows] == ["tuned (untuned)", "tuned"]

"""Late interaction and sparse encoders through whole runs, and what they do not read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragtune.data.folder import write_dataset
from ragtune.data.records import Dataset
from ragtune.errors import RecipeError
from ragtune.pipeline import run_recipe
from ragtune.pipeline.checks import check_recipe
from ragtune.pipeline.searching import search_dataset
from ragtune.recipe import Recipe
from ragtune.training import telemetry


def recipe_of(folder: Path, model: dict[str, Any], **parts: Any) -> Recipe:
    train = {"batch_size": 8, "epochs": 1, "learning_rate": 1e-3, "precision": "fp32", **parts.pop("train", {})}
    evaluate = {"resamples": 50, **parts.pop("evaluate", {})}
    return Recipe.model_validate(
        {"run": folder / "run", "data": str(folder / "data"), "model": model, "train": train, "evaluate": evaluate}
    )


@pytest.mark.parametrize("family", ["late", "sparse"])
def test_a_run_trains_measures_and_is_searched_by_its_folder(
    family: str, tiny_model: Path, tiny_mlm: Path, tiny_dataset: Callable[..., Dataset], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(telemetry, "CEILING_SIZE", 64)
    dataset = tiny_dataset()
    write_dataset(dataset, tmp_path / "data")
    name = tiny_model if family == "late" else tiny_mlm
    mining = {"negatives": 1, "first_epoch": 0, "depth": 5}
    recipe = recipe_of(tmp_path, {"name": str(name), "family": family}, train={"mining": mining})
    result = run_recipe(recipe)
    rows = {row["contender"]: row["scores"]["nDCG@10"] for row in result.metrics["rows"]}
    assert rows.keys() == {str(name), "tuned", "BM25"}
    assert all(0 <= value <= 1 for value in rows.values())
    text = dataset.corpus["p3"].text
    hits = search_dataset(tmp_path / "data", text, model=str(tmp_path / "run"), retriever="dense", k=3)
    assert len(hits) == 3
    assert hits[0].score >= hits[1].score >= hits[2].score


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "prefixes of token vectors": ({"family": "late"}, {"train": {"matryoshka": {"dims": [8]}}}, "train.matryoshka"),
    "shortened vectors": ({"family": "sparse"}, {"evaluate": {"dims": [8]}}, "evaluate.dims"),
    "a pooling of many vectors": ({"family": "late", "pooling": "cls"}, {}, "model.pooling"),
    "late settings of a dense model": ({"late": {"dims": 64}}, {}, "model.late"),
    "sparse settings of a late model": ({"family": "late", "sparse": {"query_terms": 9}}, {}, "model.sparse"),
    "a frozen table that is the output too": (
        {"family": "sparse", "freeze": {"token_embeddings": True}}, {}, "model.freeze.token_embeddings",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_the_family_does_not_read_are_refused(case: str, tmp_path: Path) -> None:
    model, parts, where = REFUSED[case]
    with pytest.raises(RecipeError) as caught:
        check_recipe(recipe_of(tmp_path, model, **parts), sources_given=True)
    assert where in {problem.where for problem in caught.value.problems}


def test_scores_that_are_sums_get_a_temperature_of_their_own(tmp_path: Path) -> None:
    for family in ("late", "sparse"):
        losses = recipe_of(tmp_path, {"family": family}).train.losses
        assert [loss.options for loss in losses] == [{"temperature": 1.0}]
    given = recipe_of(tmp_path, {"family": "late"}, train={"losses": {"name": "softmax", "temperature": 0.2}})
    assert given.train.losses[0].options == {"temperature": 0.2}

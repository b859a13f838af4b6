"""A recipe's stages: what is done is not done again, what changes is done anew, another run is not touched."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragtune.data.folder import write_dataset
from ragtune.data.folder_reading import read_dataset
from ragtune.data.records import Dataset
from ragtune.errors import DataError, InputError, RecipeError, RunFolderError
from ragtune.pipeline.running import RunResult, begin_run, run_recipe
from ragtune.recipe_loading import load_recipe
from ragtune.run import RunFolder, hash_folder


def quiet(recipe: Any, dataset: Dataset) -> RunResult:
    return run_recipe(recipe, datasets=[dataset])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, quick_recipe: Any, tiny_dataset: Any) -> Path:
    """A finished run; tests work on copies."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    quiet(quick_recipe(folder), tiny_dataset())
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def finished_at(folder: Path) -> dict[str, str]:
    """Each stage's manifest, as it was written."""
    return {path.parent.name: path.read_text() for path in folder.glob("*/manifest.json")}


def test_a_run_leaves_what_it_promises(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "recipe.yaml", "run.json", "data", "train", "evaluate", "model", "metrics.json", "report.html",
    }  # fmt: skip
    assert set(finished_at(finished)) == {"data", "train", "evaluate"}
    assert not (finished / "train" / "checkpoints").exists()
    metrics = json.loads((finished / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["training"]["steps"] == 1
    noted = json.loads((finished / "model" / "ragtune.json").read_text(encoding="utf-8"))
    assert noted["verdict"] == metrics["verdict"]
    assert load_recipe(finished / "recipe.yaml").run == finished


def test_the_same_run_again_does_nothing(run: Path, quick_recipe: Any, tiny_dataset: Any) -> None:
    before, weights = finished_at(run), hash_folder(run / "model")
    first = json.loads((run / "metrics.json").read_text())["verdict"]
    result = quiet(quick_recipe(run), tiny_dataset())
    assert result.verdict == first
    assert finished_at(run) == before
    assert hash_folder(run / "model") == weights
    assert (result.model, result.report) == (run / "model", run / "report.html")


@pytest.mark.parametrize(
    "more", [{"dims": [16]}, {"split": "dev"}, {"protocol": "single-id"}, {"measures": ["MRR@10"]}], ids=str
)
def test_other_measuring_is_only_measuring(run: Path, quick_recipe: Any, tiny_dataset: Any, more: Any) -> None:
    before = finished_at(run)
    weights = hash_folder(run / "model" / "1_Pooling"), (run / "model" / "model.safetensors").read_bytes()
    result = quiet(quick_recipe(run, evaluate=more), tiny_dataset())
    after = finished_at(run)
    assert {name for name in after if after[name] != before[name]} == {"evaluate"}
    assert (hash_folder(run / "model" / "1_Pooling"), (run / "model" / "model.safetensors").read_bytes()) == weights
    assert result.verdict == json.loads((run / "metrics.json").read_text())["verdict"]


@pytest.mark.parametrize(
    "more",
    [{"train": {"learning_rate": 1e-3}}, {"seed": 5}, {"data": {"sources": ["tiny"], "group_size": 2}},
     {"model": {"query_prompt": "q: "}}],
    ids=str,
)  # fmt: skip
def test_other_training_in_the_same_folder_is_refused(
    run: Path, quick_recipe: Any, tiny_dataset: Any, more: Any
) -> None:
    before = hash_folder(run)
    with pytest.raises(RunFolderError, match="another recipe"):
        quiet(quick_recipe(run, **more), tiny_dataset())
    assert hash_folder(run) == before


def test_other_data_in_the_same_folder_is_refused(run: Path, quick_recipe: Any, tiny_dataset: Any) -> None:
    before = hash_folder(run)
    with pytest.raises(RunFolderError, match="another data"):
        quiet(quick_recipe(run), tiny_dataset("en"))
    assert hash_folder(run) == before


def test_overwriting_moves_the_old_run_aside(run: Path, quick_recipe: Any, tiny_dataset: Any) -> None:
    before = hash_folder(run)
    quiet(quick_recipe(run, seed=5, overwrite=True), tiny_dataset())
    assert hash_folder(run.with_name("run.previous-1")) == before
    assert set(finished_at(run)) == {"data", "train", "evaluate"}
    quiet(quick_recipe(run, seed=5, overwrite=True), tiny_dataset())
    assert not run.with_name("run.previous-2").exists()


def test_a_lost_model_is_trained_again(run: Path, quick_recipe: Any, tiny_dataset: Any) -> None:
    weights = (run / "model" / "model.safetensors").read_bytes()
    shutil.rmtree(run / "model")
    quiet(quick_recipe(run), tiny_dataset())
    assert (run / "model" / "model.safetensors").read_bytes() == weights


def test_what_is_missing_is_set_aside_by_group_and_said(tmp_path: Path, quick_recipe: Any, tiny_dataset: Any) -> None:
    dataset = tiny_dataset()
    together = {query: row for split in dataset.qrels.values() for query, row in split.items()}
    dataset.qrels = {"train": together}
    said: list[str] = []
    run = RunFolder(tmp_path / "run")
    prepared = begin_run(quick_recipe(run.path), run, say=said.append, datasets=[dataset])
    sizes = {name: len(qrels) for name, qrels in prepared.datasets[0].qrels.items()}
    assert sizes == {"train": 24, "dev": 3, "test": 3}
    assert any("split by" in line for line in said)
    assert read_dataset(run.path / "data" / "0") == prepared.datasets[0]
    assert prepared.hashes == begin_run(quick_recipe(run.path), run, datasets=[dataset]).hashes


def test_no_test_part_is_taken_when_another_split_is_measured(
    tmp_path: Path, quick_recipe: Any, tiny_dataset: Any
) -> None:
    dataset = tiny_dataset()
    del dataset.qrels["test"]
    run = RunFolder(tmp_path / "run")
    prepared = begin_run(quick_recipe(run.path, evaluate={"split": "dev"}), run, datasets=[dataset])
    assert set(prepared.datasets[0].qrels) == {"train", "dev"}
    with pytest.raises(RunFolderError, match="another split"):
        begin_run(quick_recipe(run.path), run, datasets=[dataset])


def test_several_sources_are_read_and_the_first_is_measured(
    tmp_path: Path, quick_recipe: Any, tiny_dataset: Any
) -> None:
    write_dataset(tiny_dataset("en"), tmp_path / "en")
    (tmp_path / "zh.jsonl").write_text(
        "".join(f'{{"query": "问题{n}", "passage": "第{n}段文字"}}\n' for n in range(6)), encoding="utf-8"
    )
    said: list[str] = []
    data = {"sources": [str(tmp_path / "en"), {"path": str(tmp_path / "zh.jsonl"), "weight": 2}]}
    recipe = quick_recipe(tmp_path / "run", data=data)
    result = run_recipe(recipe, say=said.append)
    assert result.verdict.startswith("tiny-en test, 2 questions")
    assert any(line.startswith("imported") and "pairs" in line for line in said)
    assert (tmp_path / "run" / "data" / "1" / "corpus.jsonl").is_file()


@pytest.mark.parametrize(
    ("parts", "kind", "said"),
    [
        ({"evaluate": {"split": "tset"}}, DataError, "did you mean 'test'"),
        ({"train": {"losses": "triplet"}}, DataError, "can learn nothing"),
        ({"train": {"distillation": True, "losses": "kl_divergence"}}, DataError, "teacher scores"),
        ({"evaluate": {"dims": [64]}}, RecipeError, "evaluate.dims"),
        ({"evaluate": {"top_k": 5}}, InputError, "evaluate.top_k"),
        ({"train": {"losses": "sofmax"}}, RecipeError, "softmax"),
        ({"model": {"passage_max_tokens": 4096}}, InputError, "128 or less"),
        ({"data": {"sources": ["tiny"], "dev_fraction": 0}, "train": {"patience": 1}}, DataError, "dev split"),
    ],
    ids=str,
)
def test_what_is_wrong_is_found_before_anything_is_written(
    tmp_path: Path, quick_recipe: Any, tiny_dataset: Any, parts: Any, kind: type[InputError], said: str
) -> None:
    dataset = tiny_dataset()
    del dataset.qrels["dev"]
    with pytest.raises(kind, match=said):
        quiet(quick_recipe(tmp_path / "run", **parts), dataset)
    assert not (tmp_path / "run").exists()


def test_a_mended_recipe_goes_on_in_the_same_folder(tmp_path: Path, quick_recipe: Any, tiny_dataset: Any) -> None:
    with pytest.raises(DataError):
        quiet(quick_recipe(tmp_path / "run", train={"losses": "cosent"}), tiny_dataset())
    assert quiet(quick_recipe(tmp_path / "run"), tiny_dataset()).verdict


def test_measuring_what_does_not_fit_is_refused_after_training_too(
    run: Path, quick_recipe: Any, tiny_dataset: Any
) -> None:
    before = hash_folder(run)
    for more in ({"dims": [64]}, {"split": "none"}, {"baseline": "./nowhere"}):
        with pytest.raises(InputError):
            quiet(quick_recipe(run, evaluate=more), tiny_dataset())
    assert hash_folder(run) == before


def test_titles_come_from_metadata_before_anything_is_trained(
    tmp_path: Path, quick_recipe: Any, tiny_dataset: Any
) -> None:
    dataset = tiny_dataset()
    dataset.corpus = {
        name: replace(passage, title="", metadata={"source": f"book {name}"})
        for name, passage in dataset.corpus.items()
    }
    recipe = quick_recipe(tmp_path / "run", data={"sources": ["tiny"], "passage_title": "source"})
    prepared = begin_run(recipe, RunFolder(recipe.run), datasets=[dataset])
    assert {p.title for p in prepared.datasets[0].corpus.values()} == {f"book {name}" for name in dataset.corpus}
    with pytest.raises(DataError, match=r"'sauce', while passages have source"):
        begin_run(
            quick_recipe(tmp_path / "other", data={"sources": ["tiny"], "passage_title": "sauce"}),
            RunFolder(tmp_path / "other"),
            datasets=[dataset],
        )
    assert not (tmp_path / "other").exists()


def test_a_head_that_starts_at_principal_axes_is_trained_and_saved(
    tmp_path: Path, quick_recipe: Any, tiny_dataset: Any
) -> None:
    head = {"projection_dims": 16, "projection_init": "principal_axes"}
    result = quiet(quick_recipe(tmp_path / "run", model=head), tiny_dataset())
    assert {row["dims"] for row in result.metrics["rows"]} == {16, 32}
    from sentence_transformers import SentenceTransformer

    assert SentenceTransformer(str(result.model)).encode(["rain"]).shape == (1, 16)

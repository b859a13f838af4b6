"""A recipe's stages in order: data, train, evaluate; each in its own folder, each resumable.

Everything that can be wrong is looked for before the first expensive second.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from ragtune.data.folder import dataset_hash, is_dataset_folder, write_dataset
from ragtune.data.folder_reading import read_dataset
from ragtune.data.formats.importing import import_dataset
from ragtune.data.formats.options import ImportOptions
from ragtune.data.records import Dataset
from ragtune.data.sealing import refuse_trained_on
from ragtune.data.splitting import split_dataset
from ragtune.data.titles import titled
from ragtune.errors import RagtuneError, WorkError
from ragtune.recipe import Recipe, SourceRecipe
from ragtune.recipe_loading import dump_recipe
from ragtune.run import RunFolder, Stage, hash_json, read_json

if TYPE_CHECKING:
    from ragtune.training.distributed import World

Say = Callable[[str], None]


@final
@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run handed back."""

    folder: Path
    model: Path
    report: Path
    metrics: dict[str, Any]
    verdict: str


def run_recipe(recipe: Recipe, *, say: Say = lambda line: None, datasets: Sequence[Dataset] | None = None) -> RunResult:
    """Run every stage that is not done yet. ``datasets`` stand in for the recipe's sources, in their order.

    Raises ``InputError`` before anything is written when recipe, models, data or folder are not as they must be.
    """
    from ragtune.pipeline.checks import check_models, check_recipe
    from ragtune.training.world import Launched

    run = RunFolder(recipe.run)
    check_recipe(recipe, sources_given=datasets is not None)
    if not recipe.overwrite:
        run.refuse_other(_recipe_identity(recipe))
    if not _measured_before(run, recipe):
        check_models(recipe)
    launched = Launched(recipe.train, folder=recipe.run)
    leads = launched.world.rank == 0
    prepared = _data_of_all(recipe, run, launched.world, say=say, datasets=datasets)
    train_stage(recipe, run, prepared, launched=launched, say=say if leads else lambda line: None)
    launched.world.wait()
    if not leads:
        return RunResult(
            folder=run.path, model=run.path / "model", report=run.path / "report.html", metrics={}, verdict=""
        )
    return evaluate_stage(recipe, run, prepared, say=say)


def _data_of_all(
    recipe: Recipe, run: RunFolder, world: World, *, say: Say, datasets: Sequence[Dataset] | None
) -> Prepared:
    """The data of a run in every process: the first one makes it, the others read it, or stop when it failed."""
    failure: RagtuneError | None = None
    if world.rank == 0:
        try:
            prepared = begin_run(recipe, run, say=say, datasets=datasets)
        except RagtuneError as error:
            failure = error
    if world.same_everywhere(0.0 if failure is None else 1.0):
        raise failure or WorkError("the first process could not begin the run; its message says why")
    return prepared if world.rank == 0 else _prepared(run.stage("data"), count=len(recipe.data.sources))


def _recipe_identity(recipe: Recipe) -> dict[str, str]:
    """What makes two recipes the same run: all but where it lies, how it is measured and the secrets."""
    kept = recipe.model_dump(
        mode="json", exclude={"run": True, "overwrite": True, "evaluate": True, "model": {"token"}}
    )
    return {"recipe": hash_json(kept)}


def _measured_before(run: RunFolder, recipe: Recipe) -> bool:
    """Whether every stage was done with the models that the recipe names (they loaded then)."""
    manifest = run.stage("evaluate").manifest()
    return manifest is not None and manifest["inputs"]["evaluate"] == recipe.evaluate.model_dump(mode="json")


@final
@dataclass(frozen=True, slots=True)
class Prepared:
    """The datasets of a run with all their splits, and the hash of each."""

    datasets: tuple[Dataset, ...]
    hashes: tuple[str, ...]


def _prepared(stage: Stage, *, count: int) -> Prepared:
    folders = [stage.folder / str(index) for index in range(count)]
    return Prepared(
        datasets=tuple(read_dataset(folder) for folder in folders),
        hashes=tuple(dataset_hash(folder) for folder in folders),
    )


def begin_run(
    recipe: Recipe, run: RunFolder, *, say: Say = lambda line: None, datasets: Sequence[Dataset] | None = None
) -> Prepared:
    """Read every source, look whether recipe and data fit, take the folder, and write the datasets with all splits."""
    from ragtune.pipeline.checks import check_measured_split
    from ragtune.pipeline.teaching import check_training_data

    began = time.perf_counter()
    stage = run.stage("data")
    given = list(datasets) if datasets is not None else [_read(source, recipe, say) for source in recipe.data.sources]
    if recipe.data.passage_title is not None:
        given = [titled(dataset, key=recipe.data.passage_title) for dataset in given]
    hashes = [dataset_hash(dataset) for dataset in given]
    aside = _wants_test(given[0], recipe)
    identity = {**_recipe_identity(recipe), "data": hash_json(hashes), "split": hash_json({"sets_test_aside": aside})}
    inputs = {
        "data": recipe.data.model_dump(mode="json"),
        "sources": hashes,
        "sets_test_aside": aside,
        "seed": recipe.seed,
    }
    if not recipe.overwrite:
        run.refuse_other(identity)
    if run.holds(identity) and stage.is_done(inputs):
        prepared = _prepared(stage, count=len(given))
        check_measured_split(recipe, prepared.datasets[0])
        run.claim(recipe_yaml=dump_recipe(recipe), identity=identity)
        return prepared
    ready = [_with_splits(dataset, recipe, say=say, evaluated=index == 0) for index, dataset in enumerate(given)]
    check_measured_split(recipe, ready[0])
    refuse_trained_on(ready)
    for notice in check_training_data(recipe, ready):
        say(f"  note: {notice}")
    run.claim(recipe_yaml=dump_recipe(recipe), identity=identity, overwrite=recipe.overwrite)
    stage.begin(inputs)
    for index, dataset in enumerate(ready):
        write_dataset(dataset, stage.folder / str(index), overwrite=True)
    counts = [{name: len(qrels) for name, qrels in dataset.qrels.items()} for dataset in ready]
    stage.finish(inputs=inputs, results={"queries": counts}, seconds=time.perf_counter() - began)
    return _prepared(stage, count=len(given))


def _read(source: SourceRecipe, recipe: Recipe, say: Say) -> Dataset:
    path = Path(source.path).expanduser()
    if source.format == "auto" and path.is_dir() and is_dataset_folder(path):
        dataset = read_dataset(path)
        say(f"read {source.path}: {len(dataset.corpus):,} passages, {len(dataset.queries):,} queries")
        return dataset
    options = ImportOptions(
        format=source.format,
        columns=source.columns,
        duplicates=recipe.data.duplicates,
        empty=source.empty,
        seed=recipe.seed,
    )
    imported = import_dataset(source.path, options)
    say(f"imported {source.path} as {imported.detection.format}: {'; '.join(imported.detection.evidence)}")
    for notice in imported.notices:
        say(f"  note: {notice}")
    return imported.dataset


def _wants_test(dataset: Dataset, recipe: Recipe) -> bool:
    return recipe.evaluate.split == "test" and not dataset.split("test")


def _with_splits(dataset: Dataset, recipe: Recipe, *, say: Say, evaluated: bool) -> Dataset:
    """Set aside the splits that a run needs and the dataset lacks; only the first dataset is evaluated."""
    if not evaluated or not dataset.split("train"):
        return dataset
    size = len(dataset.split("train"))
    dev = 0.0 if dataset.split("dev") else min(recipe.data.dev_fraction, recipe.data.dev_max_queries / size)
    test = recipe.data.test_fraction if _wants_test(dataset, recipe) else 0.0
    if not dev and not test:
        return dataset
    split = split_dataset(dataset, dev=dev, test=test, seed=recipe.seed)
    parts = ", ".join(f"{name} {len(qrels):,}" for name, qrels in split.dataset.qrels.items())
    say(f"split by {split.level}: {parts} queries")
    for notice in split.notices:
        say(f"  note: {notice}")
    return split.dataset


def train_stage(recipe: Recipe, run: RunFolder, prepared: Prepared, *, launched: Any, say: Say) -> None:
    """Train and save the model, unless a run from the same inputs has."""
    from ragtune.pipeline.tuning import tune

    stage = run.stage("train")
    inputs = {
        "data": list(prepared.hashes),
        "recipe": recipe.model_dump(mode="json", include={"data": True, "train": True, "seed": True}),
        "model": recipe.model.model_dump(mode="json", exclude={"token"}),
    }
    if stage.is_done(inputs) and (run.path / "model").is_dir():
        say("training: done before, not run again")
        return
    began = time.perf_counter()
    if launched.world.rank == 0:
        stage.begin(inputs)
    launched.world.wait()
    results = tune(recipe, prepared.datasets, folder=run.path, launched=launched, say=say)
    if launched.world.rank == 0:
        shutil.rmtree(stage.folder / "checkpoints", ignore_errors=True)
        stage.finish(inputs=inputs, results=results, seconds=time.perf_counter() - began)


def evaluate_stage(recipe: Recipe, run: RunFolder, prepared: Prepared, *, say: Say) -> RunResult:
    """Measure the untuned and the saved tuned model side by side; write metrics.json and report.html."""
    from ragtune.pipeline.proof import prove

    stage = run.stage("evaluate")
    train_manifest = run.stage("train").manifest()
    assert train_manifest is not None, "evaluation comes after training"
    inputs = {
        "train": train_manifest["inputs_hash"],
        "evaluate": recipe.evaluate.model_dump(mode="json"),
        "data": prepared.hashes[0],
    }
    if not stage.is_done(inputs):
        began = time.perf_counter()
        stage.begin(inputs)
        results = prove(recipe, prepared.datasets[0], run=run, say=say)
        stage.finish(inputs=inputs, results=results, seconds=time.perf_counter() - began)
    metrics = read_json(run.path / "metrics.json")
    return RunResult(
        folder=run.path,
        model=run.path / "model",
        report=run.path / "report.html",
        metrics=metrics,
        verdict=metrics["verdict"],
    )

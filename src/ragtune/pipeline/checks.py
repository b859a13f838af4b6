"""What is looked for before the first expensive second: in the recipe, in the models, in the data.

Each check raises ``InputError`` with all that it found; ``together`` runs several and raises everything at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ragtune.data.records import Dataset
from ragtune.data.sealing import refuse_broken
from ragtune.errors import DataError, InputError, Problem, RecipeError, did_you_mean
from ragtune.evaluation.evaluate import check_plan
from ragtune.measures import parse_measure
from ragtune.models import FAMILIES, load_model
from ragtune.models.adapting import prepare_for_training
from ragtune.models.transformer import TransformerEncoder
from ragtune.pipeline import adapters, encoders
from ragtune.pipeline.loading import loaded, other_model
from ragtune.pipeline.reranker_checks import check_reranker_models, refuse_unread
from ragtune.pipeline.tuning import check_disk
from ragtune.recipe import Recipe
from ragtune.run import nearest_folder
from ragtune.training.objective import check_objective
from ragtune.training.precision import check_precision
from ragtune.training.world import check_launch


def together(*checks: Callable[[], None]) -> None:
    """Run every check; raise the problems of all that fail as one error."""
    errors: list[InputError] = []
    for check in checks:
        try:
            check()
        except InputError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise RecipeError([problem for error in errors for problem in error.problems])


def check_recipe(recipe: Recipe, *, sources_given: bool = False) -> None:
    """Raise ``InputError`` with everything that is wrong with a recipe and the paths it names."""
    together(
        lambda: check_objective(recipe.train),
        lambda: check_launch(recipe.train),
        lambda: _check_best_metric(recipe),
        lambda: _check_settings(recipe),
        lambda: _check_unread(recipe),
        lambda: None if sources_given else _check_sources(recipe),
        lambda: _check_folder(recipe.run),
        lambda: _check_plan(recipe),
    )


def _check_unread(recipe: Recipe) -> None:
    """What the family of the model would not read."""
    if recipe.model.family == "adapter":
        adapters.refuse_unread(recipe)
    elif FAMILIES[recipe.model.family].pairs:
        refuse_unread(recipe)
    encoders.refuse_unread(recipe)


def _check_plan(recipe: Recipe) -> None:
    check_plan(recipe.evaluate)


def _check_best_metric(recipe: Recipe) -> None:
    metric, colon, dims = recipe.train.best_metric.partition(":")
    if metric == "none" and not colon:
        return
    measure = parse_measure(metric)
    if colon and not (dims.isascii() and dims.isdigit() and int(dims) > 0):
        raise RecipeError(
            Problem(
                what="train.best_metric has wrong dimensions",
                where="train.best_metric",
                found=recipe.train.best_metric,
                do=f"write {measure}:128 for the measure at 128 dimensions",
            )
        )
    if metric != str(measure):
        raise RecipeError(
            Problem(
                what="train.best_metric is not spelt as the measure is",
                where="train.best_metric",
                found=metric,
                do=f"write {measure}",
            )
        )


def _check_settings(recipe: Recipe) -> None:
    """Settings that exclude each other, and settings that nothing would read."""
    train, model = recipe.train, recipe.model
    checks = [
        (
            train.patience is not None and train.best_metric == "none",
            "train.patience counts evaluations without a better train.best_metric, and that is none",
            "train.patience",
            str(train.patience),
            "name a measure in train.best_metric, or leave train.patience out",
        ),
        (
            model.freeze.passage_side and model.projection_dims is not None,
            "a new projection head needs both sides trained",
            "model.freeze.passage_side",
            f"passage_side true, projection_dims {model.projection_dims}",
            "leave one of the two out",
        ),
        (
            model.projection_init != "random" and model.projection_dims is None,
            "model.projection_init says how a new head starts, and there is none",
            "model.projection_init",
            model.projection_init,
            "set model.projection_dims, or leave model.projection_init out",
        ),
    ]
    problems = [Problem(what, where, found, do) for bad, what, where, found, do in checks if bad]
    if problems:
        raise RecipeError(problems)


def _check_sources(recipe: Recipe) -> None:
    """Local paths that do not exist; a name such as owner/name may be the hub's."""
    problems = []
    for index, source in enumerate(recipe.data.sources):
        path = Path(source.path).expanduser()
        hub_like = source.path.count("/") == 1 and not source.path.startswith((".", "/", "~"))
        if not path.exists() and not hub_like and not source.path.startswith("hf:"):
            problems.append(
                Problem(
                    what="the data path does not exist",
                    where=f"data.sources.{index}.path",
                    found=source.path,
                    do="give a dataset folder, a file that 'ragtune import' reads, or a hub name such as owner/name",
                )
            )
    if problems:
        raise RecipeError(problems)


def _check_folder(folder: Path) -> None:
    """The run folder, or the first folder above it, can be written."""
    above = nearest_folder(folder)
    blocked = next((part for part in (folder, *folder.parents) if part.exists() and not part.is_dir()), None)
    if blocked is not None or not os.access(above, os.W_OK):
        raise RecipeError(
            Problem(
                what="the run folder cannot be made",
                where=f"run: {folder}",
                found=f"{blocked} is a file" if blocked else f"no permission to write in {above}",
                do="choose another folder",
            )
        )


def check_models(recipe: Recipe) -> None:
    """Load the models of a run once and raise ``InputError`` for what does not fit them.

    Their folders and families, lengths of texts and vectors, adapters and frozen parts; ``OutOfSpaceError`` when the
    disk is too small for the checkpoints.
    """
    if FAMILIES[recipe.model.family].pairs:
        check_reranker_models(recipe)
        return
    if recipe.model.family == "adapter":
        if recipe.model.adapter.query_vectors is None:
            check_disk(load_model(recipe.model), recipe.run)
        return
    model = loaded(recipe.model)
    check_disk(model, recipe.run)
    base = recipe.evaluate.baseline or recipe.model.name
    sizes = {f"the model {recipe.model.name}": model.dims}
    together(
        lambda: check_precision(recipe.train.precision, device=_device()),
        lambda: _check_trained_dims(recipe, model.dims),
        lambda: _check_measured_dims(recipe, {**sizes, f"the baseline {base}": _base_dims(recipe, model, base)}),
        lambda: _check_trainable(recipe, model),
    )


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _base_dims(recipe: Recipe, model: TransformerEncoder, base: str) -> int:
    same = base == recipe.model.name and recipe.model.projection_dims is None
    return model.dims if same else loaded(other_model(recipe.model, base)).dims


def _check_trainable(recipe: Recipe, model: TransformerEncoder) -> None:
    prepare_for_training(model, recipe.model)


def _check_trained_dims(recipe: Recipe, dims: int) -> None:
    """Prefixes that training reads must be shorter than the vector."""
    trained = recipe.train.matryoshka.dims if recipe.train.matryoshka else ()
    _, colon, best = recipe.train.best_metric.partition(":")
    asked = {
        "train.matryoshka.dims": [n for n in trained if n >= dims],
        "train.best_metric": [int(best)] if colon and int(best) >= dims else [],
    }
    problems = [
        Problem(
            what=f"{where} names a prefix that is not shorter than the vector",
            where=where,
            found=f"{', '.join(map(str, found))}; the vector of {recipe.model.name} has {dims} dimensions",
            do=f"choose less than {dims} (the full length is always there)",
        )
        for where, found in asked.items()
        if found
    ]
    if problems:
        raise RecipeError(problems)


def _check_measured_dims(recipe: Recipe, sizes: dict[str, int]) -> None:
    problems = [
        Problem(
            what="evaluate.dims is more than the vector has",
            where="evaluate.dims",
            found=f"{', '.join(str(n) for n in recipe.evaluate.dims if n > size)}; {name} gives {size} dimensions",
            do=f"choose {size} or less",
        )
        for name, size in sizes.items()
        if any(n > size for n in recipe.evaluate.dims)
    ]
    if problems:
        raise RecipeError(problems[:1])


def check_measured_models(recipe: Recipe, models: Sequence[TransformerEncoder]) -> None:
    """Raise ``RecipeError`` when a model that is about to be measured gives shorter vectors than evaluate.dims."""
    _check_measured_dims(recipe, {model.name: model.dims for model in models})


def check_measured_split(recipe: Recipe, dataset: Dataset) -> None:
    """Raise ``DataError`` when the split of the verdict is not there, or not what it was when it was sealed."""
    wanted = recipe.evaluate.split
    if dataset.seal is not None and dataset.seal.split == wanted:
        refuse_broken(dataset)
    if dataset.split(wanted):
        return
    filled = [name for name, judgements in dataset.qrels.items() if judgements]
    raise DataError(
        Problem(
            what=f"the split {wanted!r} that is to be measured holds no judgements",
            where=f"evaluate.split, dataset {dataset.info.name!r}",
            found="no such split" if wanted not in dataset.qrels else "an empty split",
            do=did_you_mean(wanted, filled) if filled else "give the dataset qrels (ragtune split makes splits)",
        )
    )

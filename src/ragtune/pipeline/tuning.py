"""The training stage of a run: model, token stores and dev evaluation put together, the saved model at the end."""

from __future__ import annotations

import random
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ragtune.data.records import Dataset
from ragtune.errors import OutOfSpaceError
from ragtune.evaluation.dev_score import DevScorer
from ragtune.models import FAMILIES, load_model
from ragtune.models.adapter import AdapterModel
from ragtune.models.adapting import TwoSided, prepare_for_training, save_merged, save_trained
from ragtune.models.base import Scorer
from ragtune.models.dense import DenseModel
from ragtune.models.principal_axes import start_at_principal_axes
from ragtune.models.reranker import Reranker
from ragtune.models.tokens import token_store
from ragtune.models.transformer import TransformerEncoder
from ragtune.pipeline import adapters
from ragtune.pipeline.reranking import dev_evaluator
from ragtune.recipe import Recipe
from ragtune.run import nearest_folder
from ragtune.training.examples import Source, Texts, TrainingSet, build_training_set
from ragtune.training.loop import Evaluator, TrainingJob, TrainingOutcome, train
from ragtune.training.precision import compute_dtype
from ragtune.training.world import Launched

# All fp32: weights and two moments of a checkpoint and of the one that replaces it, two times best weights
DISK_COPIES = 8


def tune(
    recipe: Recipe, datasets: Sequence[Dataset], *, folder: Path, launched: Launched, say: Callable[[str], None]
) -> dict[str, Any]:
    """Train the recipe's model on the datasets and save it under ``folder/model``; gives the stage's results."""
    seed_everything(recipe.seed)
    sources = [Source(recipe=r, dataset=d) for r, d in zip(recipe.data.sources, datasets, strict=True)]
    training_set = build_training_set(
        sources, recipe=recipe.data, seed=recipe.seed, distillation=recipe.train.distillation
    )
    for notice in training_set.notices:
        say(f"  note: {notice}")
    model = _model(recipe, datasets, launched)
    check_disk(model, folder)
    frozen = _frozen_side(recipe)
    with launched.world.first_alone():
        texts = _texts(model, training_set, folder=folder / "train" / "tokens", frozen=frozen)
    if recipe.model.projection_init == "principal_axes":
        assert isinstance(model, DenseModel)
        start_at_principal_axes(model, texts.passages)
    say(
        f"training {model.name} on {training_set.queries:,} queries and {len(training_set.passages):,} passages "
        f"({texts.queries.tokens + texts.passages.tokens:,} tokens)"
    )
    outcome = train(
        TrainingJob(
            model=model,
            training_set=training_set,
            texts=texts,
            recipe=recipe.train,
            data=recipe.data,
            folder=folder / "train",
            seed=recipe.seed,
            evaluate=_evaluator(recipe, datasets[0], frozen=frozen, say=say),
            world=launched.world,
            mirror=launched.begin_tracking(name=folder.name, settings=_told(recipe)),
        )
    )
    launched.end_tracking()
    if launched.world.rank == 0:
        _save(model, recipe, outcome, folder=folder / "model")
    say(_summary(outcome))
    return {**asdict(outcome), "training_queries": training_set.queries}


def _told(recipe: Recipe) -> dict[str, Any]:
    """The settings as others may read them."""
    return recipe.model_dump(mode="json", exclude={"model": {"token"}, "run": True})


def seed_everything(seed: int) -> None:
    """Seed every global random generator."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _model(
    recipe: Recipe, datasets: Sequence[Dataset], launched: Launched
) -> TransformerEncoder | Reranker | AdapterModel:
    if recipe.model.family == "adapter":
        adapter = adapters.untrained(recipe, datasets)
        adapters.base_device(adapter, launched.device)
        return adapter.to(launched.device)
    model = load_model(recipe.model)
    assert isinstance(model, TransformerEncoder | Reranker)
    model.to(launched.device)
    model.pad_to_multiple_of = recipe.train.pad_to_multiple_of or 1
    if recipe.train.gradient_checkpointing:
        recompute_layers(model)
    return prepare_for_training(model, recipe.model)


def recompute_layers(model: TransformerEncoder | Reranker) -> None:
    """Keep no activations inside layers: backward computes them again."""
    with warnings.catch_warnings():
        # later releases of transformers 5 give this method a second name; the first one serves all of them
        warnings.simplefilter("ignore", FutureWarning)
        model.backbone.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def check_disk(model: nn.Module, folder: Path) -> None:
    """Raise ``OutOfSpaceError`` where ``folder`` has no room for a run's checkpoints and model."""
    needed = DISK_COPIES * 4 * sum(p.numel() for p in model.parameters())
    free = shutil.disk_usage(nearest_folder(folder)).free
    if free < needed:
        raise OutOfSpaceError(
            f"{folder} has {free / 1e9:.3g} GB free, training needs up to {needed / 1e9:.3g} GB for its checkpoints; "
            "free some space or choose another run folder"
        )


def _frozen_side(recipe: Recipe) -> DenseModel | None:
    """The untrained model that encodes passages when the passage side is frozen."""
    if not recipe.model.freeze.passage_side:
        return None
    model = load_model(recipe.model)
    assert isinstance(model, DenseModel)
    return model


def _texts(model: Scorer, training_set: TrainingSet, *, folder: Path, frozen: DenseModel | None) -> Texts:
    if isinstance(model, AdapterModel):
        return adapters.vectors_of(model, training_set, folder=folder)
    rows = training_set.rows
    queries = [row.text for row in rows]
    prompts = [row.prompt for row in rows]
    own_prompts = prompts if any(prompt is not None for prompt in prompts) else None
    frozen_PD = None
    if frozen is not None:
        frozen_PD = torch.from_numpy(frozen.encode(training_set.passages, kind="passage"))
    return Texts(
        queries=token_store(model, queries, kind="query", folder=folder, prompts=own_prompts),
        passages=token_store(model, training_set.passages, kind="passage", folder=folder),
        frozen_PD=frozen_PD,
    )


def _evaluator(
    recipe: Recipe, dataset: Dataset, *, frozen: DenseModel | None, say: Callable[[str], None]
) -> Evaluator | None:
    """Measures the model on dev, in the precision of training."""
    if FAMILIES[recipe.model.family].pairs:
        return dev_evaluator(recipe, dataset, say=say)
    if not dataset.split("dev"):
        return None
    metric, _, dims = recipe.train.best_metric.partition(":")
    measures = list(dict.fromkeys([*([metric] if metric != "none" else []), *recipe.evaluate.measures]))
    trained = recipe.train.matryoshka.dims if recipe.train.matryoshka else ()
    wanted = {*recipe.evaluate.dims, *trained, *([int(dims)] if dims else [])}
    scorer = DevScorer(dataset, split="dev", measures=measures, dims=sorted(wanted), seed=recipe.seed)

    def evaluate(model: Scorer) -> dict[str, float]:
        if isinstance(model, AdapterModel):
            return scorer(model)
        assert isinstance(model, TransformerEncoder)
        model.encode_dtype = compute_dtype(recipe.train.precision, device=model.device)
        values = scorer(TwoSided(query=model, passage=frozen) if frozen and isinstance(model, DenseModel) else model)
        model.encode_dtype = torch.float32
        return values

    return evaluate


def _save(
    model: TransformerEncoder | Reranker | AdapterModel, recipe: Recipe, outcome: TrainingOutcome, *, folder: Path
) -> None:
    model.notes = {
        "base_model": recipe.model.name,
        "passage_model": recipe.model.name if recipe.model.freeze.passage_side else None,
        "temperature": recipe.train.losses[0].options.get("temperature"),
        "matryoshka_dims": list(recipe.train.matryoshka.dims) if recipe.train.matryoshka else [],
        "recipe": _told(recipe),
        "dev": outcome.evaluations,
    }
    if isinstance(model, AdapterModel):
        model.save(folder)
    elif isinstance(model, Reranker):
        save_merged(model, folder, recipe=recipe.model)
    else:
        save_trained(model, folder, recipe=recipe.model)


def _summary(outcome: TrainingOutcome) -> str:
    best = "" if outcome.best_step is None else f", best dev at step {outcome.best_step}: {outcome.best_value:.4f}"
    early = ", stopped early" if outcome.stopped_early else ""
    return (
        f"trained {outcome.steps:,} steps in {outcome.seconds:,.0f} s "
        f"({outcome.tokens_per_second:,.0f} real tokens/s, {outcome.precision}){best}{early}"
    )

"""Query adapters in a run: their vectors, what they would not read, their contenders, their share of a full gain."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ragtune.data.records import Dataset
from ragtune.errors import Problem, RecipeError
from ragtune.evaluation.contenders import Contender
from ragtune.evaluation.results import Evaluation
from ragtune.models.adapter import AdapterModel, read_transform
from ragtune.models.adapter_loading import adapter_over, load_adapter, stored_vectors
from ragtune.models.dense import DenseModel
from ragtune.models.tokens import TokenStore, write_store
from ragtune.pipeline.loading import from_anywhere, loaded, other_model, with_passage_side
from ragtune.recipe import ModelRecipe, Recipe
from ragtune.retrieval.dense import Encoder
from ragtune.training.examples import Texts, TrainingSet

FULL = "full tuning"


def refuse_unread(recipe: Recipe) -> None:
    """Raise ``RecipeError`` for every setting that means nothing to an adapter."""
    model, train = recipe.model, recipe.train
    stored = model.adapter.query_vectors is not None
    unread = {
        "model.lora": model.lora is not None,
        "model.freeze": model.freeze != type(model.freeze)(),
        "model.projection_dims": model.projection_dims is not None,
        "train.gradient_checkpointing": train.gradient_checkpointing,
        "train.fsdp": train.fsdp,
        "train.directions": train.directions != ("query_passage",),
        "evaluate.rerank.models": bool(recipe.evaluate.rerank.models),
        "evaluate.baseline": recipe.evaluate.baseline is not None,
        "data.shuffle_ratio": recipe.data.shuffle_ratio > 0,
        "model.query_prompt": stored and model.query_prompt is not None,
        "model.passage_prompt": stored and model.passage_prompt is not None,
    }
    problems = [
        Problem("an adapter does not read this setting", key, "it is set", "leave it out: vectors are made already")
        for key, is_set in unread.items()
        if is_set
    ]
    full = model.adapter.full_run
    if full is not None and not (full / "model" / "modules.json").is_file():
        do = "name the folder of a finished run of the family dense"
        problems.append(Problem("there is no tuned model in this run", "model.adapter.full_run", str(full), do))
    if problems:
        raise RecipeError(problems)


def untrained(recipe: Recipe, datasets: Sequence[Dataset]) -> AdapterModel:
    """The adapter that training begins with. Raises ``InputError`` for vector files that do not fit the datasets."""
    if recipe.model.adapter.query_vectors is None:
        return load_adapter(recipe.model)
    return adapter_over(stored_vectors(recipe.model, datasets), recipe.model)


def vectors_of(model: AdapterModel, training_set: TrainingSet, *, folder: Path) -> Texts:
    """Every training query and passage as its vector; queries are rows of the model's table."""
    rows = training_set.rows
    texts, prompts = [row.text for row in rows], [row.prompt for row in rows]
    query_QD = model.source.encode(texts, kind="query", label="queries", prompts=prompts)
    passage_PD = model.source.encode(training_set.passages, kind="passage", label="passages")
    write_store(folder / "queries", model.set_queries(query_QD))
    write_store(folder / "passages", [])
    return Texts(
        queries=TokenStore(folder / "queries"),
        passages=TokenStore(folder / "passages"),
        frozen_PD=torch.from_numpy(np.ascontiguousarray(passage_PD)),
    )


def adapter_contenders(recipe: Recipe, dataset: Dataset, *, saved: Path) -> list[Contender]:
    """The vectors as they are, with the saved adapter, and the fully tuned model where a run of one is named."""
    plan, full = recipe.evaluate, recipe.model.adapter.full_run
    before: Encoder
    after: Encoder
    if recipe.model.adapter.query_vectors is None:
        name = recipe.model.name
        before = loaded(
            other_model(recipe.model.model_copy(update={"family": "dense"}), name), precision=plan.precision
        )
        folder = ModelRecipe(name=str(saved), trust_remote_code=recipe.model.trust_remote_code)
        after = with_passage_side(loaded(folder, precision=plan.precision), precision=plan.precision)
    else:
        name, trained = "stored vectors", read_transform(saved)
        before = stored_vectors(recipe.model, [dataset])
        after = AdapterModel(name=name, source=before, transform=trained.transform, normalize=trained.normalize)
    contenders = [
        Contender(name=name, model=before, role="before"),
        Contender(name="adapter", model=after, role="after"),
    ]
    if full is not None:
        tuned = loaded(from_anywhere(ModelRecipe(), str(full)), precision=plan.precision)
        contenders.append(Contender(name=FULL, model=with_passage_side(tuned, precision=plan.precision)))
    return contenders


def share_of_full_gain(evaluation: Evaluation) -> float | None:
    """(adapter - before) / (full tuning - before) by the first measure; None without a full run that gained."""
    before, after = evaluation.by_role("before"), evaluation.by_role("after")
    if before is None or after is None or FULL not in {contender.name for contender in evaluation.contenders}:
        return None
    measure = evaluation.plan.measures[0]
    low, high, full = (evaluation.scores(name)[measure] for name in (before.name, after.name, FULL))
    return None if full <= low else (high - low) / (full - low)


def base_device(model: AdapterModel, device: torch.device) -> None:
    """Move the model behind an adapter, which is no part of what is trained."""
    if isinstance(model.source.inner, DenseModel):
        model.source.inner.to(device)

"""Tiny jobs for the engine's tests: a random two-layer model, thirty rows, everything in memory or a scratch folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ragtune.data.records import Dataset
from ragtune.models import load_model
from ragtune.models.adapting import prepare_for_training
from ragtune.models.dense import DenseModel
from ragtune.models.tokens import token_store
from ragtune.recipe import DataRecipe, ModelRecipe, SourceRecipe, TrainRecipe
from ragtune.training import telemetry
from ragtune.training.batches import Batch, BatchPlan
from ragtune.training.distributed import World
from ragtune.training.examples import Source, Texts, TrainingSet, build_training_set
from ragtune.training.loop import Evaluator, TrainingJob
from ragtune.training.objective import Objective
from ragtune.training.precision import Compute
from ragtune.training.step import Step, StepResult


@pytest.fixture(autouse=True)
def small_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring the processor's peak takes longer than a tiny run."""
    monkeypatch.setattr(telemetry, "CEILING_SIZE", 64)


@pytest.fixture
def load(tiny_model: Path) -> Callable[..., DenseModel]:
    """``load(dropout=0.1, freeze=..., ...)``: the tiny model ready to train; ``padded=True`` without packing."""

    def loaded(*, padded: bool = False, **settings: Any) -> DenseModel:
        recipe = ModelRecipe.model_validate({"name": str(tiny_model), **settings})
        model = load_model(recipe)
        assert isinstance(model, DenseModel)
        if padded:
            model.backbone.set_attn_implementation("eager")
            model.packed = False
        return prepare_for_training(model, recipe)

    return loaded


@pytest.fixture
def training_set() -> Callable[..., TrainingSet]:
    """``training_set(dataset, ...)``: the rows of datasets; keyword arguments are the data recipe's."""

    def built(
        *datasets: Dataset,
        sources: Sequence[dict[str, Any]] = (),
        seed: int = 13,
        distillation: bool = False,
        **data: Any,
    ) -> TrainingSet:
        more = [*sources, *({} for _ in datasets)]
        given = [
            Source(recipe=SourceRecipe(path=dataset.info.name, **extra), dataset=dataset)
            for dataset, extra in zip(datasets, more, strict=False)
        ]
        recipe = DataRecipe(sources=tuple(s.recipe for s in given), **data)
        return build_training_set(given, recipe=recipe, seed=seed, distillation=distillation)

    return built


@pytest.fixture
def texts_of(tmp_path: Path) -> Callable[[DenseModel, TrainingSet], Texts]:
    """The tokenised texts of a training set."""

    def stored(model: DenseModel, training_set: TrainingSet) -> Texts:
        folder = tmp_path / "tokens"
        return Texts(
            queries=token_store(model, [row.text for row in training_set.rows], kind="query", folder=folder),
            passages=token_store(model, training_set.passages, kind="passage", folder=folder),
        )

    return stored


@pytest.fixture
def plan_of() -> Callable[..., BatchPlan]:
    """``plan_of(rows, batch_size=8, group_size=3)``: keyword arguments are the data recipe's."""

    def planned(
        rows: TrainingSet,
        *,
        batch_size: int = 8,
        world_size: int = 1,
        drop_last: bool = False,
        seed: int = 13,
        **data: Any,
    ) -> BatchPlan:
        recipe = DataRecipe(sources=(SourceRecipe(path="x"),), **data)
        return BatchPlan(
            training_set=rows,
            recipe=recipe,
            batch_size=batch_size,
            world_size=world_size,
            drop_last=drop_last,
            seed=seed,
        )

    return planned


@pytest.fixture
def run_step(texts_of: Callable[..., Texts]) -> Callable[..., tuple[StepResult, dict[str, Tensor]]]:
    """``run_step(model, rows, batch, **train settings)`` gives the result and every parameter's gradient by name."""

    def ran(
        model: DenseModel,
        rows: TrainingSet,
        batch: Batch,
        *,
        seed: int = 7,
        dtype: torch.dtype = torch.float32,
        **train: Any,
    ) -> tuple[StepResult, dict[str, Tensor]]:
        recipe = TrainRecipe.model_validate(train)
        for parameter in model.parameters():
            parameter.grad = None
        step = Step(
            Compute(model, dtype=dtype),
            objective=Objective(model, recipe=recipe),
            texts=texts_of(model, rows),
            recipe=recipe,
            world=World(),
        )
        model.train()
        torch.manual_seed(seed)
        result = step.run(batch, divisor=len(batch.rows))
        return result, gradients(model)

    return ran


def gradients(model: DenseModel) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.fixture
def job_of(
    load: Callable[..., DenseModel],
    training_set: Callable[..., TrainingSet],
    texts_of: Callable[..., Texts],
    tiny_dataset: Callable[..., Dataset],
    tmp_path: Path,
) -> Callable[..., TrainingJob]:
    """``job_of(evaluate=..., model={...}, data={...}, **train settings)``: a whole training job on thirty rows."""

    def made(
        *,
        name: str = "train",
        model: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        dataset: Dataset | None = None,
        evaluate: Evaluator | None = None,
        seed: int = 13,
        **train: Any,
    ) -> TrainingJob:
        settings = {"batch_size": 8, "learning_rate": 1e-3, "epochs": 1, "log_every_steps": 1, "precision": "fp32"}
        torch.manual_seed(seed)
        loaded = load(**(model or {}))
        loaded.pad_to_multiple_of = train.get("pad_to_multiple_of") or 1
        chosen = tiny_dataset(with_candidates=True) if dataset is None else dataset
        rows = training_set(chosen, seed=seed, **(data or {}))
        return TrainingJob(
            model=loaded,
            training_set=rows,
            texts=texts_of(loaded, rows),
            recipe=TrainRecipe.model_validate(settings | train),
            data=DataRecipe(sources=(SourceRecipe(path="x"),), **(data or {})),
            folder=tmp_path / name,
            seed=seed,
            evaluate=evaluate,
        )

    return made

"""Trains tiny models in as many processes as started it, and writes down what came out of each case.

Arguments: a folder with ``data`` (a dataset) and ``cases.json``; ``run`` there is a whole recipe. Each case leaves
``NAME/result.pt``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from ragtune.data.folder_reading import read_dataset
from ragtune.models import load_model
from ragtune.models.adapting import prepare_for_training
from ragtune.models.dense import DenseModel
from ragtune.models.tokens import token_store
from ragtune.pipeline.running import run_recipe
from ragtune.pipeline.tuning import recompute_layers
from ragtune.recipe import DataRecipe, ModelRecipe, Recipe, SourceRecipe, TrainRecipe
from ragtune.training import telemetry
from ragtune.training.distributed import World
from ragtune.training.examples import Source, Texts, build_training_set
from ragtune.training.loop import TrainingJob, train
from ragtune.training.sharding import placed
from ragtune.training.world import Launched

ROWS_A_STEP = 6
SETTINGS = {
    "learning_rate": 1e-2,
    "schedule": "constant",
    "warmup_ratio": 0.0,
    "max_steps": 3,
    "log_every_steps": 1,
    "precision": "fp32",
    "best_metric": "none",
}


def settings(case: dict[str, Any], world: World) -> TrainRecipe:
    """The case's training recipe; a step has as many rows in every world."""
    return TrainRecipe.model_validate(SETTINGS | {"batch_size": ROWS_A_STEP // world.size} | case.get("train", {}))


def run_case(folder: Path, case: dict[str, Any], world: World) -> None:
    """One job, in the folder of the case or, for a job that goes on, in that of ``case["folder"]``."""
    model = load(case)
    source = Source(recipe=SourceRecipe(path="x"), dataset=read_dataset(folder / "data"))
    data = DataRecipe(sources=(source.recipe,), group_size=3)
    rows = build_training_set([source], recipe=data, seed=13, distillation=False)
    tokens = folder / f"tokens-{world.rank}"
    queries = token_store(model, [row.text for row in rows.rows], kind="query", folder=tokens)
    passages = token_store(model, rows.passages, kind="passage", folder=tokens)
    job = TrainingJob(
        model=model,
        training_set=rows,
        texts=Texts(queries=queries, passages=passages),
        recipe=settings(case, world),
        data=data,
        folder=folder / case.get("folder", case["name"]),
        seed=13,
        evaluate=Measured() if case.get("measured") else None,
        world=world,
    )
    outcome = train(job)
    if world.rank == 0:
        log = [json.loads(line) for line in (job.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        write(folder, case["name"], {"weights": weights(model), "log": log, "best_step": outcome.best_step})


def load(case: dict[str, Any]) -> DenseModel:
    """The case's model, with the same new weights in every world."""
    recipe = ModelRecipe.model_validate({"dropout": 0.0, **case["model"]})
    torch.manual_seed(3)
    model = load_model(recipe)
    assert isinstance(model, DenseModel)
    if case.get("train", {}).get("gradient_checkpointing"):
        recompute_layers(model)
    return prepare_for_training(model, recipe)


class Measured:
    """Dev values by which the second evaluation is the best, and one number of what the model it is given does."""

    def __init__(self) -> None:
        self.values = [0.1, 0.3, 0.2, 0.1]

    def __call__(self, model: DenseModel) -> dict[str, float]:
        vector_BD = model.encode(["when do cats hunt", "绿茶为什么是绿色的"], kind="query")
        return {"dev": self.values.pop(0), "cosine": float(vector_BD[0] @ vector_BD[1])}


def hold(folder: Path, case: dict[str, Any], world: World) -> None:
    """How many numbers this process holds of the weights, in training and in the model beside it."""
    model = load(case)
    total = sum(p.numel() for p in model.parameters())
    placement = placed(model, recipe=settings(case, world), dtype=torch.float32, world=world)
    shares = [p.to_local() for p in placement.compute.model.parameters()]
    held = {
        "total": total,
        "trained": sum(share.untyped_storage().nbytes() // 4 for share in shares),
        "beside": sum(p.untyped_storage().nbytes() // 4 for p in model.parameters()),
    }
    write(folder, f"{case['name']}-{world.rank}", held)


def weights(model: DenseModel) -> dict[str, torch.Tensor]:
    """All of a model's weights by name."""
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def write(folder: Path, name: str, result: dict[str, Any]) -> None:
    """Leave a result where the test finds it."""
    (folder / name).mkdir(exist_ok=True)
    torch.save(result, folder / name / "result.pt")


def main(folder: Path) -> None:
    """All cases of a folder, in the world that the launcher made."""
    telemetry.CEILING_SIZE = 64
    cases = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    world = Launched(TrainRecipe(), folder=folder).world
    for case in cases:
        if "run" in case:
            run_recipe(Recipe.model_validate(case["run"]))
        elif case.get("held"):
            hold(folder, case, world)
        else:
            run_case(folder, case, world)
    if world.size > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

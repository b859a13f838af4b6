"""Trains tiny jobs as one of the processes that torchrun started; the tests run the same functions in one process.

Arguments: the model folder, the dataset folder, the folder of results, a JSON file of scenarios.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ragtune.data.folder_reading import read_dataset
from ragtune.models import load_model
from ragtune.models.adapting import prepare_for_training
from ragtune.models.base import Scorer
from ragtune.models.dense import DenseModel
from ragtune.models.tokens import token_store
from ragtune.recipe import DataRecipe, ModelRecipe, TrainRecipe
from ragtune.training import telemetry
from ragtune.training.distributed import World
from ragtune.training.examples import Source, Texts, build_training_set
from ragtune.training.loop import TrainingJob, train
from ragtune.training.world import Launched


def settings(scenario: dict[str, Any]) -> TrainRecipe:
    """The scenario's training recipe."""
    base = {"learning_rate": 1e-3, "log_every_steps": 1, "precision": "fp32", "losses": {"name": "softmax"}}
    return TrainRecipe.model_validate(base | scenario["train"])


def job_of(scenario: dict[str, Any], *, world: World, model: Path, dataset: Path, folder: Path) -> TrainingJob:
    """A whole training job."""
    model_recipe = ModelRecipe.model_validate({"name": str(model), **scenario.get("model", {})})
    data = DataRecipe.model_validate(
        {"sources": [{"path": str(dataset), **scenario.get("source", {})}]} | scenario["data"]
    )
    source = Source(recipe=data.sources[0], dataset=read_dataset(dataset))
    rows = build_training_set([source], recipe=data, seed=13, distillation=False)
    torch.manual_seed(13)
    loaded = load_model(model_recipe)
    assert isinstance(loaded, DenseModel)
    prepare_for_training(loaded, model_recipe)
    with world.first_alone():
        texts = Texts(
            queries=token_store(loaded, [row.text for row in rows.rows], kind="query", folder=folder / "tokens"),
            passages=token_store(loaded, rows.passages, kind="passage", folder=folder / "tokens"),
        )
    return TrainingJob(
        model=loaded, training_set=rows, texts=texts, recipe=settings(scenario), data=data, folder=folder, seed=13,
        evaluate=disagreeing(scenario["values"], world) if "values" in scenario else None, world=world,
    )  # fmt: skip


def disagreeing(values: list[float], world: World) -> Any:
    """A dev measure that gives these values in turn, and another to every process but the first."""
    left = list(values)
    return lambda model: {"nDCG@10": left.pop(0) if world.rank == 0 else -float(len(left))}


def keep(model: Scorer, path: Path) -> None:
    """Write a model's weights."""
    save_file({name: p.detach().contiguous() for name, p in model.named_parameters()}, path)


def main() -> None:
    """Every scenario in turn; weights of both processes and the outcome of the first go into the results' folder."""
    model, dataset, results, plan = map(Path, sys.argv[1:])
    telemetry.CEILING_SIZE = 64
    torch.set_num_threads(1)
    for name, scenario in json.loads(plan.read_text(encoding="utf-8")).items():
        launched = Launched(settings(scenario), folder=results / name)
        world = launched.world
        assert world.size == 2
        job = job_of(scenario, world=world, model=model, dataset=dataset, folder=results / name)
        outcome = train(replace(job, mirror=launched.begin_tracking(name="tracked", settings={"batch": {"size": 4}})))
        launched.end_tracking()
        # closing the trackers leaves the processes able to talk
        assert world.totals([1]) == [2]
        keep(job.model, results / f"{name}-{world.rank}.safetensors")
        if world.rank == 0:
            said = {"steps": outcome.steps, "tokens": outcome.tokens, "best_step": outcome.best_step}
            (results / f"{name}.json").write_text(json.dumps(said), encoding="utf-8")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()

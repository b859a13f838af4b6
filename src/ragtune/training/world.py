"""Processes and trackers, through accelerate."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, final

import torch

from ragtune.errors import MissingExtraError, Problem, RecipeError
from ragtune.recipe import TrainRecipe
from ragtune.training.distributed import World

TRACKER_PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb"}
# How torchrun and the MPI launchers tell the number of processes; accelerate reads the same
WORLD_SIZE = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
LAUNCHER_SWITCHES: Mapping[str, str] = {
    "ACCELERATE_USE_FSDP": "--use_fsdp",
    "ACCELERATE_USE_DEEPSPEED": "--use_deepspeed",
    "ACCELERATE_USE_MEGATRON_LM": "--use_megatron_lm",
}


@final
class Launched:
    """This process as ``torchrun`` or ``accelerate launch`` started it: its world, its device, its trackers."""

    def __init__(self, recipe: TrainRecipe, *, folder: Path) -> None:
        from accelerate import Accelerator
        from accelerate.utils import ProjectConfiguration

        self._accelerator = Accelerator(
            cpu=not torch.cuda.is_available(),
            log_with=list(recipe.trackers) or None,
            project_config=ProjectConfiguration(project_dir=str(folder), logging_dir=str(folder / "trackers")),
        )
        self.tracking = bool(recipe.trackers)
        self.world = World(
            rank=self._accelerator.process_index,
            size=self._accelerator.num_processes,
            device=self._accelerator.device,
        )

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        device: torch.device = self._accelerator.device
        return device

    def begin_tracking(self, *, name: str, settings: dict[str, Any]) -> Callable[[dict[str, float], int], None]:
        """Open the trackers; what is returned writes numbers of a step into them."""
        if not self.tracking:
            return lambda numbers, step: None
        self._accelerator.init_trackers(name, config=_flat(settings))
        return lambda numbers, step: self._accelerator.log(numbers, step=step)

    def end_tracking(self) -> None:
        """Close the trackers (accelerate's own way would end the processes' group too)."""
        for tracker in self._accelerator.trackers:
            tracker.finish()


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as ``a.b`` keys with plain values, as trackers take them."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, int | float | str | bool) else str(value)
    return found


def check_launch(recipe: TrainRecipe) -> None:
    """Raise for trackers that are not installed, and for a launch that does not do what recipe and launcher say."""
    for tracker in recipe.trackers:
        if importlib.util.find_spec(TRACKER_PACKAGES[tracker]) is None:
            raise MissingExtraError(package=tracker, extra=tracker, needed_for=f"train.trackers={tracker}")
    problems = [*_sharding_problems(recipe), *_launcher_problems()]
    if problems:
        raise RecipeError(problems)


def _sharding_problems(recipe: TrainRecipe) -> Iterator[Problem]:
    processes = next((int(os.environ[name]) for name in WORLD_SIZE if name in os.environ), 1)
    if recipe.fsdp and processes < 2:
        yield Problem(
            what="train.fsdp shards weights over processes, and there is one",
            where="train.fsdp",
            found=f"{processes} process",
            do="start two or more (torchrun --nproc-per-node 2 -m ragtune run RECIPE), or leave train.fsdp out",
        )
    if recipe.deepspeed is not None:
        # measured with DeepSpeed 0.19.8, accelerate 1.15, two CPU processes: one plain step runs (ZeRO 0, 2, 3), a
        # backward pass into several kept graphs, as gradient caching needs it, fails (LOG.md)
        yield Problem(
            what="train.deepspeed is not supported",
            where="train.deepspeed",
            found=str(recipe.deepspeed),
            do="leave it out; train.fsdp=true shards weights, gradients and moments as ZeRO stage 3 does, and "
            "train.graph_tokens lets any batch fit",
        )


def _launcher_problems() -> Iterator[Problem]:
    """What ``accelerate launch`` was told and this engine would not read."""
    for variable, option in LAUNCHER_SWITCHES.items():
        if os.environ.get(variable, "false").lower() == "true":
            yield Problem(
                what=f"the launcher was told {option}, which is not read",
                where=f"accelerate launch ({variable})",
                found="true",
                do=f"launch without {option} (and without it in accelerate's config file); "
                "train.fsdp=true in the recipe shards the weights",
            )

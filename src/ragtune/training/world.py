"""Processes and trackers, through accelerate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import torch

from ragtune.errors import MissingExtraError, Problem, RecipeError
from ragtune.recipe import TrainRecipe
from ragtune.training.distributed import World

TRACKER_PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb"}


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
    """Raise for trackers that are not installed and for sharding that this engine does not do."""
    import importlib.util

    for tracker in recipe.trackers:
        if importlib.util.find_spec(TRACKER_PACKAGES[tracker]) is None:
            raise MissingExtraError(package=tracker, extra=tracker, needed_for=f"train.trackers={tracker}")
    problems = [
        Problem(
            what=f"train.{key} is not supported",
            where=f"train.{key}",
            found=str(value),
            do="leave it out: train.graph_tokens lets any batch fit, and torchrun or accelerate launch run several "
            "processes that each hold the whole model",
        )
        for key, value in (("fsdp", recipe.fsdp), ("deepspeed", recipe.deepspeed))
        if value
    ]
    if problems:
        raise RecipeError(problems)

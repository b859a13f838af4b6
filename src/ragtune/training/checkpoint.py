"""Checkpoints from which a run goes on exactly: weights, optimizer, place in the run, what was logged, best so far.

No random state is kept: every draw is a function of the seed and the step.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ragtune.errors import Problem, RunFolderError
from ragtune.run import atomic_folder, read_json, write_json
from ragtune.training.averaging import WeightAverage
from ragtune.training.placement import HasState


@final
@dataclass(slots=True)
class Progress:
    """Where a run stands: optimizer steps done, the best dev value and how long ago it was, and all evaluations.

    ``window`` holds the sums since the last log line; ``averaged`` counts the weights in the average; ``tokens`` and
    ``seconds`` count all sittings of a run.
    """

    step: int = 0
    best_value: float | None = None
    best_step: int | None = None
    evaluations_since_best: int = 0
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    world_size: int = 1
    stopped_early: bool = False
    tokens: int = 0
    seconds: float = 0.0
    averaged: int = 0
    window: dict[str, Any] = field(default_factory=dict)


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """The weights that training moves."""
    return {name: p.detach().cpu().contiguous() for name, p in model.named_parameters() if p.requires_grad}


def load_trained(model: nn.Module, path: Path) -> None:
    """Put saved trained weights back."""
    state = load_file(path)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in state.items():
            parameters[name].copy_(value)


@final
class Checkpoints:
    """The checkpoint folder of a training stage: the newest state and the best weights."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def newest(self) -> Path | None:
        """The newest whole checkpoint."""
        found = sorted(self.folder.glob("step-*"), key=lambda p: int(p.name.partition("-")[2]))
        return found[-1] if found else None

    def save_best(self, model: nn.Module, *, step: int) -> None:
        """Keep the present weights as the best; those that the newest checkpoint counts on stay beside them."""
        with atomic_folder(self.folder / f"best-{step}") as aside:
            save_file(trained_state(model), aside / "weights.safetensors")
        newest = self.newest()
        relied_on = read_json(newest / "progress.json")["best_step"] if newest else None
        self._keep("best", {step, relied_on})

    def load_best(self, model: nn.Module, *, step: int) -> None:
        """Put the best weights back."""
        load_trained(model, self.folder / f"best-{step}" / "weights.safetensors")

    def save(
        self, model: nn.Module, *, optimizer: HasState, progress: Progress, scaler: Any, average: WeightAverage
    ) -> None:
        """Write a checkpoint, then remove the older one and the best weights that only it counted on."""
        with atomic_folder(self.folder / f"step-{progress.step}") as aside:
            average.save(aside)
            save_file(trained_state(model), aside / "weights.safetensors")
            torch.save({"optimizer": optimizer.state_dict(), "scaler": scaler.state_dict()}, aside / "optimizer.pt")
            write_json(aside / "progress.json", asdict(progress))
        self._keep("step", {progress.step})
        self._keep("best", {progress.best_step})

    def _keep(self, kind: str, steps: set[int | None]) -> None:
        for path in self.folder.glob(f"{kind}-*"):
            if int(path.name.partition("-")[2]) not in steps:
                shutil.rmtree(path)

    def sweep(self) -> None:
        """Remove what a killed attempt left half-written."""
        for path in self.folder.glob(".*"):
            shutil.rmtree(path)

    def load(self, path: Path, model: nn.Module, *, optimizer: HasState, scaler: Any, world_size: int) -> Progress:
        """Put a checkpoint back. Raises ``RunFolderError`` when it was made by another number of processes."""
        progress = Progress(**read_json(path / "progress.json"))
        if progress.world_size != world_size:
            raise RunFolderError(
                Problem(
                    what="the run was begun with another number of processes",
                    where=str(path),
                    found=f"{progress.world_size} then, {world_size} now",
                    do=f"resume with {progress.world_size} processes, or choose another run folder",
                )
            )
        load_trained(model, path / "weights.safetensors")
        state = torch.load(path / "optimizer.pt", weights_only=True)
        optimizer.load_state_dict(state["optimizer"])
        scaler.load_state_dict(state["scaler"])
        return progress

"""Checkpoints from which a run goes on exactly: weights, optimizer, place in the data, random state, best so far."""

from __future__ import annotations

import random
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ragtune.errors import Problem, RunFolderError
from ragtune.run import atomic_folder, read_json, write_json


@final
@dataclass(slots=True)
class Progress:
    """Where a run stands: optimizer steps done, the best dev value and how long ago it was, and all evaluations."""

    step: int = 0
    best_value: float | None = None
    best_step: int | None = None
    evaluations_since_best: int = 0
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    world_size: int = 1
    stopped_early: bool = False


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

    def save_best(self, model: nn.Module) -> None:
        """Keep the present weights as the best."""
        with atomic_folder(self.folder / "best") as aside:
            save_file(trained_state(model), aside / "weights.safetensors")

    def load_best(self, model: nn.Module) -> None:
        """Put the best weights back."""
        load_trained(model, self.folder / "best" / "weights.safetensors")

    def save(self, model: nn.Module, *, optimizer: torch.optim.Optimizer, progress: Progress, scaler: Any) -> None:
        """Write a checkpoint, then remove the older one."""
        path = self.folder / f"step-{progress.step}"
        with atomic_folder(path) as aside:
            save_file(trained_state(model), aside / "weights.safetensors")
            torch.save({"optimizer": optimizer.state_dict(), "scaler": scaler.state_dict()}, aside / "optimizer.pt")
            torch.save(_random_states(), aside / "random.pt")
            write_json(aside / "progress.json", asdict(progress))
        for older in self.folder.glob("step-*"):
            if older != path:
                shutil.rmtree(older)

    def load(
        self, path: Path, model: nn.Module, *, optimizer: torch.optim.Optimizer, scaler: Any, world_size: int
    ) -> Progress:
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
        # weights_only=False: NumPy's and Python's generator states, from a file that this run wrote itself
        _set_random_states(torch.load(path / "random.pt", weights_only=False))
        return progress

    def clear_steps(self) -> None:
        """Remove what only resuming needs, once training is done."""
        for path in self.folder.glob("step-*"):
            shutil.rmtree(path)


def _random_states() -> dict[str, Any]:
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _set_random_states(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])

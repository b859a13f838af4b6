"""The mean of the weights that a run passed through (Izmailov et al. 2018, arXiv:1803.05407, algorithm 1)."""

from __future__ import annotations

from pathlib import Path
from typing import final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

_FILE = "average.safetensors"


@final
class WeightAverage:
    """A running mean of a model's trained weights, fp32.

    >>> layer, average = nn.Linear(1, 1, bias=False), WeightAverage()
    >>> for weight in (1.0, 2.0, 6.0):
    ...     _ = nn.init.constant_(layer.weight, weight)
    ...     average.add(layer)
    >>> average.put_into(layer)
    >>> layer.weight.item()
    3.0
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean: dict[str, Tensor] = {}

    def add(self, model: nn.Module) -> None:
        """Count the present weights in."""
        self.count += 1
        for name, weight in _trained(model):
            now = weight.detach().float().cpu()
            mean = self._mean.setdefault(name, torch.zeros_like(now))
            mean += (now - mean) / self.count

    def put_into(self, model: nn.Module) -> None:
        """Give the model the mean."""
        with torch.no_grad():
            for name, weight in _trained(model):
                weight.copy_(self._mean[name])

    def save(self, folder: Path) -> None:
        """Write the mean into a checkpoint; nothing where nothing was counted yet."""
        if self.count:
            save_file(self._mean, folder / _FILE)

    def load(self, folder: Path, *, count: int) -> None:
        """Put back what ``save`` wrote after ``count`` additions."""
        self.count = count
        self._mean = load_file(folder / _FILE) if count else {}


def _trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]

"""AdamW, the learning-rate schedule, and what is frozen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch import nn

from ragtune.recipe import TrainRecipe

Schedule = Literal["linear", "cosine", "constant"]

AFTER_WARMUP: Mapping[Schedule, Callable[[float], float]] = MappingProxyType(
    {
        "linear": lambda done: 1.0 - done,
        "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
        "constant": lambda done: 1.0,
    }
)
"""Share of the peak rate after the warm-up; ``done`` runs from 0 to 1."""


def learning_rate(recipe: TrainRecipe, *, step: int, total_steps: int) -> float:
    """The rate of the step with this number, the first being 0.

    >>> recipe = TrainRecipe(learning_rate=1.0, warmup_ratio=0.2)
    >>> [round(learning_rate(recipe, step=s, total_steps=10), 3) for s in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.125]
    """
    warmup = round(recipe.warmup_ratio * total_steps)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, total_steps - warmup)
    return recipe.learning_rate * AFTER_WARMUP[recipe.schedule](done)


def build_optimizer(model: nn.Module, *, recipe: TrainRecipe) -> torch.optim.AdamW:
    """AdamW over what is trained; biases and one-dimensional weights do not decay."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=recipe.learning_rate, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group this rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate

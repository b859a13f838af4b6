"""Recipes that take a second: the tiny model, one step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragtune.recipe import Recipe

QUICK: dict[str, Any] = {
    "train": {"max_steps": 1, "batch_size": 16, "precision": "fp32"},
    "evaluate": {"resamples": 100, "measures": ["nDCG@10"], "bm25": False},
}

RecipeOf = Callable[..., Recipe]


@pytest.fixture(scope="session")
def quick_recipe(tiny_model: Path) -> RecipeOf:
    """A quick recipe; ``train={...}`` and the like go over its parts."""

    def make(run: Path, **parts: Any) -> Recipe:
        values: dict[str, Any] = {"run": run, "data": "tiny", "model": {"name": str(tiny_model)}, **QUICK}
        for part, more in parts.items():
            values[part] = {**values[part], **more} if isinstance(values.get(part), dict) else more
        return Recipe.model_validate(values)

    return make

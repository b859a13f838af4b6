"""ragtune: fine-tune every model of a RAG stack on your own documents and prove the gain.

The public names below are loaded on first use, so that ``import ragtune`` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOMES = {
    "Recipe": "ragtune.recipe",
    "load_recipe": "ragtune.recipe_loading",
    "run_recipe": "ragtune.pipeline",
    "load_model": "ragtune.models",
    "read_dataset": "ragtune.data.folder_reading",
    "write_dataset": "ragtune.data.folder",
    "import_dataset": "ragtune.data.formats.importing",
    "split_dataset": "ragtune.data.splitting",
    "evaluate": "ragtune.evaluation.evaluate",
    "write_report": "ragtune.evaluation.report",
    "RagtuneError": "ragtune.errors",
    "InputError": "ragtune.errors",
    "WorkError": "ragtune.errors",
}

__all__ = [
    "InputError",
    "RagtuneError",
    "Recipe",
    "WorkError",
    "evaluate",
    "import_dataset",
    "load_model",
    "load_recipe",
    "read_dataset",
    "run_recipe",
    "split_dataset",
    "write_dataset",
    "write_report",
]

if TYPE_CHECKING:
    from ragtune.data.folder import write_dataset
    from ragtune.data.folder_reading import read_dataset
    from ragtune.data.formats.importing import import_dataset
    from ragtune.data.splitting import split_dataset
    from ragtune.errors import InputError, RagtuneError, WorkError
    from ragtune.evaluation.evaluate import evaluate
    from ragtune.evaluation.report import write_report
    from ragtune.models import load_model
    from ragtune.pipeline import run_recipe
    from ragtune.recipe import Recipe
    from ragtune.recipe_loading import load_recipe


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'ragtune' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

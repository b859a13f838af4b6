"""Model families: loading, forward passes and saving."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# oneDNN keeps up to 1,024 prepared matrix products, about 1 MB each; packed batches bring new shapes all the time.
# It reads this once, before its first product. measured: 2.3 GB against 1.6 GB after fifty steps (LOG.md)
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")

if TYPE_CHECKING:
    from ragtune.models.families import FAMILIES, FamilySpec, load_model

__all__ = ["FAMILIES", "FamilySpec", "load_model"]


def __getattr__(name: str) -> Any:
    # torch is not loaded by those who only ask where a model's files are
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ragtune.models import families

    return getattr(families, name)

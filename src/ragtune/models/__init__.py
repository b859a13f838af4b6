"""Model families: loading, forward passes and saving."""

import os

# oneDNN keeps up to 1,024 prepared matrix products, about 1 MB each; packed batches bring new shapes all the time.
# It reads this once, before its first product. measured: 2.3 GB against 1.6 GB after fifty steps (LOG.md)
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")

from ragtune.models.families import FAMILIES, FamilySpec, load_model

__all__ = ["FAMILIES", "FamilySpec", "load_model"]

"""From documents to a dataset: the corpus that every Python carries."""

from __future__ import annotations

from ragtune.documents.python_corpus import build_python_dataset

__all__ = ["build_python_dataset"]

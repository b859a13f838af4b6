"""What an import is told, and what it tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from ragtune.data.records import Dataset
from ragtune.errors import DataError, Problem, did_you_mean

DUPLICATES = ("merge", "keep")
EMPTY = ("error", "skip", "keep")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """How a source is read; every value that is left alone is found out or has the field's usual meaning."""

    format: str = "auto"
    """A name from FORMATS, ``csv`` / ``parquet`` / ``hf`` (only how the rows lie), or ``auto``."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Role -> the file's column, where the names do not say it: ``{"query": "frage"}``."""
    split: str | None = None
    """The split of every row; by default what the file or split is named after, else train."""
    positive_label: str | int = 1
    negative_label: str | int = 0
    duplicates: str = "merge"
    """``merge``: equal texts are one passage or query. ``keep``: each row keeps its own, numbered from 0."""
    empty: str = "error"
    """A row with an empty text is an error, is left out (``skip``) or kept (``keep``); the last two with a notice."""
    name: str = ""
    language: str = ""
    licence: str = ""
    subset: str | None = None
    """The configuration of a Hugging Face dataset that has several."""
    seed: int = 0
    """Chooses the positives of texts with a class."""

    def __post_init__(self) -> None:
        problems = [
            Problem(
                what=f"unknown value for {name!r}", where=name, found=str(value), do=did_you_mean(str(value), known)
            )
            for name, value, known in (("duplicates", self.duplicates, DUPLICATES), ("empty", self.empty, EMPTY))
            if value not in known
        ]
        if problems:
            raise DataError(problems)


@final
@dataclass(frozen=True, slots=True)
class Detection:
    """What a source was taken for, and why."""

    source: str
    format: str
    container: str
    """How the rows lie: jsonl, json, csv, tsv, parquet, hf, hub, python, or folder (BEIR)."""
    columns: Mapping[str, tuple[str, ...]]
    """Role -> columns; for rows that are lists, the positions."""
    rows: int
    evidence: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "source": self.source,
            "format": self.format,
            "container": self.container,
            "columns": {role: list(names) for role, names in self.columns.items()},
            "rows": self.rows,
            "evidence": list(self.evidence),
        }


@final
@dataclass(frozen=True, slots=True)
class Imported:
    """A dataset, what its source was taken for, and what is odd in it."""

    dataset: Dataset
    detection: Detection
    notices: tuple[str, ...]

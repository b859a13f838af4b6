"""What ``--reader`` chooses: the readers of this package, or a heavier one behind the same block model."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import final

from ragtune.documents.blocks import ReadDocument
from ragtune.documents.readers import guarded, read_document


@final
@dataclass(frozen=True, slots=True)
class EngineSpec:
    """A way to read documents; ``require`` raises MissingExtraError when its package is not there."""

    name: str
    read: Callable[[Path], ReadDocument]
    require: Callable[[], None]
    summary: str


def _guarded(module: str) -> Callable[[Path], ReadDocument]:
    def read(path: Path) -> ReadDocument:
        reader: Callable[[Path], ReadDocument] = importlib.import_module(f"ragtune.documents.{module}").read
        return guarded(reader, path, kind=path.suffix.lstrip(".") or "nameless")

    return read


def _required(module: str) -> Callable[[], None]:
    return lambda: importlib.import_module(f"ragtune.documents.{module}").require()


ENGINES: Mapping[str, EngineSpec] = MappingProxyType(
    {
        "auto": EngineSpec("auto", read_document, lambda: None, "the package's own readers: light, no models"),
        "docling": EngineSpec(
            "docling", _guarded("read_docling"), _required("read_docling"), "layout and table models, OCR; heavy"
        ),
        "unstructured": EngineSpec(
            "unstructured", _guarded("read_unstructured"), _required("read_unstructured"), "many formats, OCR; heavy"
        ),
    }
)

"""Formats from outside: what each looks like, how it is recognised, read and written."""

from ragtune.data.formats.importing import detect_format, import_dataset
from ragtune.data.formats.options import Detection, Imported, ImportOptions
from ragtune.data.formats.shapes import FORMAT_NAMES, FORMATS, FormatSpec

__all__ = [
    "FORMATS",
    "FORMAT_NAMES",
    "Detection",
    "FormatSpec",
    "ImportOptions",
    "Imported",
    "detect_format",
    "import_dataset",
]

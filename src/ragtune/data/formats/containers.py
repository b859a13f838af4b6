"""How rows lie in files: JSON lines, a JSON list, CSV, TSV and Parquet. What a row means is not known here."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from ragtune.data.validation import RESAVE, Place, Problems, parse_json, read_lines, shown, whole_characters

SPLIT_NAMES = {"train": "train", "dev": "dev", "validation": "dev", "valid": "dev", "val": "dev", "test": "test"}
"""What files and splits are called outside -> the split here."""


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One row: an object by column, or a list by position."""

    at: Place
    value: Any
    split: str


@final
@dataclass(slots=True)
class RowSet:
    """All rows of a source."""

    source: str
    name: str
    container: str
    rows: list[Row] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    """Entries for ``sources`` in ``dataset.json``."""
    class_names: dict[str, list[str]] = field(default_factory=dict)
    """Column -> names of the classes that its numbers stand for."""


RowIterator = Iterator[tuple[Place, Any]]


def split_named(name: str) -> str | None:
    """The split that a file or a Hugging Face split is named after.

    >>> split_named("validation-00000-of-00002"), split_named("train_flagembedding"), split_named("pairs")
    ('dev', 'train', None)
    """
    return SPLIT_NAMES.get(re.split(r"[^a-z]", name.lower())[0])


def _decoded(path: Path, problems: Problems) -> str | None:
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = Place(str(path), raw.count(b"\n", 0, error.start) + 1)
        found = f"byte 0x{raw[error.start]:02x} at offset {error.start} of the file"
        problems.add("the line is not UTF-8", at=at, found=found, do=RESAVE)
        return None


def read_jsonl(path: Path, problems: Problems) -> RowIterator:
    """One JSON object or list a line."""
    for at, line in read_lines(path, problems):
        noted = len(problems)
        value = parse_json(line, at=at, problems=problems)
        if len(problems) == noted:
            yield at, value


def read_json(path: Path, problems: Problems) -> RowIterator:
    """One JSON list of rows; a file that holds one JSON value a line is read as such."""
    text = _decoded(path, problems)
    if text is None:
        return
    filled = [line for line in text.split("\n") if line.strip()]
    if len(filled) > 1 and _is_json(filled[0]):
        yield from read_jsonl(path, problems)
    elif text.lstrip()[:1] == "[":
        yield from _elements(text, path, problems)
    else:
        do = "write a list of rows, [{...}, {...}], or one row a line"
        problems.add("the file is not a list of rows", at=Place(str(path), 1), found=shown(text.strip()), do=do)


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _elements(text: str, path: Path, problems: Problems) -> RowIterator:
    """The elements of a JSON list, each with the line on which it starts."""
    decoder = json.JSONDecoder()
    blank = re.compile(r"\s*")
    position, line, counted = text.index("[") + 1, 1, 0
    while True:
        position = blank.match(text, position).end()  # type: ignore[union-attr]
        line, counted = line + text.count("\n", counted, position), position
        at = Place(str(path), line)
        if text[position : position + 1] == "]":
            return
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            problems.add("the file is not JSON", at=at, found=str(error), do="mend the list of rows here")
            return
        if whole_characters(value, at=at, problems=problems):
            yield at, value
        position = blank.match(text, position).end()  # type: ignore[union-attr]
        if text[position : position + 1] == ",":
            position += 1
        elif text[position : position + 1] != "]":
            found = shown(text[position : position + 40]) if position < len(text) else "the end of the file"
            problems.add(
                "the list of rows is broken after this row", at=at, found=found, do="write , or ] after the row"
            )
            return


def read_csv(path: Path, problems: Problems) -> RowIterator:
    """A table with a header line; comma, semicolon or tab, whichever the header has most of."""
    text = _decoded(path, problems)
    if text is None:
        return
    header_line = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header_line.count)
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield from _table(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), path, problems)
    finally:
        csv.field_size_limit(before)


def _table(reader: Any, path: Path, problems: Problems) -> RowIterator:
    header: list[str] | None = None
    start = 1
    while True:
        at = Place(str(path), start)
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problems.add("the table is broken", at=at, found=str(error), do='close the quotes; write " inside as ""')
            return
        start = reader.line_num + 1
        if not any(cells):
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            if len(set(header)) < len(header):
                problems.add("a column name twice", at=at, found=shown(header), do="give each column its own name")
                return
        elif len(cells) != len(header):
            do = "quote texts that contain the separator"
            problems.add(f"{len(cells)} cells instead of {len(header)}", at=at, found=shown(cells), do=do)
        else:
            yield at, {name: cell for name, cell in zip(header, cells, strict=True) if name}


def read_parquet(path: Path, problems: Problems) -> RowIterator:
    """A Parquet table."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches():
                for value in batch.to_pylist():
                    number += 1
                    yield Place(str(path), number, unit="row"), value
    except (pyarrow.ArrowException, OSError) as error:
        do = "write the file anew, or give another one"
        problems.add("the file is not Parquet", at=Place(str(path), 0), found=str(error).splitlines()[0], do=do)


READERS: Mapping[str, Callable[[Path, Problems], RowIterator]] = {
    "jsonl": read_jsonl,
    "json": read_json,
    "csv": read_csv,
    "tsv": read_csv,
    "parquet": read_parquet,
}
SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}

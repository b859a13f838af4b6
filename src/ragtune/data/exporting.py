"""A dataset in the formats of other tools."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from ragtune.data.folder import write_dataset
from ragtune.data.formats.containers import SUFFIXES
from ragtune.data.formats.hub import quiet_datasets
from ragtune.data.formats.row_writing import Outgoing, Written
from ragtune.data.formats.shapes import FOLDER_FORMAT, FORMAT_NAMES, FORMATS, TABLES
from ragtune.data.records import Dataset
from ragtune.data.validation import Problems
from ragtune.errors import DataError, Problem, did_you_mean
from ragtune.run import atomic_folder, atomic_write


@final
@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and what the format had no place for."""

    path: Path
    format: str
    container: str
    rows: int
    notices: tuple[str, ...]


def export_dataset(
    dataset: Dataset, path: Path | str, *, format: str, split: str | None = "train", overwrite: bool = False
) -> Exported:
    """Write ``dataset`` in one of FORMAT_NAMES; the file's ending chooses how the rows lie.

    ``.jsonl``, ``.json``, ``.csv``, ``.tsv`` and ``.parquet`` are files, a name without ending is a folder that
    ``datasets.load_from_disk`` reads. ``split`` None exports all queries; ``beir`` always writes the whole dataset.
    The file appears whole or not at all. Raises DataError when the path is taken or the ending does not fit,
    OutOfSpaceError when the disk is full.
    """
    path = Path(path)
    if format == FOLDER_FORMAT:
        write_dataset(dataset, path, overwrite=overwrite)
        return Exported(path, format, "folder", len(dataset.corpus) + len(dataset.queries), ())
    container = _container(path, format)
    _refuse_taken(path, overwrite=overwrite)
    notes = Problems()
    spec = FORMATS["pairs" if format in TABLES else format]
    rows = list(spec.writer(Outgoing(dataset, _known_split(dataset, split), notes)))
    if not rows:
        found = "; ".join(notes.notices) or f"no query in the split {split}"
        do = "choose another split or format"
        raise DataError(Problem(what="nothing to export", where=str(path), found=found, do=do))
    WRITERS[container](path, rows)
    return Exported(path, spec.name, container, len(rows), notes.notices)


def _known_split(dataset: Dataset, split: str | None) -> str | None:
    if split is not None and split not in dataset.qrels:
        do = did_you_mean(split, list(dataset.qrels))
        raise DataError(Problem(what="no such split", where=dataset.info.name, found=split, do=do))
    return split


def _container(path: Path, format: str) -> str:
    if format not in FORMAT_NAMES:
        do = did_you_mean(format, FORMAT_NAMES)
        raise DataError(Problem(what="unknown format", where="format", found=format, do=do))
    by_ending = SUFFIXES.get(path.suffix.lower(), "hf" if not path.suffix else "")
    container = TABLES.get(format, by_ending)
    if not by_ending or (format in TABLES and by_ending != container):
        endings = {"csv": ".csv", "parquet": ".parquet", "hf": "no ending (a folder)"}
        do = f"name it with {endings.get(format, ' or '.join(SUFFIXES) + ', or without an ending (a folder)')}"
        found = path.suffix or "no ending"
        raise DataError(Problem(what=f"the file's ending does not fit {format}", where=str(path), found=found, do=do))
    return container


def _refuse_taken(path: Path, *, overwrite: bool) -> None:
    if path.is_dir() and any(path.iterdir()):
        do = "choose another name"
        raise DataError(Problem(what="the output is a folder with files in it", where=str(path), found="files", do=do))
    if path.is_file() and not overwrite:
        do = "choose another name, or overwrite it (--overwrite)"
        raise DataError(Problem(what="the output file exists already", where=str(path), found="a file", do=do))


def _write_jsonl(path: Path, rows: list[Written]) -> None:
    with atomic_write(path) as file:
        file.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def _write_json(path: Path, rows: list[Written]) -> None:
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows)
    with atomic_write(path) as file:
        file.write(f"[\n{lines}\n]\n")


def _write_csv(path: Path, rows: list[Written]) -> None:
    names = _names(rows)
    lists = sorted({name for row in rows for name, value in row.items() if isinstance(value, list)})
    if lists:
        do = "write .jsonl or .parquet, or choose triplets, pairs or labelled-pairs"
        raise DataError(Problem(what="a table of text has no lists", where=str(path), found=", ".join(lists), do=do))
    with atomic_write(path, binary=True) as raw:
        # Every text is quoted: csv leaves a lone carriage return bare, which readers take for the end of the row.
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        writer = csv.writer(_Utf8(raw), delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(names)
        writer.writerows([row.get(name, "") for name in names] for row in rows)


@final
class _Utf8:
    """What ``csv`` writes to: text as UTF-8, line breaks inside a cell untouched."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def write(self, text: str) -> int:
        return int(self._raw.write(text.encode()))


def _write_parquet(path: Path, rows: list[Written]) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({name: [row.get(name) for row in rows] for name in _names(rows)})
    with atomic_write(path, binary=True) as file:
        pyarrow.parquet.write_table(table, file)


def _write_hf(path: Path, rows: list[Written]) -> None:
    columns = {name: [row.get(name) for row in rows] for name in _names(rows)}
    with quiet_datasets() as datasets, atomic_folder(path) as aside:
        datasets.Dataset.from_dict(columns).save_to_disk(str(aside))


def _names(rows: list[Written]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


WRITERS: Mapping[str, Callable[[Path, list[Written]], None]] = {
    "jsonl": _write_jsonl,
    "json": _write_json,
    "csv": _write_csv,
    "tsv": _write_csv,
    "parquet": _write_parquet,
    "hf": _write_hf,
}

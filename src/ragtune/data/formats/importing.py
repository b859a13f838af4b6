"""From any source to a dataset: find the rows, recognise their format, read them, say what was done."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ragtune.data.folder import counts, dataset_source, is_dataset_folder, read_dataset
from ragtune.data.formats import hub
from ragtune.data.formats.building import Builder
from ragtune.data.formats.containers import READERS, SUFFIXES, Row, RowSet, split_named
from ragtune.data.formats.detecting import recognise
from ragtune.data.formats.fields import Fields
from ragtune.data.formats.options import Detection, Imported, ImportOptions
from ragtune.data.formats.shapes import FOLDER_FORMAT, TABLES
from ragtune.data.language import detect_language
from ragtune.data.records import SPLITS, Dataset, DatasetInfo
from ragtune.data.validation import Place, Problems
from ragtune.errors import DataError, Problem

Source = Path | str | Sequence[Any]

HUB_NAME = re.compile(r"(hf:)?[\w.-]+(/[\w.-]+)?")


def import_dataset(source: Source, options: ImportOptions | None = None) -> Imported:
    """The dataset that ``source`` holds: a file, a folder, a Hugging Face name (``owner/name``) or a list of rows.

    Positives become qrels of grade 1 in the row's split, negatives candidates of relevance 0, teacher scores the
    candidates' ``teacher``; scored pairs get the rounded grade in the qrels and the exact relevance in the
    candidates. Raises DataError with every problem of every row; no row is left out without a notice.
    """
    options = options or ImportOptions()
    if (folder := _dataset_folder(source, options)) is not None:
        return _from_folder(folder, options)
    problems = Problems()
    row_set = _rows(source, options, problems)
    recognised = recognise(row_set, options, problems)
    builder = Builder(options, format=recognised.spec.name)
    for number, row in enumerate(row_set.rows):
        columns = recognised.columns_of(row, options)
        if columns is not None:
            required = recognised.spec.required
            fields = Fields(row, number, columns=columns, required=required, options=options, problems=problems)
            recognised.spec.reader(fields, builder, row_set.class_names)
    problems.raise_any()
    dataset = builder.finish(_info(row_set, recognised.detection, options))
    if not dataset.queries:
        do = "give rows that can be used"
        found = "; ".join(problems.notices) or "no row"
        raise DataError(Problem(what="nothing is left to import", where=row_set.source, found=found, do=do))
    dataset.info.language = options.language or _language(dataset)
    return Imported(dataset, recognised.detection, problems.notices)


def detect_format(source: Source, options: ImportOptions | None = None) -> Detection:
    """What ``source`` would be taken for, with the evidence. Raises DataError as ``import_dataset`` does."""
    options = options or ImportOptions()
    if (folder := _dataset_folder(source, options)) is not None:
        return _folder_detection(folder, read_dataset(folder))
    problems = Problems()
    recognised = recognise(_rows(source, options, problems), options, problems)
    problems.raise_any()
    return recognised.detection


def _dataset_folder(source: Source, options: ImportOptions) -> Path | None:
    if not isinstance(source, Path | str) or options.format not in ("auto", FOLDER_FORMAT):
        return None
    return Path(source) if is_dataset_folder(source) or options.format == FOLDER_FORMAT else None


def _from_folder(folder: Path, options: ImportOptions) -> Imported:
    useless = {name: value for name, value in (("columns", options.columns), ("split", options.split)) if value}
    if useless:
        what, do = "a dataset folder has its own columns and splits", f"leave out {' and '.join(useless)}"
        raise DataError(Problem(what=what, where=str(folder), found=str(useless), do=do))
    dataset = read_dataset(folder)
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".jsonl", ".tsv") and path.is_file())
    info = dataset.info
    info.name, info.language = options.name or info.name, options.language or info.language
    info.licence = options.licence or info.licence
    info.sources = info.sources or [dataset_source(path) for path in files]
    return Imported(dataset, _folder_detection(folder, dataset), dataset.notices)


def _folder_detection(folder: Path, dataset: Dataset) -> Detection:
    found = counts(dataset)
    splits = ", ".join(f"{name} {one['queries']:,}" for name, one in found["qrels"].items())
    evidence = (
        "the folder holds corpus.jsonl",
        f"{found['passages']:,} passages, {found['queries']:,} queries; judged: {splits or 'none'}",
    )
    return Detection(str(folder), FOLDER_FORMAT, "folder", {}, found["passages"] + found["queries"], evidence)


def _rows(source: Source, options: ImportOptions, problems: Problems) -> RowSet:
    if not isinstance(source, Path | str):
        listed = (list(value) if isinstance(value, tuple) else value for value in source)
        split = options.split or "train"
        rows = [Row(Place("rows", number, unit="row"), value, split) for number, value in enumerate(listed, 1)]
        return RowSet("rows", options.name or "rows", "python", rows)
    path = Path(source)
    if path.is_file():
        return _from_files([path], source=path, options=options, problems=problems)
    if path.is_dir():
        if hub.is_saved_folder(path):
            return hub.read_saved_folder(path, options)
        if files := _row_files(path):
            return _from_files(files, source=path, options=options, problems=problems)
        found = f"a folder without any of {', '.join(SUFFIXES)} and not saved by datasets"
        raise DataError(
            Problem(what="nothing to import", where=str(path), found=found, do="give a file or another folder")
        )
    name = str(source)
    if HUB_NAME.fullmatch(name) and (name.startswith("hf:") or _is_hub_like(path)):
        return hub.read_hub(name.removeprefix("hf:"), options)
    near = sorted(one.name for one in path.parent.iterdir())[:8] if path.parent.is_dir() else []
    found = f"nothing there; the folder holds {', '.join(near)}" if near else "nothing there"
    do = "give a file, a folder, or a Hugging Face name (owner/name, or hf:name)"
    raise DataError(Problem(what="no such source", where=name, found=found, do=do))


def _row_files(folder: Path) -> list[Path]:
    """Files with rows, train before dev before test, so that an id that several files use stays with the first."""
    files = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
    visible = [path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    order = {split: place for place, split in enumerate(SPLITS)}
    return sorted(visible, key=lambda path: (order.get(split_named(path.stem) or "", 0), path))


def _is_hub_like(path: Path) -> bool:
    return len(path.parts) == 2 and not path.parent.exists() and path.suffix.lower() not in SUFFIXES


def _from_files(paths: Iterable[Path], *, source: Path, options: ImportOptions, problems: Problems) -> RowSet:
    found = RowSet(str(source), options.name or source.resolve().stem, "")
    containers = []
    for path in paths:
        container = _container(path, options)
        containers.append(container)
        split = options.split or split_named(path.stem) or "train"
        rows = [Row(at, value, split) for at, value in READERS[container](path, problems)]
        found.rows += rows
        found.files.append(dataset_source(path, rows=len(rows)))
    found.container = "+".join(dict.fromkeys(containers))
    return found


def _container(path: Path, options: ImportOptions) -> str:
    if (forced := TABLES.get(options.format, "")) in READERS:
        return forced
    if path.suffix.lower() in SUFFIXES:
        return SUFFIXES[path.suffix.lower()]
    do = f"name the file {' or '.join(SUFFIXES)}, or say format=csv or format=parquet"
    raise DataError(Problem(what="unknown kind of file", where=str(path), found=path.suffix or "no ending", do=do))


def _info(row_set: RowSet, detection: Detection, options: ImportOptions) -> DatasetInfo:
    sources = [{**one, "format": detection.format} for one in row_set.files]
    return DatasetInfo(name=options.name or row_set.name, licence=options.licence, sources=sources)


def _language(dataset: Dataset) -> str:
    records = dataset.corpus or dataset.queries
    return detect_language(record.text for record in records.values())

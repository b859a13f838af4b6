"""The dataset folder on disk: BEIR's layout plus ``candidates.jsonl`` and ``dataset.json``."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ragtune.data.folder_reading import (
    CANDIDATE_FIELDS,
    CANDIDATES,
    CORPUS,
    INFO,
    QRELS,
    QRELS_HEADER,
    QUERIES,
    SEAL,
    read_dataset,
    split_files,
)
from ragtune.data.records import Candidate, Dataset, Passage, Query
from ragtune.errors import DataError, Problem
from ragtune.run import atomic_folder

__all__ = [
    "counts",
    "dataset_hash",
    "dataset_source",
    "is_dataset_folder",
    "read_dataset",
    "refuse_taken",
    "write_dataset",
]


def is_dataset_folder(path: Path | str) -> bool:
    """Whether ``path`` holds a corpus in BEIR's layout (nothing is validated)."""
    return (Path(path) / CORPUS).is_file()


def write_dataset(dataset: Dataset, folder: Path | str, *, overwrite: bool = False) -> Path:
    """Write ``dataset`` as a folder that appears whole or not at all; equal datasets give equal bytes.

    ``overwrite`` replaces the dataset files of an older dataset there and keeps every other file of the folder.
    Raises DataError when the folder holds something else (or, without ``overwrite``, anything), OutOfSpaceError when
    the disk is full; both leave what was there untouched.
    """
    folder = Path(folder)
    refuse_taken(folder, overwrite=overwrite)
    with atomic_folder(folder) as aside:
        if folder.is_dir():
            shutil.copytree(folder, aside, dirs_exist_ok=True, ignore=_dataset_files(folder))
        for name, lines in _files(dataset):
            path = aside / name
            path.parent.mkdir(exist_ok=True)
            with open(path, "w", encoding="utf-8", newline="\n") as file:
                file.writelines(line + "\n" for line in lines)
    return folder


def dataset_hash(dataset: Dataset | Path | str) -> str:
    """SHA-256 of a dataset's content (a Dataset or its folder), in hex.

    It depends on what the dataset says, not on how a file was formatted, and not on ``sources``.
    """
    if not isinstance(dataset, Dataset):
        dataset = read_dataset(dataset)
    unsourced = dataclasses.replace(dataset, info=dataclasses.replace(dataset.info, sources=[]))
    digest = hashlib.sha256()
    for name, lines in _files(unsourced):
        for line in (name, *lines):
            digest.update(line.encode())
            digest.update(b"\n")
    return digest.hexdigest()


def dataset_source(path: Path, **more: Any) -> dict[str, Any]:
    """One entry of ``sources`` in ``dataset.json``: a file's name and the SHA-256 of its bytes."""
    with open(path, "rb") as file:
        return {"file": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest(), **more}


def counts(dataset: Dataset) -> dict[str, Any]:
    """How much of everything there is."""
    return {
        "passages": len(dataset.corpus),
        "queries": len(dataset.queries),
        "queries_with_candidates": len(dataset.candidates),
        "qrels": {
            split: {"queries": len(qrels), "judgements": sum(map(len, qrels.values()))}
            for split, qrels in dataset.qrels.items()
        },
    }


def refuse_taken(folder: Path, *, overwrite: bool) -> None:
    """Raise DataError where ``write_dataset`` would: to be asked before long work."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if overwrite and is_dataset_folder(folder):
        return
    found = "a dataset" if is_dataset_folder(folder) else "other files" if folder.is_dir() else "a file"
    do = "choose another folder" + (", or overwrite the dataset (--overwrite)" if found == "a dataset" else "")
    raise DataError(Problem(what="the output folder is taken", where=str(folder), found=found, do=do))


def _dataset_files(folder: Path) -> Any:
    ours = {folder / name for name in (CORPUS, QUERIES, CANDIDATES, INFO, SEAL)} | set(split_files(folder))

    def ignored(directory: str, names: list[str]) -> set[str]:
        return {name for name in names if Path(directory) / name in ours}

    return ignored


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _files(dataset: Dataset) -> Iterator[tuple[str, Iterable[str]]]:
    """Every file of the folder as (name, lines without line ends); files without content are left out."""
    yield CORPUS, (_json(_row(p, title=p.title, text=p.text)) for p in dataset.corpus.values())
    if dataset.queries:
        yield QUERIES, (_json(_row(q, text=q.text)) for q in dataset.queries.values())
    for split, qrels in dataset.qrels.items():
        judged = (f"{query}\t{passage}\t{grade}" for query, row in qrels.items() for passage, grade in row.items())
        yield f"{QRELS}/{split}.tsv", ("\t".join(QRELS_HEADER), *judged)
    if dataset.candidates:
        rows = ({"query_id": q, "candidates": [_candidate(c) for c in cs]} for q, cs in dataset.candidates.items())
        yield CANDIDATES, map(_json, rows)
    if dataset.seal is not None:
        yield SEAL, [json.dumps(dataclasses.asdict(dataset.seal), ensure_ascii=False, indent=1)]
    info = dataclasses.asdict(dataset.info) | {"counts": counts(dataset)}
    yield INFO, [json.dumps(info, ensure_ascii=False, indent=2)]


def _row(record: Passage | Query, **texts: str) -> dict[str, Any]:
    metadata = {"metadata": dict(record.metadata)} if record.metadata else {}
    return {"_id": record.id, **texts, **metadata}


_SILENT = {"source": "", "valid": True}
"""What a candidate does not say on disk, for it goes without saying; unknown values are left out too."""


def _candidate(candidate: Candidate) -> dict[str, Any]:
    said = ((name, getattr(candidate, name)) for name in CANDIDATE_FIELDS)
    return {name: _plain(value) for name, value in said if value is not None and _SILENT.get(name) != value}


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value

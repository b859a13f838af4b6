"""What a second ingest has to do: which files are new, changed, unchanged or gone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from ragtune.data.records import Dataset
from ragtune.documents.readers import find_files
from ragtune.run import hash_file, hash_json

DOCUMENT, PATH, HASH, SETTINGS = "file", "path", "sha256", "settings"
"""Fields of a source in ``dataset.json``: document id, path from the dataset folder, hash of the bytes and of how."""


@final
@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file that was named, the id of its document, and its bytes' hash; ``state`` is new, changed or unchanged."""

    path: Path
    document: str
    sha256: str
    size: int
    state: str


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """Every named file, the ids of documents whose files are gone, and files of folders that have no reader."""

    files: tuple[PlannedFile, ...]
    gone: tuple[str, ...]
    skipped: tuple[Path, ...]
    unopened: tuple[tuple[Path, str, str], ...] = field(default=())
    """(path, document id, what the system said) of files that could not even be opened."""


def make_plan(paths: Sequence[str], *, folder: Path, dataset: Dataset | None, settings: Mapping[str, Any]) -> Plan:
    """Compare what ``paths`` name with what the dataset in ``folder`` was made from.

    A document is gone when its file is no longer there and one of ``paths`` would have named it. Raises InputError for
    paths that lead nowhere, unless files of that path are known (then they are gone).
    """
    known = {source[PATH]: source for source in ingested(dataset)} if dataset else {}
    roots = [Path(given).expanduser() for given in paths]
    there = [str(root) for root in roots if not _is_gone(root, folder, known)]
    files, skipped = find_files(there) if there else ([], [])
    places = {file: relative(file, folder) for file in files}
    ids = _document_ids(places, roots=roots, known=known)
    planned, unopened = [], []
    how = hash_json(settings)
    for file, place in places.items():
        try:
            digest, size = hash_file(file), file.stat().st_size
        except OSError as error:
            unopened.append((file, ids[place], error.strerror or str(error)))
            continue
        before = known.get(place)
        same = before is not None and (before[HASH], before[SETTINGS]) == (digest, how)
        state = "new" if before is None else "unchanged" if same else "changed"
        planned.append(PlannedFile(file, ids[place], digest, size, state))
    gone = [
        source[DOCUMENT]
        for place, source in known.items()
        if place not in places.values() and not (folder / place).exists() and _was_named(folder / place, roots)
    ]
    return Plan(tuple(planned), tuple(gone), tuple(skipped), tuple(unopened))


def ingested(dataset: Dataset) -> list[dict[str, Any]]:
    """The sources of a dataset that ingest wrote; others came from elsewhere and are left alone."""
    return [source for source in dataset.info.sources if {DOCUMENT, PATH, HASH, SETTINGS} <= source.keys()]


def relative(file: Path, folder: Path) -> str:
    """A file's path from the dataset folder, with forward slashes: it survives moving both together."""
    return Path(os.path.relpath(file.absolute(), folder.absolute())).as_posix()


def _is_gone(root: Path, folder: Path, known: Mapping[str, Any]) -> bool:
    """Whether nothing is there now, but files of that path were ingested before."""
    if root.exists() or any(character in str(root) for character in "*?["):
        return False
    return any(_was_named(folder / place, [root]) for place in known)


def _was_named(file: Path, roots: Iterable[Path]) -> bool:
    file = Path(os.path.normpath(file.absolute()))
    for root in roots:
        whole = Path(os.path.normpath(root.absolute()))
        if file == whole or whole in file.parents or (not root.exists() and _matches(file, whole)):
            return True
    return False


def _matches(file: Path, pattern: Path) -> bool:
    """Whether a glob would have named a file (``**`` stands for any number of folders)."""
    parts = [re.escape(part) for part in pattern.parts]
    text = "/".join(".*" if p == re.escape("**") else p.replace(r"\*", "[^/]*").replace(r"\?", "[^/]") for p in parts)
    return re.fullmatch(text.replace("/.*/", "/(?:.*/)?"), "/".join(file.parts)) is not None


def _document_ids(places: Mapping[Path, str], *, roots: Sequence[Path], known: Mapping[str, Any]) -> dict[str, str]:
    """Path from the dataset folder -> document id: the one it had, else its name below the folder that was given."""
    ids = {place: str(source[DOCUMENT]) for place, source in known.items()}
    taken = set(ids.values())
    for file, place in places.items():
        if place in ids:
            continue
        name = _id_of(file, roots)
        if name in taken:
            name = f"{name}~{hash_json(place)[:6]}"
        taken.add(name)
        ids[place] = name
    return ids


def _id_of(file: Path, roots: Sequence[Path]) -> str:
    above = [root for root in roots if root.is_dir() and file.absolute().is_relative_to(root.absolute())]
    name = file.absolute().relative_to(above[0].absolute()).as_posix() if above else file.name
    # ids stand in tab-separated files
    return re.sub(r"\s+", " ", name)

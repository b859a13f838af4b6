"""Run folders: whole files, stage manifests, resume, seeds and the one progress bar.

A stage writes into its own folder and its ``manifest.json`` last; a folder without a manifest is unfinished. A
stage whose manifest carries the same input hash is not run again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Any, TypeVar, final

from ragtune.errors import OutOfSpaceError, Problem, RagtuneError, RunFolderError

T = TypeVar("T")
MANIFEST = "manifest.json"
MARKER = "run.json"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
# A write that failed on a disk with less than this left (bytes) failed for lack of space
FULL_BELOW = 65536


@contextlib.contextmanager
def out_of_space_named(path: Path) -> Iterator[None]:
    """Turn a write that failed for lack of space into an error that names the path.

    Only some libraries pass the system's error on (NumPy and torch raise one of their own), so the disk is asked too.
    """
    try:
        yield
    except RagtuneError:
        raise
    except Exception as error:
        said = getattr(error, "errno", None) in NO_SPACE or os.strerror(errno.ENOSPC) in str(error)
        if not said and not _is_full(path):
            raise
        raise OutOfSpaceError(
            f"no space left while writing {path}; free some space and run the same command again"
        ) from error


def _is_full(path: Path) -> bool:
    disk = shutil.disk_usage(nearest_folder(path))
    # /proc and its like have no size at all
    return disk.total > 0 and disk.free < FULL_BELOW


def nearest_folder(path: Path | str) -> Path:
    """The folder at or above ``path`` that exists."""
    path = Path(path).absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


@contextlib.contextmanager
def atomic_write(path: Path | str, *, binary: bool = False) -> Iterator[IO[Any]]:
    """A file that appears whole or not at all: written aside, synced, then renamed over ``path``."""
    path = Path(path)
    with out_of_space_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with out_of_space_named(path):
            with os.fdopen(handle, "wb" if binary else "w", encoding=None if binary else "utf-8") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """A folder that appears whole or not at all; an older folder of that name is replaced only at the end."""
    path = Path(path)
    with out_of_space_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        with out_of_space_named(path):
            yield aside
            os.chmod(aside, 0o777 & ~_umask())
            _replace_folder(path, aside)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _replace_folder(path: Path, new: Path) -> None:
    if not path.exists():
        os.replace(new, path)
        return
    retired = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
    try:
        os.replace(path, retired / path.name)
        os.replace(new, path)
    except BaseException:
        if (retired / path.name).exists():
            os.replace(retired / path.name, path)
        retired.rmdir()
        raise
    shutil.rmtree(retired)


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` as readable JSON, whole or not at all."""
    with atomic_write(path) as file:
        json.dump(value, file, ensure_ascii=False, indent=2)
        file.write("\n")


def read_json(path: Path | str) -> Any:
    """Read one JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def hash_file(path: Path | str) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: Any) -> str:
    """SHA-256 of a JSON-able value, independent of key order.

    >>> hash_json({"a": 1, "b": 2}) == hash_json({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def hash_folder(path: Path | str) -> str:
    """SHA-256 over the names and bytes of every file below ``path`` (hidden files left out)."""
    path = Path(path)
    files = sorted(f for f in path.rglob("*") if f.is_file() and not f.name.startswith("."))
    return hash_json([[f.relative_to(path).as_posix(), hash_file(f)] for f in files])


@final
@dataclass(frozen=True, slots=True)
class Stage:
    """One stage's folder inside a run."""

    name: str
    folder: Path

    def manifest(self) -> dict[str, Any] | None:
        """The manifest of a finished stage, else None."""
        path = self.folder / MANIFEST
        return read_json(path) if path.is_file() else None

    def is_done(self, inputs: Mapping[str, Any]) -> bool:
        """Whether the stage was finished from exactly these inputs."""
        manifest = self.manifest()
        return manifest is not None and manifest["inputs_hash"] == hash_json(inputs)

    def begin(self, inputs: Mapping[str, Any]) -> None:
        """Make the folder ready; what an interrupted attempt at other inputs left is removed."""
        started = self.folder / "started.json"
        if self.folder.exists() and not (started.is_file() and read_json(started) == hash_json(inputs)):
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / MANIFEST).unlink(missing_ok=True)
        write_json(started, hash_json(inputs))

    def finish(self, *, inputs: Mapping[str, Any], results: Mapping[str, Any], seconds: float) -> None:
        """Write the manifest, last of all."""
        write_json(
            self.folder / MANIFEST,
            {
                "stage": self.name,
                "inputs_hash": hash_json(inputs),
                "inputs": inputs,
                "results": results,
                "seconds": round(seconds, 3),
                "finished_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "versions": versions(),
            },
        )


@final
class RunFolder:
    """A folder of results. ``run.json`` marks it; one sub-folder a stage."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def stage(self, name: str) -> Stage:
        """The stage called ``name``."""
        return Stage(name=name, folder=self.path / name)

    def holds(self, identity: Mapping[str, str]) -> bool:
        """Whether this very run lives here, as far as ``identity`` tells. Raises ``RunFolderError`` for a file."""
        if self.path.exists() and not self.path.is_dir():
            raise RunFolderError(
                Problem(
                    what="the output is not a folder", where=str(self.path), found="a file", do="choose another folder"
                )
            )
        known = self._known()
        return bool(known) and all(known.get(part) == value for part, value in identity.items())

    def _known(self) -> dict[str, str]:
        """The identity that the marker holds; empty where there is no marker of ours."""
        marker = self.path / MARKER
        try:
            said = read_json(marker) if marker.is_file() else None
        except ValueError:
            return {}
        known = said.get("identity") if isinstance(said, dict) else None
        return known if isinstance(known, dict) else {}

    def refuse_other(self, identity: Mapping[str, str]) -> None:
        """Raise ``RunFolderError`` when something other than this run is in the folder."""
        if self.holds(identity) or self._is_free():
            return
        found = "files that are not of a ragtune run"
        if known := self._known():
            parts = [part for part, value in identity.items() if known.get(part) != value]
            found = f"a run with another {' and other '.join(parts)}"
        raise RunFolderError(
            Problem(
                what="the output folder already holds something else",
                where=str(self.path),
                found=found,
                do="choose another folder, or pass --overwrite to move it aside",
            )
        )

    def claim(self, *, recipe_yaml: str, identity: Mapping[str, str], overwrite: bool = False) -> None:
        """Take the folder for a recipe, or say why not.

        ``identity`` holds a hash of each thing that makes two runs the same run. A folder with the same identity is
        resumed; one with another run, or with files that are no run, is refused. ``overwrite`` moves it aside to
        ``<name>.previous-<n>`` instead; it is never deleted.
        """
        if not overwrite:
            self.refuse_other(identity)
        elif not self.holds(identity) and not self._is_free():
            self._move_aside()
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / MARKER, {"identity": dict(identity), "versions": versions()})
        with atomic_write(self.path / "recipe.yaml") as file:
            file.write(recipe_yaml)

    def _is_free(self) -> bool:
        # a hidden file may be what a killed run left of a write
        return not self.path.is_dir() or all(entry.name.startswith(".") for entry in self.path.iterdir())

    def _move_aside(self) -> None:
        here, n = self.path.resolve(), 1
        if Path.cwd().is_relative_to(here):
            raise RunFolderError(
                Problem(
                    what="the current folder cannot be moved aside",
                    where=str(self.path),
                    found=str(here),
                    do="choose another folder, or call from outside of it",
                )
            )
        while (aside := here.with_name(f"{here.name}.previous-{n}")).exists():
            n += 1
        os.replace(here, aside)


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    names = ("ragtune", "torch", "transformers", "sentence-transformers", "accelerate", "numpy")
    found = {"python": sys.version.split()[0]}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def progress(items: Iterable[T], *, label: str, total: int | None = None) -> Iterator[T]:
    """Yield ``items`` behind a progress bar on stderr; silent when stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, description=label, total=total, console=Console(stderr=True), transient=True)

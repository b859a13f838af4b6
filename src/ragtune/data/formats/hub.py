"""Hugging Face datasets: a folder saved by ``datasets`` or a name on the hub."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragtune.data.formats.containers import Row, RowSet, split_named
from ragtune.data.formats.options import ImportOptions
from ragtune.data.validation import Place
from ragtune.errors import DataError, MissingExtraError, Problem


def require_datasets() -> Any:
    """The ``datasets`` library, or an error that names the extra."""
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(package="datasets", extra="hf", needed_for="a Hugging Face dataset") from error
    return datasets


@contextlib.contextmanager
def quiet_datasets() -> Iterator[Any]:
    """The library without its progress bars."""
    datasets = require_datasets()
    silent = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield datasets
    finally:
        if not silent:
            datasets.enable_progress_bars()


def is_saved_folder(path: Path) -> bool:
    """Whether ``save_to_disk`` wrote the folder."""
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def read_saved_folder(path: Path, options: ImportOptions) -> RowSet:
    """The rows of a folder that ``save_to_disk`` wrote."""
    with quiet_datasets() as datasets:
        try:
            loaded = datasets.load_from_disk(str(path))
        except (OSError, ValueError, KeyError, TypeError) as error:
            do = "save it again with save_to_disk, or give its files"
            found = f"{type(error).__name__}: {error}"
            raise DataError(
                Problem(what="the saved dataset cannot be read", where=str(path), found=found, do=do)
            ) from error
        return _row_set(loaded, source=str(path), name=path.resolve().name, container="hf", options=options)


def read_hub(name: str, options: ImportOptions) -> RowSet:
    """The rows of a dataset on the Hugging Face hub (or in its cache)."""
    with quiet_datasets() as datasets:
        try:
            loaded = datasets.load_dataset(name, options.subset)
        except (OSError, ValueError, RuntimeError) as error:
            first = (str(error).splitlines() or [""])[0]
            do = "check the name and the network, name a subset if it has several, or download it and give its path"
            found = f"{type(error).__name__}: {first}"
            what = "the dataset cannot be loaded from the Hugging Face hub"
            raise DataError(Problem(what=what, where=name, found=found, do=do)) from error
        return _row_set(loaded, source=name, name=name.split("/")[-1], container="hub", options=options)


def _row_set(loaded: Any, *, source: str, name: str, container: str, options: ImportOptions) -> RowSet:
    datasets = require_datasets()
    parts = dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {str(loaded.split or "train"): loaded}
    found = RowSet(source=source, name=name, container=container)
    for part_name, part in parts.items():
        split = options.split or split_named(part_name) or part_name
        number = 0
        for table in part.with_format("arrow").iter(batch_size=1000):
            for value in table.to_pylist():
                number += 1
                found.rows.append(Row(Place(f"{source}[{part_name}]", number, unit="row"), value, split))
        found.files.append({"hub" if container == "hub" else "folder": name, "split": part_name, "rows": number})
        for column, feature in part.features.items():
            if isinstance(feature, datasets.ClassLabel):
                found.class_names[column] = list(feature.names)
    return found

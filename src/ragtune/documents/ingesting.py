"""Files into a dataset folder: read in parallel, checked, cut into passages; a second time only what changed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from pydantic import Field

from ragtune.data.folder import is_dataset_folder, read_dataset, write_dataset
from ragtune.data.language import detect_language
from ragtune.data.records import Dataset, DatasetInfo
from ragtune.documents.chunking import ChunkOptions
from ragtune.documents.engines import ENGINES
from ragtune.documents.ingest_files import FileJob, FileRead, read_files
from ragtune.documents.ingest_merge import Merged, merge
from ragtune.documents.ingest_plan import Plan, PlannedFile, ingested, make_plan, relative
from ragtune.documents.token_counting import tokenizer_place
from ragtune.errors import DataError, Problem, WorkError
from ragtune.recipe import Part
from ragtune.run import hash_file, hash_json, progress

EDITION = 1
"""Goes up when the readers or the chunker give other passages for the same file; then every file is read again."""

SHOWN_WORDS = 20


@final
class IngestOptions(Part):
    """How documents become passages."""

    model: str = "builtin:minilm"
    """The model that will read the passages: its tokenizer counts their tokens."""
    chunks: ChunkOptions = ChunkOptions()
    """How long passages are."""
    reader: Literal["auto", "docling", "unstructured"] = "auto"
    """The package's own readers, or a heavier one (an extra of its own)."""
    workers: int | None = Field(default=None, ge=1)
    """Files read at once; none = one a processor core."""
    drop_orphans: bool = False
    """Take out judgements of passages that are gone, instead of refusing."""
    language: str = ""
    """Language code of a new dataset; detected when empty."""


@final
@dataclass(frozen=True, slots=True)
class FileOutcome:
    """What became of one file: ``state`` is new, changed, unchanged, removed or failed.

    ``coverage`` is the share of the text layer's words that arrived (None: there is no text layer). ``missing`` holds
    up to twenty of the others a page, ``removed_words`` counts those of running lines.
    """

    document: str
    state: str
    pages: int | None = None
    passages: int = 0
    coverage: float | None = None
    missing: Mapping[int, Sequence[str]] | None = None
    removed_words: int = 0
    seconds: float = 0.0
    notices: tuple[str, ...] = ()
    problem: Problem | None = None


@final
@dataclass(frozen=True, slots=True)
class Ingestion:
    """The result: every file's outcome, and how many passages came, stayed and went."""

    folder: Path
    files: tuple[FileOutcome, ...]
    skipped: tuple[Path, ...]
    passages: int
    added: int
    kept: int
    removed: int
    dropped_judgements: int
    language: str


def ingest(paths: Sequence[str], folder: Path | str, options: IngestOptions | None = None) -> Ingestion:
    """Read files, folders and globs into the dataset ``folder``, or bring that dataset up to date.

    A file that cannot be read is listed with its problem and the rest goes on; one that was read before keeps its
    passages then. Interrupted, the files that were finished are kept. Raises InputError for a wrong call, DataError
    where judged passages would go (see ``IngestOptions.drop_orphans``), WorkError when not one file could be read.
    """
    folder, options = Path(folder), options or IngestOptions()
    ENGINES[options.reader].require()
    before = _before(folder)
    tokenizer = tokenizer_place(options.model)
    settings = _settings(options, tokenizer)
    plan = make_plan(paths, folder=folder, dataset=before, settings=settings)
    jobs = [
        FileJob(file.path, file.size, file.document, options.reader, tokenizer, options.chunks)
        for file in plan.files
        if file.state != "unchanged"
    ]
    done: list[FileRead] = []
    dataset = before or Dataset(DatasetInfo(name=folder.resolve().name), corpus={}, queries={})
    try:
        reading = read_files(jobs, workers=options.workers or os.cpu_count() or 1)
        done.extend(progress(reading, label="reading", total=len(jobs)))
    except KeyboardInterrupt:
        # judged passages that would go, or no text yet: then there is nothing to keep
        with contextlib.suppress(DataError, WorkError):
            _save(_merged(dataset, plan, done, settings, options, folder, finished=False), before, folder, options)
        raise
    _require_any(plan, done)
    merged = _merged(dataset, plan, done, settings, options, folder, finished=True)
    if done or plan.gone:
        merged = _save(merged, before, folder, options)
    return _ingestion(merged, plan, done, dataset, folder)


def _before(folder: Path) -> Dataset | None:
    if is_dataset_folder(folder):
        return read_dataset(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        found = "other files" if folder.is_dir() else "a file"
        do = "choose another folder, or one that ingest made before"
        raise DataError(Problem(what="the output folder is taken", where=str(folder), found=found, do=do))
    return None


def _settings(options: IngestOptions, tokenizer: Path) -> dict[str, Any]:
    """What decides the passages of a file beside its bytes."""
    counter = hash_file(tokenizer) if tokenizer.is_file() else options.model
    return {
        "edition": EDITION,
        "reader": options.reader,
        "chunks": options.chunks.model_dump(mode="json"),
        "tokenizer": counter,
    }


def _merged(
    dataset: Dataset,
    plan: Plan,
    done: Sequence[FileRead],
    settings: Mapping[str, Any],
    options: IngestOptions,
    folder: Path,
    *,
    finished: bool,
) -> Merged:
    planned = {file.document: file for file in plan.files}
    read = {one.job.document: one for one in done if one.problem is None}
    return merge(
        dataset,
        read={document: one.passages for document, one in read.items()},
        sources={
            document: _source(planned[document], one, hash_json(settings), folder) for document, one in read.items()
        },
        gone=plan.gone if finished else (),
        drop_orphans=options.drop_orphans,
        where=str(folder),
    )


def _source(file: PlannedFile, read: FileRead, settings: str, folder: Path) -> dict[str, Any]:
    return {
        "file": file.document,
        "path": relative(file.path, folder),
        "sha256": file.sha256,
        "settings": settings,
        "pages": read.pages,
        "passages": len(read.passages),
        "coverage": read.coverage.share if read.coverage else None,
        "notices": list(read.notices),
    }


def _save(merged: Merged, before: Dataset | None, folder: Path, options: IngestOptions) -> Merged:
    info = merged.dataset.info
    if before is None:
        texts = (passage.content for passage in merged.dataset.corpus.values())
        info.language = options.language or detect_language(texts)
    if not merged.dataset.corpus:
        raise WorkError("no text in any of the files: nothing was written (scanned pages need OCR first)")
    write_dataset(merged.dataset, folder, overwrite=before is not None)
    return merged


def _require_any(plan: Plan, done: Sequence[FileRead]) -> None:
    problems = [read.problem for read in done if read.problem]
    unread = len(problems) + len(plan.unopened)
    if unread and unread == len(plan.files) + len(plan.unopened):
        said = [str(problem) for problem in problems] + [f"{path}: {what}" for path, _, what in plan.unopened]
        raise WorkError(f"not one of {unread} files could be read\n" + "\n".join(said))


def _ingestion(merged: Merged, plan: Plan, done: Sequence[FileRead], before: Dataset, folder: Path) -> Ingestion:
    outcomes = list(_outcomes(plan, done, before))
    return Ingestion(
        folder=folder,
        files=tuple(sorted(outcomes, key=lambda outcome: outcome.document)),
        skipped=plan.skipped,
        passages=len(merged.dataset.corpus),
        added=merged.added,
        kept=merged.kept,
        removed=merged.removed,
        dropped_judgements=merged.dropped_judgements,
        language=merged.dataset.info.language,
    )


def _outcomes(plan: Plan, done: Sequence[FileRead], before: Dataset) -> Iterable[FileOutcome]:
    known = {source["file"]: source for source in ingested(before)}
    states = {file.document: file.state for file in plan.files}
    for read in done:
        yield _outcome(read, states[read.job.document], known)
    for document, state in states.items():
        if state == "unchanged":
            yield _unchanged(known[document])
    for document in plan.gone:
        yield FileOutcome(document, "removed")
    for path, document, what in plan.unopened:
        problem = Problem("the file cannot be opened", str(path), what, "check that it may be read")
        yield FileOutcome(document, "failed", problem=problem)


def _unchanged(source: Mapping[str, Any]) -> FileOutcome:
    return FileOutcome(
        source["file"],
        "unchanged",
        pages=source["pages"],
        passages=source["passages"],
        coverage=source["coverage"],
        notices=tuple(source["notices"]),
    )


def _outcome(read: FileRead, state: str, known: Mapping[str, Any]) -> FileOutcome:
    document = read.job.document
    if read.problem is not None or read.coverage is None:
        kept = ("its passages of before are kept",) if document in known else ()
        return FileOutcome(document, "failed", seconds=read.seconds, notices=kept, problem=read.problem)
    return FileOutcome(
        document,
        state,
        pages=read.pages,
        passages=len(read.passages),
        coverage=read.coverage.share,
        missing={page: words[:SHOWN_WORDS] for page, words in read.coverage.missing_by_page().items()},
        removed_words=read.coverage.removed,
        seconds=read.seconds,
        notices=read.notices,
    )

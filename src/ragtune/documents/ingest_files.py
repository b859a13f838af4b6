"""One file to passages, and many files at once in processes of their own."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import final

from ragtune.data.records import Passage
from ragtune.documents.chunking import ChunkOptions, chunk_document
from ragtune.documents.coverage import Coverage, coverage_of
from ragtune.documents.engines import ENGINES
from ragtune.documents.linear import document_text
from ragtune.documents.readers import unreadable
from ragtune.documents.token_counting import CountTokens, token_counter
from ragtune.errors import Problem, UnreadableFileError


@final
@dataclass(frozen=True, slots=True)
class FileJob:
    """What is to be read: the file with its size in bytes, the document's id, and how."""

    path: Path
    size: int
    document: str
    reader: str
    tokenizer: Path
    options: ChunkOptions


@final
@dataclass(frozen=True, slots=True)
class FileRead:
    """What came out of a file. ``problem`` says why nothing did; ``coverage`` is None then."""

    job: FileJob
    passages: tuple[Passage, ...] = ()
    pages: int = 0
    coverage: Coverage | None = None
    notices: tuple[str, ...] = ()
    seconds: float = 0.0
    problem: Problem | None = None


_counters: dict[Path, CountTokens] = {}


def read_file(job: FileJob) -> FileRead:
    """Read, check and cut one file; a file that cannot be read gives its problem."""
    began = time.perf_counter()
    try:
        document = ENGINES[job.reader].read(job.path)
    except UnreadableFileError as error:
        return FileRead(job, problem=error.problems[0], seconds=time.perf_counter() - began)
    except OSError as error:
        do = "check that the file is there and may be read"
        problem = Problem("the file cannot be opened", str(job.path), error.strerror or str(error), do)
        return FileRead(job, problem=problem, seconds=time.perf_counter() - began)
    if job.tokenizer not in _counters:
        _counters[job.tokenizer] = token_counter(job.tokenizer)
    passages = chunk_document(
        document, document_id=job.document, options=job.options, count_tokens=_counters[job.tokenizer]
    )
    _check_spans(document_text(document), passages)
    notices = document.notices or (() if passages else ("no text in it",))
    return FileRead(
        job,
        passages=tuple(passages),
        pages=len(document.raw_pages),
        coverage=coverage_of(document),
        notices=notices,
        seconds=time.perf_counter() - began,
    )


def _check_spans(text: str, passages: Sequence[Passage]) -> None:
    for passage in passages:
        start, end = passage.metadata["span"]
        own = passage.text[passage.metadata.get("repeated", 0) :]
        assert text[start:end] == own, f"the span of {passage.id} is not its text"


def read_files(jobs: Sequence[FileJob], *, workers: int) -> Iterator[FileRead]:
    """Every file as soon as it is done. A file whose reader brings its process down is listed like any broken one."""
    if workers == 1 or len(jobs) == 1:
        yield from map(read_file, jobs)
        return
    done: set[Path] = set()
    try:
        for read in _in_processes(jobs, workers=min(workers, len(jobs))):
            done.add(read.job.path)
            yield read
    except BrokenProcessPool:
        # one of the files did it: each of the rest gets a process of its own
        for job in jobs:
            if job.path not in done:
                yield _alone(job)


def _in_processes(jobs: Sequence[FileJob], *, workers: int) -> Iterator[FileRead]:
    # spawn: a fork of a process with threads (tokenizers, BLAS) may hang
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        # the largest first, so that none is left for the end
        futures: list[Future[FileRead]] = [pool.submit(read_file, job) for job in sorted(jobs, key=lambda j: -j.size)]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _alone(job: FileJob) -> FileRead:
    try:
        return next(_in_processes([job], workers=1))
    except BrokenProcessPool:
        error = unreadable(
            job.path,
            what="the file's reader came to a sudden end",
            found="its process was ended, by a fault or for want of memory",
            do="open it in its own program and save it again, or try it alone with more memory",
        )
        return FileRead(job, problem=error.problems[0])

"""Commands on documents: ingest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragtune.cli.output import show, show_json, show_table, tell

if TYPE_CHECKING:
    from ragtune.documents.ingesting import FileOutcome, Ingestion

LOW_COVERAGE = 0.995
"""A file of which less arrived is pointed at."""


def ingest(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, folders or quoted globs.")],
    out: Annotated[Path, typer.Option(help="The dataset folder: made, or brought up to date.")],
    model: Annotated[str, typer.Option(help="The model whose tokenizer counts tokens.")] = "builtin:minilm",
    max_tokens: Annotated[int, typer.Option(help="Longest passage in tokens, its heading path among them.")] = 256,
    overlap_tokens: Annotated[int, typer.Option(help="Tokens of the passage before that one repeats.")] = 0,
    reader: Annotated[str, typer.Option(help="auto, or an extra: docling, unstructured.")] = "auto",
    workers: Annotated[int | None, typer.Option(help="Files read at once; one a core when left out.")] = None,
    language: Annotated[str, typer.Option(help="Language code of a new dataset; detected when empty.")] = "",
    drop_orphans: Annotated[bool, typer.Option(help="Take out judgements of passages that are gone.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Turn documents into the corpus of a dataset.

    PDF, DOCX, PPTX, XLSX, CSV, HTML, Markdown and text. Run again, it reads only what changed.

    Example: ragtune ingest reports/ --out my-dataset
    """
    from ragtune.documents.ingesting import IngestOptions
    from ragtune.documents.ingesting import ingest as ingest_files
    from ragtune.recipe_loading import Setting, parse_recipe

    flags = (
        ("model", model, "--model"),
        ("chunks.max_tokens", max_tokens, "--max-tokens"),
        ("chunks.overlap_tokens", overlap_tokens, "--overlap-tokens"),
        ("reader", reader, "--reader"),
        ("workers", workers, "--workers"),
        ("language", language, "--language"),
        ("drop_orphans", drop_orphans, "--drop-orphans"),
    )
    given = [Setting(key, value, flag) for key, value, flag in flags]
    options = parse_recipe({}, overrides=given, origin="the command line", kind=IngestOptions)
    done = ingest_files(paths, out, options)
    if json:
        show_json(_as_dict(done))
    else:
        _show(done)


def _show(done: Ingestion) -> None:
    show_table(
        ["document", "state", "pages", "passages", "coverage", "missing", "seconds"],
        [_row(outcome) for outcome in done.files],
    )
    for outcome in done.files:
        for line in _remarks(outcome):
            tell(line)
    if done.skipped:
        names = ", ".join(path.name for path in done.skipped[:5]) + (" ..." if len(done.skipped) > 5 else "")
        tell(f"note: {len(done.skipped)} files of other kinds left out: {names}")
    if done.dropped_judgements:
        tell(f"note: {done.dropped_judgements:,} judgements and candidates of passages that are gone were taken out")
    show(
        f"{done.folder}: {done.passages:,} passages ({done.language});"
        f" {done.added:,} added, {done.kept:,} kept, {done.removed:,} removed"
    )


def _row(outcome: FileOutcome) -> list[object]:
    # cut, not rounded: 100.00% says that nothing is missing
    share = "-" if outcome.coverage is None else f"{int(10_000 * outcome.coverage) / 100:.2f}%"
    missing = sum(map(len, (outcome.missing or {}).values())) if outcome.missing is not None else "-"
    pages = "-" if outcome.pages is None else outcome.pages
    return [outcome.document, outcome.state, pages, outcome.passages, share, missing, f"{outcome.seconds:.2f}"]


def _remarks(outcome: FileOutcome) -> list[str]:
    lines = [f"note: {outcome.document}: {notice}" for notice in outcome.notices]
    if outcome.problem:
        lines.append(f"failed: {outcome.document}: {outcome.problem}")
    if outcome.missing and outcome.coverage is not None and outcome.coverage < LOW_COVERAGE:
        pages = "; ".join(f"page {page}: {' '.join(words)}" for page, words in list(outcome.missing.items())[:5])
        lines.append(f"note: {outcome.document}: words that did not arrive: {pages}")
    return lines


def _as_dict(done: Ingestion) -> dict[str, Any]:
    import dataclasses

    files = [dataclasses.asdict(outcome) for outcome in done.files]
    return dataclasses.asdict(done) | {
        "folder": str(done.folder),
        "files": files,
        "skipped": [str(path) for path in done.skipped],
    }


COMMANDS: dict[str, Callable[..., None]] = {"ingest": ingest}

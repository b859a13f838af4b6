"""PDF files: text in reading order, headings, lists and tables, on PDFium's words and ruled lines.

Nothing is recognised from pictures: a page without a text layer is named in the notices.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ragtune.documents.blocks import Block, Heading, ListBlock, Paragraph, Place, ReadDocument, Table
from ragtune.documents.read_pdf_columns import find_tables
from ragtune.documents.read_pdf_furniture import running_lines
from ragtune.documents.read_pdf_grids import FoundTable, ruled_tables
from ragtune.documents.read_pdf_joining import join_tables
from ragtune.documents.read_pdf_layout import Row, boxed, is_caption, joined, pieces_of, regions_of, rows_of
from ragtune.documents.read_pdf_text import (
    Part,
    TablePart,
    TextPart,
    full_text,
    join_parts,
    plain,
    text_parts,
    with_headings,
)
from ragtune.documents.read_pdf_words import PageContent, Word, read_page
from ragtune.documents.readers import unreadable
from ragtune.errors import MissingExtraError

SHIFT = 14.0
"""Items further in than the one before by this many points are a level deeper."""


def read(path: Path) -> ReadDocument:
    """The blocks of a PDF. Raises UnreadableFileError for an encrypted, broken or empty file."""
    with _opened(path) as document:
        pages = [read_page(document, index) for index in range(len(document))]
        outline = _outline(document)
        metadata = {name.lower(): value for name, value in document.get_metadata_dict(skip_empty=True).items()}
    running = running_lines(pages)
    parts = [part for page in pages for part in _page_parts(page, running.get(page.number, []))]
    parts = with_headings(join_tables(join_parts(parts)), outline=outline)
    return ReadDocument(
        name=path.name,
        blocks=tuple(_blocks(parts, _hyphened(pages))),
        raw_pages=tuple(page.raw for page in pages),
        metadata={"title": metadata.get("title", ""), "running_lines": _left_out(running, parts)},
        notices=tuple(_notices(pages)),
    )


def _left_out(running: Mapping[int, Sequence[Sequence[Word]]], parts: Iterable[Part]) -> dict[int, list[str]]:
    """Page number -> its running lines, and the headers of tables that go on there."""
    found = {page: [joined(line) for line in lines] for page, lines in sorted(running.items()) if lines}
    for part in parts:
        for page, header in part.repeated if isinstance(part, TablePart) else ():
            found.setdefault(page, []).append(header)
    return found


def text_layer(path: Path) -> tuple[str, ...]:
    """The plain text of every page, against which any reader of PDFs is checked. Raises as ``read`` does."""
    with _opened(path) as document:
        return tuple(read_page(document, index).raw for index in range(len(document)))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        import pypdfium2 as pdfium
    except ImportError as error:
        raise MissingExtraError(package="pypdfium2", extra="ingest", needed_for="reading PDF files") from error
    try:
        document = pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        if "password" in str(error).lower():
            do = "save it without a password (its owner can), then read it again"
            raise unreadable(path, what="the file is encrypted", found="a PDF with a password", do=do) from error
        do = "copy or download it again, or open it in a PDF viewer and print it to a new PDF"
        raise unreadable(path, what="the PDF is cut off or broken", found=str(error), do=do) from error
    try:
        if len(document) == 0:
            raise unreadable(path, what="the PDF has no pages", found="0 pages", do="leave it out")
        yield document
    finally:
        document.close()


def _outline(document: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for mark in document.get_toc(max_depth=6):
        key = plain(mark.get_title() or "")
        if key:
            found.setdefault(key, mark.level + 1)
    return found


def _page_parts(page: PageContent, removed: Sequence[tuple[Word, ...]]) -> list[Part]:
    """What stands on one page, in reading order."""
    gone = {id(word) for line in removed for word in line}
    upright = [word for word in page.words if id(word) not in gone and not word.turned]
    tables, rest = ruled_tables(upright, page.lines)
    parts: list[Part] = []
    waiting = sorted(tables, key=lambda table: table.box[1])
    for region in regions_of(pieces_of(rest)):
        box = boxed(region)
        items: list[FoundTable | Row] = find_tables(rows_of(region), page.lines)
        here = [t for t in waiting if t.box[0] < box[2] and t.box[2] > box[0] and t.box[1] < box[3]]
        waiting = [t for t in waiting if t not in here]
        parts.extend(_region_parts(items, here, page.number))
    parts.extend(TablePart(table, page.number, table.box) for table in waiting)
    turned = [word for word in page.words if word.turned]
    return parts + ([_turned_part(turned, page.number)] if turned else [])


def _region_parts(items: Sequence[FoundTable | Row], tables: list[FoundTable], page: int) -> Iterator[Part]:
    lines: list[Row] = []
    for item in items:
        top = item.box[1] if isinstance(item, FoundTable) else item[0].top
        while tables and tables[0].box[1] < top:
            yield from text_parts(lines, page=page)
            lines = []
            first = tables.pop(0)
            yield TablePart(first, page, first.box)
        if isinstance(item, FoundTable):
            yield from text_parts(lines, page=page)
            lines = []
            yield TablePart(item, page, item.box)
        else:
            lines.append(item)
    yield from text_parts(lines, page=page)
    yield from (TablePart(table, page, table.box) for table in tables)


def _turned_part(words: Sequence[Word], page: int) -> TextPart:
    """Text that runs up or down the margin, kept behind the page's text."""
    box = (
        min(w.left for w in words),
        min(w.top for w in words),
        max(w.right for w in words),
        max(w.bottom for w in words),
    )
    text = " ".join(word.text for word in words)
    return TextPart(lines=(text,), page=page, box=box, size=0.0, bold=False, right=box[2], full=False)


def _hyphened(pages: Iterable[PageContent]) -> frozenset[str]:
    """Words that the document has with a hyphen inside a line (lower case)."""
    words = (word.text.strip(".,;:()[]\"'“”").lower() for page in pages for word in page.words if "-" in word.text)
    return frozenset(word for word in words if "-" in word.strip("-"))


def _blocks(parts: Sequence[Part], words: frozenset[str]) -> Iterator[Block]:
    items: list[TextPart] = []
    for i, part in enumerate(parts):
        if isinstance(part, TextPart) and part.is_item and part.level is None:
            items.append(part)
            continue
        if items:
            yield _list(items, words)
            items = []
        if isinstance(part, TablePart):
            yield _table(part)
        elif part.level is not None:
            yield Heading(full_text(part, words), level=part.level, place=_place(part))
        else:
            text = full_text(part, words)
            role = (
                "caption" if is_caption(text) and i + 1 < len(parts) and isinstance(parts[i + 1], TablePart) else "text"
            )
            yield Paragraph(text, role=role, place=_place(part))
    if items:
        yield _list(items, words)


def _place(part: Part) -> Place:
    left, top, right, bottom = (round(edge, 1) for edge in part.box)
    return Place(page=part.page, box=(left, top, right, bottom))


def _table(part: TablePart) -> Table:
    table = part.table
    return Table(rows=table.rows, header_rows=table.header_rows, caption=part.caption, place=_place(part))


def _list(items: Sequence[TextPart], words: frozenset[str]) -> Block:
    if len(items) == 1:
        return Paragraph(full_text(items[0], words), role="item", place=_place(items[0]))
    first = min(item.box[0] for item in items)
    rows = tuple((int((item.box[0] - first) // SHIFT), full_text(item, words)) for item in items)
    same = [item.box for item in items if item.page == items[0].page]
    box = (min(b[0] for b in same), min(b[1] for b in same), max(b[2] for b in same), max(b[3] for b in same))
    return ListBlock(items=rows, place=_place(replace(items[0], box=box)))


def _notices(pages: Sequence[PageContent]) -> Iterator[str]:
    blank: Mapping[bool, list[int]] = {True: [], False: []}
    for page in pages:
        if not page.raw.strip():
            blank[page.pictures].append(page.number)
    if blank[True]:
        yield f"no text layer (scanned?): {_numbers(blank[True])}; run OCR over the file to have their text"
    if blank[False]:
        yield f"empty: {_numbers(blank[False])}"


def _numbers(pages: Sequence[int]) -> str:
    """Page numbers, runs shortened.

    >>> _numbers([1, 2, 3, 7])
    'pages 1-3, 7'
    """
    runs: list[list[int]] = []
    for page in pages:
        if runs and page == runs[-1][-1] + 1:
            runs[-1].append(page)
        else:
            runs.append([page])
    listed = ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
    return f"{'page' if len(pages) == 1 else 'pages'} {listed}"

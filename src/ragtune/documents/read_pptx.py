"""Presentations: a slide is a page under its title, shapes in reading order, the speaker's notes at its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ragtune.documents.blocks import Block, Heading, ListBlock, Paragraph, Place, ReadDocument, Table
from ragtune.documents.html_blocks import even_rows
from ragtune.documents.read_docx import NO_TITLE, PICTURE, unread_pictures
from ragtune.documents.readers import unreadable
from ragtune.documents.sheet_values import shown
from ragtune.errors import MissingExtraError

_EMU_PER_POINT = 12_700
_LINE_POINTS = 12
"""Shapes whose tops differ by less stand in one line and are read from left to right."""


def read(path: Path) -> ReadDocument:
    """The slides of a presentation; slide numbers, dates, footers and hidden slides are left out."""
    try:
        from pptx import Presentation
    except ImportError as error:
        raise MissingExtraError(package="python-pptx", extra="ingest", needed_for="reading PPTX") from error
    presentation = Presentation(str(path))
    blocks: list[Block] = []
    raw: list[str] = []
    notices: list[str] = []
    pictures = 0
    for page, slide in enumerate(presentation.slides, 1):
        if slide.element.get("show") in ("0", "false"):
            notices.append(f"slide {page} is hidden and left out")
            raw.append("")
            continue
        blocks += _slide_blocks(slide, page)
        raw.append(_raw_text(slide))
        pictures += sum(1 for _ in slide.element.iter(PICTURE))
    if not any(text.strip() for text in raw):
        found = f"{len(raw)} slides with {pictures} pictures"
        raise unreadable(path, what="the presentation has no text", found=found, do="leave it out")
    title = (presentation.core_properties.title or "").strip()
    metadata = {"title": "" if NO_TITLE.match(title) else title}
    notices += unread_pictures(pictures)
    return ReadDocument(path.name, tuple(blocks), tuple(raw), metadata=metadata, notices=tuple(notices))


def _slide_blocks(slide: Any, page: int) -> Iterator[Block]:
    """A slide's heading (its number where it has no title, so that slides stay apart), its shapes, its notes."""
    place = Place(page)
    title = slide.shapes.title
    text = " ".join(title.text_frame.text.split()) if title is not None else ""
    body = [block for shape in _in_order(slide.shapes) if not _is(shape, title) for block in _blocks(shape, page)]
    notes = _notes(slide)
    if text or body or notes:
        yield Heading(text or f"Slide {page}", 1, place=place)
    yield from body
    yield from (Paragraph(note, role="notes", place=place) for note in notes)


def _is(shape: Any, other: Any) -> bool:
    return other is not None and shape.shape_id == other.shape_id


def _in_order(shapes: Iterable[Any]) -> Iterator[Any]:
    """Shapes from the top down and from left to right, those of a group together."""
    placed = [shape for shape in shapes if not _is_furniture(shape)]
    for shape in sorted(placed, key=lambda shape: (_points(shape.top) // _LINE_POINTS, _points(shape.left))):
        if shape.shape_type is not None and shape.shape_type.name == "GROUP":
            yield from _in_order(shape.shapes)
        else:
            yield shape


def _points(length: int | None) -> float:
    return (length or 0) / _EMU_PER_POINT


def _is_furniture(shape: Any) -> bool:
    return bool(shape.is_placeholder) and shape.placeholder_format.type.name in (
        "SLIDE_NUMBER",
        "DATE",
        "FOOTER",
        "HEADER",
    )


def _blocks(shape: Any, page: int) -> Iterator[Block]:
    left, top = _points(shape.left), _points(shape.top)
    place = Place(page, (left, top, left + _points(shape.width), top + _points(shape.height)))
    if shape.has_text_frame:
        yield from _text_blocks(shape, place)
    elif shape.has_table:
        if (table := _table(shape.table, place)).rows:
            yield table
    elif shape.has_chart and (chart := _chart(shape.chart, place)).rows:
        yield chart


def _text_blocks(shape: Any, place: Place) -> Iterator[Block]:
    """A text frame: several paragraphs of a slide's body are a list, those of a text box stand for themselves."""
    lines = [(p.level, " ".join(p.text.split())) for p in shape.text_frame.paragraphs if p.text.strip()]
    is_body = shape.is_placeholder and shape.placeholder_format.type.name in ("BODY", "OBJECT", "VERTICAL_BODY")
    if is_body and len(lines) > 1:
        yield ListBlock(tuple((level, f"- {text}") for level, text in lines), place=place)
        return
    run: list[tuple[int, str]] = []
    for paragraph, (level, text) in zip((p for p in shape.text_frame.paragraphs if p.text.strip()), lines, strict=True):
        if _has_bullet(paragraph):
            run.append((level, f"- {text}"))
            continue
        if run:
            yield ListBlock(tuple(run), place=place)
        run = []
        yield Paragraph(text, place=place)
    if run:
        yield ListBlock(tuple(run), place=place)


def _has_bullet(paragraph: Any) -> bool:
    properties = paragraph._p.pPr
    return properties is not None and any(child.tag.endswith(("}buChar", "}buAutoNum")) for child in properties)


def _table(table: Any, place: Place) -> Table:
    """A table; a cell merged downwards stands in each of its rows."""
    rows: list[list[str]] = []
    origins: dict[tuple[int, int], str] = {}
    for number, row in enumerate(table.rows):
        texts = []
        for column, cell in enumerate(row.cells):
            text = " ".join(cell.text.split())
            if cell.is_merge_origin:
                origins.update({(number + below, column): text for below in range(cell.span_height)})
            texts.append(origins.get((number, column), "") if cell.is_spanned else text)
        rows.append(texts)
    kept = [row for row in rows if any(row)]
    return Table(even_rows(kept), header_rows=min(1, max(len(kept) - 1, 0)), place=place)


def _chart(chart: Any, place: Place) -> Table:
    """A chart's numbers: categories down, series across."""
    title = chart.chart_title.text_frame.text if chart.has_title and chart.chart_title.has_text_frame else ""
    plots = list(chart.plots)
    categories = [str(category) for category in plots[0].categories] if plots else []
    series = [(one.name or "", list(one.values)) for plot in plots for one in plot.series]
    rows = [["", *(name for name, _ in series)]]
    for index, category in enumerate(categories):
        rows.append([category, *(shown(values[index]) if index < len(values) else "" for _, values in series)])
    return Table(even_rows(rows if categories else []), header_rows=1, caption=" ".join(title.split()), place=place)


def _notes(slide: Any) -> list[str]:
    frame = slide.notes_slide.notes_text_frame if slide.has_notes_slide else None
    if frame is None:
        return []
    return [text for paragraph in frame.paragraphs if (text := " ".join(paragraph.text.split()))]


def _raw_text(slide: Any) -> str:
    """Every run of a slide's text, whatever shape holds it, and its notes; a field, as its number is, is no text."""
    runs = [
        "".join(part.text or ("\n" if part.tag.endswith("}br") else "") for part in paragraph.iter() if _is_text(part))
        for paragraph in slide.element.iter("{http://schemas.openxmlformats.org/drawingml/2006/main}p")
    ]
    return "\n".join([*filter(None, runs), *_notes(slide)])


def _is_text(part: Any) -> bool:
    return part.tag.endswith(("}t", "}br")) and not part.getparent().tag.endswith("}fld")

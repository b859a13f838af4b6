"""Word documents: headings, numbered lists, tables with merged cells, notes and text boxes, in the body's order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

from ragtune.documents.blocks import Block, Code, Heading, ListBlock, Paragraph, ReadDocument, Table
from ragtune.documents.docx_numbering import Numbering
from ragtune.documents.docx_styles import Styles
from ragtune.documents.docx_text import W, body_children, is_on, paragraph_text
from ragtune.documents.html_blocks import even_rows
from ragtune.documents.readers import unreadable
from ragtune.errors import MissingExtraError

NO_TITLE = re.compile(
    r"^(?:microsoft (?:word|powerpoint)\b.*|powerpoint presentation|word document|document\d*|untitled.*"
    r"|.*\.(?:docx?|pptx?))$",
    re.IGNORECASE,
)
"""Titles that programs fill in by themselves."""
PICTURE = "{http://schemas.openxmlformats.org/drawingml/2006/main}blip"


def read(path: Path) -> ReadDocument:
    """The body of a Word document; headers, footers, comments, tracked deletions and the contents are left out."""
    try:
        from docx import Document
        from docx.opc.constants import RELATIONSHIP_TYPE
    except ImportError as error:
        raise MissingExtraError(package="python-docx", extra="ingest", needed_for="reading DOCX") from error
    document = Document(str(path))
    related = {relation.reltype: relation for relation in document.part.rels.values() if not relation.is_external}

    def part(kind: str) -> Any | None:
        return _root(related[kind].target_part) if kind in related else None

    notes = {
        "footnotes": _notes(part(RELATIONSHIP_TYPE.FOOTNOTES)),
        "endnotes": _notes(part(RELATIONSHIP_TYPE.ENDNOTES)),
    }
    walker = _Walker(Styles(document.styles.element), Numbering(part(RELATIONSHIP_TYPE.NUMBERING)), notes)
    blocks = walker.blocks_of(document.element.body)
    raw = "\n".join(filter(None, walker.raw))
    pictures = sum(1 for _ in document.element.body.iter(PICTURE))
    if not raw.strip():
        found = f"{pictures} pictures" if pictures else "an empty body"
        raise unreadable(path, what="the document has no text", found=found, do="leave it out")
    title = walker.title or (document.core_properties.title or "").strip()
    metadata = {"title": "" if NO_TITLE.match(title) else title}
    return ReadDocument(path.name, _under_title(blocks), (raw,), metadata=metadata, notices=unread_pictures(pictures))


def unread_pictures(count: int) -> tuple[str, ...]:
    """A notice that says how many pictures were not looked at."""
    return (f"{count} picture{'s' if count > 1 else ''} not read",) if count else ()


def _root(part: Any) -> Any:
    from docx.oxml.parser import parse_xml

    return parse_xml(part.blob)


def _notes(root: Any | None) -> dict[str, str]:
    """Id -> text of the footnotes or endnotes; the lines that separate them have a type and are none."""
    if root is None:
        return {}
    plain = (note for note in root if note.get(f"{W}type") in (None, "normal"))
    return {note.get(f"{W}id"): " ".join(paragraph_text(p).text for p in note.iter(f"{W}p")).strip() for note in plain}


def _under_title(blocks: list[Block]) -> tuple[Block, ...]:
    """Levels from 1: where the document's title stands in its body (level 0), every heading is one deeper."""
    lift = any(isinstance(block, Heading) and block.level == 0 for block in blocks)
    return tuple(Heading(b.text, b.level + lift, place=b.place) if isinstance(b, Heading) else b for b in blocks)


@final
class _Walker:
    """Goes through a body once, in order, so that lists count on; ``raw`` is every paragraph's text as it was met."""

    def __init__(self, styles: Styles, numbering: Numbering, notes: dict[str, dict[str, str]]) -> None:
        self._styles, self._numbering, self._notes = styles, numbering, notes
        self.raw: list[str] = []
        self.title = ""

    def blocks_of(self, container: Any) -> list[Block]:
        blocks: list[Block] = []
        for element in body_children(container):
            for block in self._paragraph(element) if element.tag == f"{W}p" else self._table(element):
                _append(blocks, block)
        return blocks

    def _paragraph(self, element: Any) -> Iterator[Block]:
        if self._styles.is_contents(element):
            return
        said = paragraph_text(element)
        self.raw.append(said.text)
        if said.text:
            yield self._block(element, said.text)
        for kind, identity in said.notes:
            if text := self._notes[kind].get(identity):
                self.raw.append(text)
                yield Paragraph(text, role="footnote")
        for box in said.boxes:
            yield from self.blocks_of(box)

    def _block(self, element: Any, text: str) -> Block:
        level = self._styles.heading_level(element)
        place = self._styles.list_place(element)
        marker = self._numbering.marker(*place) if place else ""
        if level is not None:
            self.title = self.title or (text if level == 0 else "")
            numbered = marker if marker != "-" else ""
            return Heading(" ".join(f"{numbered} {text}".split()), level)
        if place:
            return ListBlock(((place[1], f"{marker} {' '.join(text.split())}".strip()),))
        role = self._styles.role(element)
        return Code(text) if role == "code" else Paragraph(text, role=role)

    def _table(self, element: Any) -> Iterator[Block]:
        rows: list[list[str]] = []
        header = 0
        open_cells: dict[int, str] = {}  # column -> text of the cell that goes on below
        lines = [row for row in element.iter(f"{W}tr") if _table_of(row) is element]
        cells = [cell for row in lines for cell in row.iter(f"{W}tc") if _row_of(cell) is row]
        if len(cells) == 1:
            yield from self.blocks_of(cells[0])  # a frame around text
            return
        for line in lines:
            if line.find(f"{W}trPr/{W}del") is not None:
                continue
            if is_on(line.find(f"{W}trPr/{W}tblHeader")) and header == len(rows):
                header += 1
            rows.append(self._row(line, open_cells))
        kept = even_rows([row for row in rows if any(row)])
        if kept:
            yield Table(kept, header_rows=min(header or 1, len(kept) - 1))

    def _row(self, line: Any, open_cells: dict[int, str]) -> list[str]:
        before = line.find(f"{W}trPr/{W}gridBefore")
        row = [""] * (0 if before is None else int(before.get(f"{W}val")))
        for cell in (cell for cell in line.iter(f"{W}tc") if _row_of(cell) is line):
            span = cell.find(f"{W}tcPr/{W}gridSpan")
            merge = cell.find(f"{W}tcPr/{W}vMerge")
            goes_on = merge is not None and merge.get(f"{W}val") != "restart"
            text = open_cells.get(len(row), "") if goes_on else self._cell_text(cell)
            if merge is not None:
                open_cells[len(row)] = text
            columns = 1 if span is None else int(span.get(f"{W}val"))
            row += [text, *[""] * (columns - 1)]
        return row

    def _cell_text(self, cell: Any) -> str:
        texts: list[str] = []
        for block in self.blocks_of(cell):
            match block:
                case ListBlock(items=items):
                    texts += [text for _, text in items]
                case Table(rows=rows):
                    texts += ["; ".join(filter(None, row)) for row in rows]
                case Heading(text=text) | Paragraph(text=text) | Code(text=text):
                    texts.append(text)
        return "\n".join(texts)


def _append(blocks: list[Block], block: Block) -> None:
    """Add a block; items that follow each other are one list, lines of code one block."""
    last = blocks[-1] if blocks else None
    if isinstance(block, ListBlock) and isinstance(last, ListBlock):
        blocks[-1] = ListBlock((*last.items, *block.items))
    elif isinstance(block, Code) and isinstance(last, Code):
        blocks[-1] = Code(f"{last.text}\n{block.text}")
    else:
        blocks.append(block)


def _table_of(element: Any) -> Any:
    return next(element.iterancestors(f"{W}tbl"))


def _row_of(element: Any) -> Any:
    return next(element.iterancestors(f"{W}tr"))

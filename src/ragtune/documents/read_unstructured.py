"""Any file that unstructured partitions, as blocks: from the elements' ``to_dict``."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, final

from ragtune.documents.blocks import Block, Code, Heading, ListBlock, Paragraph, Place, ReadDocument, Table
from ragtune.documents.read_pdf import text_layer
from ragtune.documents.readers import detect_reader
from ragtune.errors import MissingExtraError

_FURNITURE = ("Header", "Footer", "PageNumber", "PageBreak")
_ROLES = {"FigureCaption": "caption", "Formula": "formula"}


def require() -> None:
    """Raise MissingExtraError when unstructured is not installed."""
    if importlib.util.find_spec("unstructured") is None:
        raise MissingExtraError(package="unstructured", extra="unstructured", needed_for="--reader unstructured")


def read(path: Path) -> ReadDocument:
    """The blocks of a file; a PDF's text layer is read beside it, so that what is left out is told."""
    kind = detect_reader(path).name
    from unstructured.partition.auto import partition

    elements = [element.to_dict() for element in partition(filename=str(path))]
    layer = text_layer(path) if kind == "pdf" else _own_text(elements)
    running: dict[int, list[str]] = {}
    for element in elements:
        if element["type"] in _FURNITURE:
            running.setdefault(_page(element) or 1, []).append(element["text"])
    return ReadDocument(
        name=path.name, blocks=tuple(blocks_of(elements)), raw_pages=layer, metadata={"running_lines": running}
    )


def blocks_of(elements: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    """The blocks of elements as dictionaries, in their order; page headers and footers are left out."""
    items: list[Mapping[str, Any]] = []
    for element in elements:
        if element["type"] == "ListItem":
            items.append(element)
            continue
        if items:
            yield _list(items)
            items = []
        if element["type"] not in _FURNITURE and element["text"].strip():
            yield _block(element)
    if items:
        yield _list(items)


def _block(element: Mapping[str, Any]) -> Block:
    kind, text, place = element["type"], element["text"].strip(), _place(element)
    metadata = element.get("metadata", {})
    if kind == "Title":
        # the depth counts from 0, the outermost
        return Heading(text, level=int(metadata.get("category_depth") or 0) + 1, place=place)
    if kind == "CodeSnippet":
        return Code(text, place=place)
    if kind == "Table" and (rows := _rows(metadata.get("text_as_html", ""))):
        return Table(rows, place=place)
    return Paragraph(text, role=_ROLES.get(kind, "text"), place=place)


def _list(items: Sequence[Mapping[str, Any]]) -> ListBlock:
    rows = ((int(item.get("metadata", {}).get("category_depth") or 0), item["text"].strip()) for item in items)
    return ListBlock(tuple((depth, f"- {text}") for depth, text in rows), place=_place(items[0]))


def _page(element: Mapping[str, Any]) -> int | None:
    page: int | None = element.get("metadata", {}).get("page_number")
    return page


def _place(element: Mapping[str, Any]) -> Place:
    page = _page(element)
    points = (element.get("metadata", {}).get("coordinates") or {}).get("points")
    if not points:
        return Place(page=page)
    across, down = [float(x) for x, _ in points], [float(y) for _, y in points]
    return Place(page=page, box=(min(across), min(down), max(across), max(down)))


def _own_text(elements: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return ("\n".join(element["text"] for element in elements if element["type"] not in _FURNITURE),)


def _rows(html: str) -> tuple[tuple[str, ...], ...]:
    table = _TableText()
    table.feed(html)
    wide = max(map(len, table.rows), default=0)
    return tuple(tuple(row + [""] * (wide - len(row))) for row in table.rows)


@final
class _TableText(HTMLParser):
    """The cell texts of a table written in HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """A row or a cell begins."""
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        """Text of the cell that is open."""
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] = " ".join(f"{self.rows[-1][-1]} {data}".split())

"""A tree of HTML as blocks: headings, paragraphs, lists, tables with their spans, code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, final

from ragtune.documents.blocks import Block, Code, Heading, ListBlock, Paragraph, Table

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

_BLOCKS = frozenset(
    """
    address article aside blockquote body center dd details div dl dt fieldset figcaption figure footer form h1 h2 h3
    h4 h5 h6 header hr html legend li main ol p pre section summary table tbody td tfoot th thead tr ul
    """.split()  # noqa: SIM905
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_LANGUAGE = re.compile(r"\b(?:language|lang|highlight-source|brush:)[-\s]?([\w+#]+)")
_INVISIBLE = {ord(character): None for character in "\u200b\ufeff\xad"}
"""Zero-width spaces, marks and soft hyphens: they would part words that read as one."""
_MOST_SPAN = 200
"""A cell that claims more columns or rows than this is a mistake."""


def html_blocks(root: LexborNode) -> list[Block]:
    """The blocks below a node, in order."""
    builder = _Builder()
    builder.walk(root)
    builder.flush()
    return builder.blocks


@final
class _Builder:
    """Collects inline text until a block begins or ends."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._text: list[str] = []

    def flush(self, role: str = "text") -> None:
        text = tidy("".join(self._text))
        self._text.clear()
        if text:
            self.blocks.append(Paragraph(text, role=role))

    def walk(self, node: LexborNode) -> None:
        for child in node.iter(include_text=True):
            tag = child.tag or ""
            if tag == "-text":
                self._text.append(re.sub(r"\s+", " ", _visible(child)))
            elif tag == "br":
                self._text.append("\n")
            elif tag in _BLOCKS:
                self.flush()
                self._block(child, tag)
            elif tag != "-comment":
                self.walk(child)

    def _block(self, node: LexborNode, tag: str) -> None:
        if tag in _HEADINGS:
            if text := inline_text(node):
                self.blocks.append(Heading(" ".join(text.split()), _HEADINGS[tag]))
        elif tag in ("ul", "ol", "dl"):
            self._list(node)
        elif tag == "table" and not is_layout(node):
            if (table := html_table(node)).rows:
                self.blocks.append(table)
        elif tag == "pre":
            text = (node.text() or "").strip("\n")
            if text.strip():
                self.blocks.append(Code(text, language=code_language(node)))
        else:
            self.walk(node)
            self.flush("caption" if tag == "figcaption" else "text")

    def _list(self, node: LexborNode) -> None:
        """A list; where an item holds a table, code or heading, the list ends and goes on after it."""
        items: list[tuple[int, str]] = []
        for part in list_items(node, 0):
            if isinstance(part, tuple):
                items.append(part)
                continue
            if items:
                self.blocks.append(ListBlock(tuple(items)))
            items = []
            self._block(part, part.tag or "")
        if items:
            self.blocks.append(ListBlock(tuple(items)))


def list_items(node: LexborNode, depth: int) -> Iterator[tuple[int, str] | LexborNode]:
    """(depth, text with marker) of every item below a list, and the nodes in it that are no running text."""
    number = int(start) if (start := node.attributes.get("start") or "1").isdigit() else 1
    for item in node.iter():
        if item.tag in ("ul", "ol", "dl"):
            yield from list_items(item, depth + 1)
            continue
        if item.tag == "div" and node.tag == "dl":
            yield from list_items(item, depth)  # dl groups its pairs in div
            continue
        marker = {"ol": f"{number}. ", "ul": "- "}.get(node.tag or "", "")
        number += item.tag == "li"
        own: list[str] = []
        later: list[LexborNode] = []
        _gather(item, own, later)
        if text := " ".join(tidy("".join(own)).split()):
            deeper = item.tag == "dd"
            yield depth + deeper, marker + text
        for inner in later:
            if inner.tag in ("ul", "ol", "dl"):
                yield from list_items(inner, depth + 1)
            else:
                yield inner


def _gather(node: LexborNode, text: list[str], later: list[LexborNode]) -> None:
    """The running text of an item, and what in it must stand apart."""
    for child in node.iter(include_text=True):
        tag = child.tag or ""
        if tag == "-text":
            text.append(_visible(child))
        elif tag in ("ul", "ol", "dl", "pre") or tag in _HEADINGS or (tag == "table" and not is_layout(child)):
            later.append(child)
        elif tag != "-comment":
            text.append(" " if tag in _BLOCKS or tag == "br" else "")
            _gather(child, text, later)
            text.append(" " if tag in _BLOCKS else "")


def inline_text(node: LexborNode) -> str:
    """The text below a node as one line."""
    text: list[str] = []
    _gather_all(node, text)
    return " ".join("".join(text).split())


def _gather_all(node: LexborNode, text: list[str]) -> None:
    for child in node.iter(include_text=True):
        tag = child.tag or ""
        if tag == "-text":
            text.append(_visible(child))
        elif tag != "-comment":
            edge = " " if tag in _BLOCKS or tag == "br" else ""
            text.append(edge)
            _gather_all(child, text)
            text.append(edge)


def _visible(node: LexborNode) -> str:
    return (node.text_content or "").translate(_INVISIBLE)


def tidy(text: str) -> str:
    """Spaces run together, and none at the ends of lines."""
    lines = (re.sub(r"[ \t\r\f\v\xa0]+", " ", line).strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def code_language(node: LexborNode) -> str:
    """The language that a ``pre`` or its ``code`` names in its class."""
    inner = node.css_first("code")
    names = [found.attributes.get("class") or "" for found in (node, inner) if found is not None]
    found = _LANGUAGE.search(" ".join(names))
    return found.group(1) if found else ""


def is_layout(table: LexborNode) -> bool:
    """Whether a table only places things: it says so, holds a table or headings, or has a single cell."""
    if (table.attributes.get("role") or "") in ("presentation", "none"):
        return True
    inner = [node for node in table.css("table, h1, h2, h3") if node.mem_id != table.mem_id]
    return bool(inner) or len(table.css("td, th")) <= 1


def html_table(table: LexborNode) -> Table:
    """A table with its spans filled: a cell over several rows stands in each, a heading over several columns too."""
    found = table.css_first("caption")
    caption = inline_text(found) if found else ""
    rows: list[list[str]] = []
    heads: list[bool] = []
    open_cells: dict[int, tuple[int, str]] = {}  # column -> (rows still to fill, text)
    for row in table.css("tr"):
        cells = [cell for cell in row.iter() if cell.tag in ("td", "th")]
        if not rows and len(cells) == 1 and cells[0].tag == "th" and not caption:
            caption = inline_text(cells[0])  # one heading over all columns
            continue
        in_head = row.parent is not None and row.parent.tag == "thead"
        head = len(cells) > 1 and (in_head or all(cell.tag == "th" for cell in cells))
        filled = _fill_row(cells, open_cells, head=head)
        if any(filled):
            rows.append(filled)
            heads.append(head)
    header = next((count for count, head in enumerate(heads) if not head), len(rows))
    if not table.css("th") and len(rows) > 2:
        header = 1  # no cell says that it is a heading; then the first row mostly is
    return Table(even_rows(rows), header_rows=min(header, max(len(rows) - 1, 0)), caption=caption)


def even_rows(rows: list[list[str]]) -> tuple[tuple[str, ...], ...]:
    """Rows of one width, empty cells at the ends of the short ones.

    >>> even_rows([["a", "b"], ["c"]])
    (('a', 'b'), ('c', ''))
    """
    width = max(map(len, rows), default=0)
    return tuple((*row, *[""] * (width - len(row))) for row in rows)


def _fill_row(cells: list[LexborNode], open_cells: dict[int, tuple[int, str]], *, head: bool) -> list[str]:
    row: list[str] = []

    def fill_open() -> None:
        while len(row) in open_cells:
            left, text = open_cells.pop(len(row))
            if left > 1:
                open_cells[len(row)] = left - 1, text
            row.append(text)

    for cell in cells:
        fill_open()
        text = inline_text(cell)
        columns, rows = _span(cell, "colspan"), _span(cell, "rowspan")
        for number in range(columns):
            shown = text if number == 0 or head else ""
            if rows > 1:
                open_cells[len(row)] = rows - 1, shown
            row.append(shown)
    fill_open()
    return row


def _span(cell: LexborNode, name: str) -> int:
    value = cell.attributes.get(name) or "1"
    return min(max(int(value), 1), _MOST_SPAN) if value.isdigit() else 1

"""A document as one text, and where each block stands in it: the ground that spans are measured on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import final

from ragtune.documents.blocks import Block, Code, Heading, ListBlock, Paragraph, ReadDocument, Table

CELL_SEPARATOR = " | "
BLOCK_SEPARATOR = "\n\n"


@final
@dataclass(frozen=True, slots=True)
class LinearBlock:
    """A block and its place in the document's text: ``text == document_text(document)[start:end]``."""

    block: Block
    text: str
    start: int

    @property
    def end(self) -> int:
        """The character after the block's last."""
        return self.start + len(self.text)


def document_text(document: ReadDocument) -> str:
    """The document as one text: blocks with an empty line between, a table one row a line, its cells between ``|``.

    >>> rows = (("part", "price"), ("bolt", "2"))
    >>> from ragtune.documents.blocks import Heading, Table
    >>> print(document_text(ReadDocument("a", (Heading("Parts", 1), Table(rows, caption="Prices")), ())))
    Parts
    <BLANKLINE>
    Prices
    part | price
    bolt | 2
    """
    return BLOCK_SEPARATOR.join(placed.text for placed in linear_blocks(document))


def linear_blocks(document: ReadDocument) -> list[LinearBlock]:
    """Every block that holds text, with its place in ``document_text``."""
    placed, start = [], 0
    for block in document.blocks:
        if text := block_text(block):
            placed.append(LinearBlock(block, text, start))
            start += len(text) + len(BLOCK_SEPARATOR)
    return placed


@singledispatch
def block_text(block: Block) -> str:
    """A block as it stands in ``document_text``; empty when there is nothing in it to read."""
    raise TypeError(f"no text form for {type(block).__name__}")


@block_text.register
def _(block: Heading) -> str:
    return " ".join(block.text.split())


@block_text.register
def _(block: Paragraph) -> str:
    # a line drawn between parts says nothing
    return block.text.strip() if any(map(str.isalnum, block.text)) else ""


@block_text.register
def _(block: ListBlock) -> str:
    return "\n".join("  " * depth + " ".join(item.split()) for depth, item in block.items if item.strip())


@block_text.register
def _(block: Table) -> str:
    return "\n".join([*table_head(block), *table_body(block)])


@block_text.register
def _(block: Code) -> str:
    return block.text.strip("\n") if block.text.strip() else ""


def table_head(table: Table) -> list[str]:
    """The lines over a table's rows: its caption and its header rows."""
    lines = [" ".join(table.caption.split()), *map(row_text, table.rows[: table.header_rows])]
    return [line for line in lines if line]


def table_body(table: Table) -> list[str]:
    """A table's rows below its header, one line each; a row of empty cells is none."""
    return [line for line in map(row_text, table.rows[table.header_rows :]) if line]


def row_text(row: tuple[str, ...]) -> str:
    r"""A table's row as one line; empty when all of its cells are.

    >>> row_text(("a", " b\nc", "")), row_text(("", ""))
    ('a | b c |', '')
    """
    cells = [" ".join(cell.split()) for cell in row]
    return CELL_SEPARATOR.join(cells).strip() if any(cells) else ""

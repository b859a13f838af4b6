"""Tables that go on over pages, and the captions that belong to tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ragtune.documents.read_pdf_grids import FoundTable
from ragtune.documents.read_pdf_layout import is_caption, join_lines
from ragtune.documents.read_pdf_text import Part, TablePart, TextPart

SAME_BORDER = 14.0
"""Columns of one table on two pages have their borders within this many points of one another."""


def join_tables(parts: Sequence[Part]) -> list[Part]:
    """Parts with the tables of consecutive pages that are one joined, and captions moved into their tables."""
    done: list[Part] = []
    last_page: dict[int, int] = {}
    for part in parts:
        before = done[-1] if done else None
        if isinstance(part, TablePart) and isinstance(before, TablePart):
            ended = last_page.get(id(before), before.page)
            if part.page == ended + 1 and (rows := _continued(before.table, part.table)) is not None:
                table = replace(before.table, rows=before.table.rows + rows)
                left_out = part.table.rows[: len(part.table.rows) - len(rows)]
                repeated = tuple((part.page, " ".join(row)) for row in left_out)
                done[-1] = replace(before, table=table, repeated=before.repeated + repeated)
                last_page[id(done[-1])] = part.page
                continue
        if isinstance(part, TablePart) and isinstance(before, TextPart):
            text = join_lines(before.lines)
            if is_caption(text) and before.page == part.page:
                done[-1] = replace(part, caption=text)
                continue
        done.append(part)
    return done


def _continued(first: FoundTable, second: FoundTable) -> tuple[tuple[str, ...], ...] | None:
    """The rows that ``second`` adds to ``first``, its repeated header left out; None when it is another table."""
    if first.ruled != second.ruled or len(first.rows[0]) != len(second.rows[0]):
        return None
    near = all(abs(a - b) <= SAME_BORDER for a, b in zip(first.edges[1:-1], second.edges[1:-1], strict=True))
    if not near:
        return None
    if first.header_rows and second.rows[: first.header_rows] == first.rows[: first.header_rows]:
        return second.rows[first.header_rows :]
    if second.header_rows and not first.ruled:
        # a header of its own begins a table of its own
        return None
    return second.rows

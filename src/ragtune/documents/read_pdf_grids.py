"""Tables whose cells are ruled: horizontal and vertical lines that cross make a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import final

from ragtune.documents.read_pdf_layout import Piece, join_lines, looks_numeric, pieces_of, rows_of
from ragtune.documents.read_pdf_words import Box, Word

NEAR = 3.0
"""Two lines this near (points) meet, or are one."""

MOST_LINES = 4000
"""A page with more ruled lines than this is a drawing."""


@final
@dataclass(frozen=True, slots=True)
class FoundTable:
    """A table on one page. ``edges`` are the columns' borders from left to right, in points."""

    rows: tuple[tuple[str, ...], ...]
    header_rows: int
    edges: tuple[float, ...]
    box: Box
    ruled: bool


@final
@dataclass(slots=True)
class _Grid:
    across: list[Box]
    down: list[Box]

    def edges(self) -> tuple[list[float], list[float]]:
        """Borders of columns and of rows; horizontal lines that reach further than the vertical ones add a column."""
        ends = [median(line[0] for line in self.across), median(line[2] for line in self.across)]
        return _merged([line[0] for line in self.down] + ends), _merged([line[1] for line in self.across])


def ruled_tables(words: Sequence[Word], lines: Sequence[Box]) -> tuple[list[FoundTable], list[Word]]:
    """The ruled tables of a page, and the words that stand in none of them."""
    tables: list[FoundTable] = []
    rest = list(words)
    if len(lines) > MOST_LINES:
        return tables, rest
    for grid in _grids(lines):
        xs, ys = grid.edges()
        if len(xs) < 3 or len(ys) < 2 or (len(xs) - 1) * (len(ys) - 1) < 3:
            continue
        box = (xs[0], ys[0], xs[-1], ys[-1])
        inside = [word for word in rest if _holds(box, word)]
        rows = _cells(inside, grid, xs, ys)
        if sum(any(row) for row in rows) < 2 or _filled_columns(rows) < 2:
            continue
        taken = set(map(id, inside))
        rest = [word for word in rest if id(word) not in taken]
        tables.append(_found(rows, xs, box))
    return tables, rest


def _found(rows: list[list[str]], xs: list[float], box: Box) -> FoundTable:
    used = [i for i in range(len(xs) - 1) if any(row[i] for row in rows)]
    kept = tuple(tuple(row[i] for i in used) for row in rows if any(row))
    header = int(not any(looks_numeric(cell) for cell in kept[0][1:]) and len(kept) > 1)
    edges = (*(xs[i] for i in used), xs[-1])
    return FoundTable(rows=kept, header_rows=header, edges=edges, box=box, ruled=True)


def _filled_columns(rows: list[list[str]]) -> int:
    return sum(any(row[i] for row in rows) for i in range(len(rows[0]))) if rows else 0


def _holds(box: Box, word: Word) -> bool:
    x, y = (word.left + word.right) / 2, (word.top + word.bottom) / 2
    return box[0] - 1 <= x <= box[2] + 1 and box[1] - 1 <= y <= box[3] + 1


def _merged(values: Sequence[float]) -> list[float]:
    """Values in order, those that are nearly equal as their first."""
    kept: list[float] = []
    for value in sorted(values):
        if not kept or value - kept[-1] > NEAR:
            kept.append(value)
    return kept


def _grids(lines: Sequence[Box]) -> list[_Grid]:
    """Lines that hang together by crossings, as grids, from the top down."""
    across = joined_lines([line for line in lines if line[1] == line[3]], along=0)
    down = joined_lines([line for line in lines if line[1] != line[3]], along=1)
    parent = list(range(len(across) + len(down)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, h in enumerate(across):
        for j, v in enumerate(down, start=len(across)):
            if h[0] - NEAR <= v[0] <= h[2] + NEAR and v[1] - NEAR <= h[1] <= v[3] + NEAR:
                parent[root(i)] = root(j)
    groups: dict[int, _Grid] = {}
    for i, line in enumerate(across + down):
        grid = groups.setdefault(root(i), _Grid([], []))
        (grid.across if i < len(across) else grid.down).append(line)
    whole = [grid for grid in groups.values() if len(grid.across) >= 2 and len(grid.down) >= 2]
    return sorted(whole, key=lambda grid: grid.across[0][1])


def joined_lines(lines: list[Box], *, along: int) -> list[Box]:
    """Pieces of one line joined; a cell border drawn cell by cell becomes one line."""
    other = 1 - along
    done: list[Box] = []
    for line in sorted(lines, key=lambda b: (round(b[other] / 2), b[along])):
        last = done[-1] if done else None
        if last is not None and abs(last[other] - line[other]) <= 2 and line[along] <= last[along + 2] + NEAR:
            end = max(last[along + 2], line[along + 2])
            done[-1] = (last[0], last[1], end, last[3]) if along == 0 else (last[0], last[1], last[2], end)
        else:
            done.append(line)
    return done


def _cells(words: list[Word], grid: _Grid, xs: list[float], ys: list[float]) -> list[list[str]]:
    """Cell texts; a cell over several columns or rows gives its text to its first one."""
    home = _homes(grid, xs, ys)
    held: dict[tuple[int, int], list[Word]] = {}
    for word in words:
        row = _slot(ys, (word.top + word.bottom) / 2)
        column = _slot(xs, (word.left + word.right) / 2)
        held.setdefault(home[row, column], []).append(word)
    rows: list[list[str]] = []
    for r in range(len(ys) - 1):
        cells = [held.get((r, c), []) for c in range(len(xs) - 1)]
        rows.extend(_unruled_rows(cells))
    return rows


def _slot(edges: list[float], value: float) -> int:
    inner = (i for i, (start, end) in enumerate(pairwise(edges)) if start - 1 <= value <= end + 1)
    return next(inner, 0 if value < edges[0] else len(edges) - 2)


def _homes(grid: _Grid, xs: list[float], ys: list[float]) -> dict[tuple[int, int], tuple[int, int]]:
    """Every place of the grid -> the upper left place of the cell it belongs to."""
    home: dict[tuple[int, int], tuple[int, int]] = {}
    for r, (top, bottom) in enumerate(pairwise(ys)):
        for c, (left, right) in enumerate(pairwise(xs)):
            middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
            walled = c == 0 or any(abs(v[0] - left) <= NEAR and v[1] <= middle_y <= v[3] for v in grid.down)
            roofed = any(abs(h[1] - top) <= NEAR and h[0] <= middle_x <= h[2] for h in grid.across)
            if c and not walled:
                home[r, c] = home[r, c - 1]
            elif r and not roofed:
                home[r, c] = home[r - 1, c]
            else:
                home[r, c] = (r, c)
    return home


def _unruled_rows(cells: list[list[Word]]) -> list[list[str]]:
    """One row, or several where only columns are ruled: four lines or more that all fill most of the columns."""
    lines = [rows_of(pieces_of(words)) for words in cells]
    filled = [found for found in lines if found]
    counts = {len(found) for found in filled}
    if len(filled) >= 2 and len(counts) == 1 and counts.pop() >= 4 and _level(filled):
        return [[_line(found[i]) if found else "" for found in lines] for i in range(len(filled[0]))]
    return [[join_lines([_line(row) for row in found]) for found in lines]]


def _level(columns: list[list[list[Piece]]]) -> bool:
    """Whether the lines of all columns stand at the same heights."""
    return all(
        abs(row[0].bottom - first[0].bottom) < 2
        for rows in columns
        for row, first in zip(rows, columns[0], strict=True)
    )


def _line(row: list[Piece]) -> str:
    return " ".join(piece.text for piece in row)

"""Tables without ruled cells: rows whose pieces stand in columns, one below the other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import final

from ragtune.documents.read_pdf_grids import FoundTable, joined_lines
from ragtune.documents.read_pdf_layout import (
    CURRENCY,
    MARKER,
    Piece,
    Row,
    boxed,
    is_caption,
    join_lines,
    joined,
    looks_numeric,
)
from ragtune.documents.read_pdf_words import Box, Word

FAR = 2.6
"""A blank of this many line heights ends a table."""

ALIGNED_FAR = 4.5
"""The same for a row whose pieces stand exactly below those of the row before."""

NEAR_HEAD = 0.7
"""Before the first amounts, a single piece further below than this many line heights is no part of a table."""

LINE_SLACK = 6.0
"""A line below a heading may reach this far (points) into the blank beside its columns."""

_YEAR = re.compile(r"(?:fy|\dq|q\d|h\d)?[ '’]*(?:19|20)\d\d[a-z]?|[A-Z][a-z]{2,8}\.? \d{1,2},( \d{4})?", re.IGNORECASE)
_SPLIT_GAP = 0.45
"""Two words this far apart (letter heights) may stand in two columns; a word space is narrower."""


_COLUMN_GAP = 0.6
"""A blank of this many letter heights may be a column's border, when nearly all rows have one there."""


@final
@dataclass(frozen=True, slots=True)
class _Columns:
    """Where columns part (x, from left to right) and what they span."""

    parts: tuple[float, ...]
    left: float
    right: float

    def of(self, x: float) -> int:
        """The column that holds ``x``."""
        return sum(x > part for part in self.parts)

    def edges(self) -> tuple[float, ...]:
        """Borders of the columns."""
        return (self.left, *self.parts, self.right)


def find_tables(rows: Sequence[Row], lines: Sequence[Box]) -> list[FoundTable | Row]:
    """Rows of one region in order, those that are a table as a table; ``lines`` are the page's ruled lines."""
    lines = joined_lines([line for line in lines if line[1] == line[3]], along=0)
    found: list[FoundTable | Row] = []
    i = 0
    while i < len(rows):
        end = _run_end(rows, i) if len(rows[i]) > 1 else i
        table = _table(rows[i : end + 1], before=_titles(found), lines=lines) if end > i else None
        if table is None:
            found.append(rows[i])
            i += 1
            continue
        made, used_before = table
        del found[len(found) - used_before :]
        found.append(made)
        i = end + 1
    return found


def _run_end(rows: Sequence[Row], start: int) -> int:
    """The last row with several pieces that still belongs to the table which begins at ``start``."""
    wide = max(r[-1].right for r in rows) - min(r[0].left for r in rows)
    end, single = start, 0
    for j in range(start + 1, len(rows)):
        high = median(p.bottom - p.top for p in rows[j])
        gap = boxed(rows[j])[1] - boxed(rows[j - 1])[3]
        far = ALIGNED_FAR if _below_each_other(rows[end], rows[j]) else FAR
        if gap > far * high or _is_text(rows[j], wide):
            break
        # a heading of two pieces, then text: no table has begun
        if gap > NEAR_HEAD * high and len(rows[j]) == 1 and not any(map(_has_amount, rows[start:j])):
            break
        if len(rows[j]) > 1:
            end, single = j, 0
            continue
        single += 1
        if single > 3:
            break
    return end


def _below_each_other(above: Row, below: Row) -> bool:
    """Whether two rows have as many pieces, and those behind the first end at the same places."""
    pairs = list(zip(above, below, strict=False))[1:]
    return len(above) == len(below) > 2 and all(abs(a.right - b.right) <= 2.5 for a, b in pairs)


def _is_text(row: Row, wide: float) -> bool:
    """Whether a row is a caption or a line of running text, justified ones with wide blanks included."""
    words = [word for piece in row for word in piece.words]
    filled = sum(piece.right - piece.left for piece in row) > 0.8 * wide
    amounts = any(looks_numeric(piece.text) for piece in row)
    return is_caption(row[0].text) or (filled and len(words) > 7 and not amounts)


def _titles(found: Sequence[FoundTable | Row]) -> list[Row]:
    """The last rows before a table, at most three, each of one piece."""
    titles: list[Row] = []
    for item in reversed(found[-3:]):
        if isinstance(item, FoundTable) or len(item) > 1:
            break
        titles.insert(0, item)
    return titles


def _table(rows: Sequence[Row], *, before: list[Row], lines: Sequence[Box]) -> tuple[FoundTable, int] | None:
    several = [row for row in rows if len(row) > 1]
    columns = _columns(several)
    if len(several) < 2 or columns is None or _is_enumeration(several, columns):
        return None
    above = _over_columns(before, rows[0], columns)
    every = [*before[len(before) - above :], *rows]
    cells = [_cells(row, columns, spread=i < above or not _has_amount(row), lines=lines) for i, row in enumerate(every)]
    heads = _header_rows(every, cells, lines, least=above)
    cells = [cells[0]] if heads == 1 else [_stacked(cells[:heads])] if heads else []
    body = [_cells(row, columns, spread=False) for row in every[heads:]]
    rows_done = (*map(tuple, cells), *map(tuple, _unwrapped(every[heads:], body, columns)))
    if sum(len([c for c in row if c]) > 1 for row in rows_done) < 2:
        return None
    box = boxed([piece for row in every for piece in row])
    return FoundTable(rows=rows_done, header_rows=int(heads > 0), edges=columns.edges(), box=box, ruled=False), above


def _has_amount(row: Row) -> bool:
    return any(looks_numeric(piece.text) and not _YEAR.fullmatch(piece.text) for piece in row)


def _is_enumeration(rows: Sequence[Row], columns: _Columns) -> bool:
    """Whether the first of two columns holds list markers only: that is a list."""
    return len(columns.parts) == 1 and all(MARKER.fullmatch(row[0].text) for row in rows)


def _columns(rows: Sequence[Row]) -> _Columns | None:
    """Columns part where, over all rows with amounts, (nearly) nothing stands."""
    measured = [row for row in rows if _has_amount(row)]
    measured = measured if len(measured) >= 2 else list(rows)
    pieces = [piece for row in measured for piece in row]
    if not pieces:
        return None
    left, right = min(p.left for p in pieces), max(p.right for p in pieces)
    filled = [0] * (int(right - left) + 2)
    for words in (words for piece in pieces for words in _amounts_apart(piece)):
        for x in range(int(words[0].left - left), min(int(words[-1].right - left) + 1, len(filled))):
            filled[x] += 1
    most = len(measured) // 7
    parts, start = [], None
    for x, count in enumerate(filled):
        if count <= most and start is None:
            start = x
        elif count > most and start is not None:
            if start > 0 and x - start >= 3:
                parts.append(left + (start + x) / 2)
            start = None
    everything = [piece for row in rows for piece in row]
    edge = max(p.right for p in everything)
    return _Columns(tuple(parts), min(p.left for p in everything), edge) if parts else None


def _amounts_apart(piece: Piece) -> list[list[Word]]:
    """The words of a piece, parted at wider blanks and behind an amount that another or a currency sign follows."""
    parts = [[piece.words[0]]]
    for before, word in pairwise(piece.words):
        amounts = looks_numeric(before.text) and (looks_numeric(word.text) or word.text in CURRENCY)
        if amounts or (word.left - before.right > _COLUMN_GAP * word.size and before.text not in CURRENCY):
            parts.append([word])
        else:
            parts[-1].append(word)
    return parts


def _over_columns(before: list[Row], first: Row, columns: _Columns) -> int:
    """How many of the rows right above stand over the value columns: they belong to the header."""
    count, below = 0, boxed(first)[1]
    for row in reversed(before):
        piece = row[0]
        if piece.left < columns.parts[0] - 4 or below - piece.bottom > 1.0 * (piece.bottom - piece.top):
            break
        count, below = count + 1, piece.top
    return count


def _cells(row: Row, columns: _Columns, *, spread: bool, lines: Sequence[Box] = ()) -> list[str]:
    """The row's texts by column. A piece over several columns is cut where its words part, or, ``spread``, repeated.

    How far a piece reaches is also told by a ruled line right below it.
    """
    cells: list[list[Word]] = [[] for _ in range(len(columns.parts) + 1)]
    parts = [words for piece in row for words in _cut(piece, columns)]
    homes = [columns.of((words[0].left + words[-1].right) / 2) for words in parts]
    for words, home in zip(parts, homes, strict=True):
        left, right = _reach(words, lines) if spread else (words[0].left, words[-1].right)
        first, last = columns.of(left + 1), columns.of(right - 1)
        if not spread:
            cells[last if looks_numeric(joined(words)) else first].extend(words)
            continue
        for column in {home, *range(first, last + 1)}:
            if column == home or column not in homes:
                cells[column].extend(words)
    return [joined(words) for words in cells]


def _reach(words: Sequence[Word], lines: Sequence[Box]) -> tuple[float, float]:
    """From where to where a heading goes: its words, or the shortest line right below them that is longer."""
    left, right, bottom = words[0].left, words[-1].right, words[0].bottom
    below = [
        (line[0] + LINE_SLACK, line[2] - LINE_SLACK)
        for line in lines
        if -3 <= line[1] - bottom <= 5 and line[0] <= left + 2 and line[2] >= right - 2
    ]
    return min(below, key=lambda line: line[1] - line[0], default=(left, right))


def _cut(piece: Piece, columns: _Columns) -> list[list[Word]]:
    """The words of a piece, parted where a column's border lies in a wider gap or between two amounts."""
    parts: list[list[Word]] = []
    for word in piece.words:
        if parts:
            last = parts[-1][-1]
            border = any(last.right - 1 <= x <= word.left + 1 for x in columns.parts)
            wide = word.left - last.right > _SPLIT_GAP * word.size and last.text not in CURRENCY
            if border and (wide or (looks_numeric(last.text) and (looks_numeric(word.text) or word.text in CURRENCY))):
                parts.append([word])
                continue
            parts[-1].append(word)
        else:
            parts.append([word])
    return parts


def _header_rows(rows: Sequence[Row], cells: list[list[str]], lines: Sequence[Box], *, least: int) -> int:
    """How many rows name the columns: those before the first with an amount, when anything marks them as names."""
    heads = 0
    for texts in cells:
        values = [text for text in texts[1:] if text]
        amounts = [text for text in values if looks_numeric(text) and not _YEAR.fullmatch(text)]
        if amounts or (texts[0].endswith(":") and not values) or heads == 4:
            break
        heads += 1
    if heads == len(rows) or (heads > least and not any(_has_amount(row) for row in rows[heads:])):
        # no amounts anywhere: names are told by weight or by a line below them
        strong = all(piece.bold for piece in rows[0]) and not all(piece.bold for piece in rows[1])
        return max(least, int(strong or _underlined(rows, lines)))
    while heads > max(least, 1) and cells[heads - 1][0] and not any(cells[heads - 1][1:]):
        heads -= 1
    return heads if heads > least or least else 0


def _underlined(rows: Sequence[Row], lines: Sequence[Box]) -> bool:
    box, below = boxed(rows[0]), boxed(rows[1])
    return any(
        line[1] == line[3] and box[3] - 3 <= line[1] <= below[1] + 3 and line[2] - line[0] > 0.5 * (box[2] - box[0])
        for line in lines
    )


def _stacked(heads: list[list[str]]) -> list[str]:
    return [join_lines([text for text in column if text]) for column in zip(*heads, strict=True)]


def _unwrapped(rows: Sequence[Row], cells: list[list[str]], columns: _Columns) -> list[list[str]]:
    """Rows with the lines of a wrapped cell joined again."""
    widest = max((row[0].right for row in rows if columns.of(row[0].left + 1) == 0), default=0.0)
    done: list[list[str]] = []
    pending = False
    for i, (row, texts) in enumerate(zip(rows, cells, strict=True)):
        filled = [c for c, text in enumerate(texts) if text]
        lone = len(filled) == 1 and len(row) == 1
        close = i > 0 and boxed(row)[1] - boxed(rows[i - 1])[3] < 0.5 * (row[0].bottom - row[0].top)
        if pending and close and filled and filled[0] == 0:
            texts[0] = join_lines([done.pop()[0], texts[0]])
            lone = False
        elif lone and close and done and _continues(texts[filled[0]], done[-1][filled[0]], column=filled[0]):
            done[-1][filled[0]] = join_lines([done[-1][filled[0]], texts[filled[0]]])
            pending = False
            continue
        done.append(texts)
        pending = lone and filled[0] == 0 and not texts[0].endswith(":") and row[0].right > 0.85 * widest
        pending = pending and i + 1 < len(rows) and len(row[0].words) > 3
    return done


def _continues(text: str, above: str, *, column: int) -> bool:
    if not above or looks_numeric(text):
        return False
    return column > 0 or text[0].islower()

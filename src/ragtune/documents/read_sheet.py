"""Workbooks and separated values: every sheet as tables, with their titles and header rows."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from io import StringIO
from itertools import pairwise
from pathlib import Path

from ragtune.documents.blocks import Block, Heading, Paragraph, Place, ReadDocument, Table
from ragtune.documents.encoding import decode
from ragtune.documents.html_blocks import even_rows
from ragtune.documents.readers import unreadable
from ragtune.documents.sheet_values import shown
from ragtune.errors import MissingExtraError

_SEPARATORS = ",;\t|"
_SNIFFED_LINES = 200
_DEFAULT_NAME = re.compile(r"^(?:sheet|tabelle|feuil|hoja|foglio|工作表|表)\s*\d*$", re.IGNORECASE)
_NUMBER = re.compile(r"^[-+(]?[$€£¥]?\s?\d[\d.,\s]*%?\)?$")


def read(path: Path) -> ReadDocument:
    """The tables of a workbook (a sheet is a page) or of a file of separated values."""
    with open(path, "rb") as file:
        is_workbook = file.read(2) == b"PK"
    return _read_workbook(path) if is_workbook else _read_separated(path)


def _read_workbook(path: Path) -> ReadDocument:
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise MissingExtraError(package="openpyxl", extra="ingest", needed_for="reading XLSX") from error
    # values as last computed by the program that saved the file, not formulas
    book = load_workbook(path, read_only=True, data_only=True)
    blocks: list[Block] = []
    raw: list[str] = []
    notices: list[str] = []
    named = len(book.worksheets) > 1
    for page, sheet in enumerate(book.worksheets, 1):
        if sheet.sheet_state != "visible":
            notices.append(f"sheet {sheet.title!r} is hidden and left out")
            raw.append("")
            continue
        sheet.reset_dimensions()  # some programs write dimensions that are too small
        rows = [[shown(cell.value, cell.number_format) for cell in row] for row in sheet.iter_rows()]
        place = Place(page)
        tables = list(table_blocks(rows, place=place))
        if tables and (named or not _DEFAULT_NAME.match(sheet.title)):
            blocks.append(Heading(sheet.title, 1, place=place))
        blocks += tables
        raw.append("\n".join(" ".join(filter(None, row)) for row in rows if any(row)))
    title = book.properties.title or ""
    book.close()
    if not any(raw):
        do = (
            "leave it out; if it holds formulas only, open it in its own program and save it, so that values are stored"
        )
        raise unreadable(path, what="the workbook has no values", found=f"{len(raw)} empty sheets", do=do)
    return ReadDocument(path.name, tuple(blocks), tuple(raw), metadata={"title": title}, notices=tuple(notices))


def _read_separated(path: Path) -> ReadDocument:
    decoded = decode(path.read_bytes())
    separator = find_separator(decoded.text)
    reader = csv.reader(StringIO(decoded.text), delimiter=separator)
    rows = [[cell.strip() for cell in row] for row in reader]
    if not any(any(row) for row in rows):
        raise unreadable(path, what="the file has no values", found="separators and white space", do="leave it out")
    raw = decoded.text.replace(separator, " ").replace('"', " ")
    metadata = {"encoding": decoded.encoding}
    blocks = tuple(table_blocks(rows, place=Place()))
    return ReadDocument(path.name, blocks, (raw,), metadata=metadata, notices=decoded.notices)


def find_separator(text: str) -> str:
    r"""The separator that cuts most of the first lines into one same number of columns; a comma when none does.

    >>> find_separator("a;b;c\n1,5;2;3\n"), find_separator("a\tb, c\n1\t2")
    (';', '\t')
    """
    # a quoted cell may hold line breaks, so rows are read and not lines
    head = "\n".join(text.split("\n", _SNIFFED_LINES)[:_SNIFFED_LINES])
    best, best_score = ",", 0.0
    for separator in _SEPARATORS:
        widths = [len(row) for row in csv.reader(StringIO(head), delimiter=separator) if row]
        usual = max(set(widths), key=lambda width: (widths.count(width), width), default=1)
        score = widths.count(usual) / len(widths) if usual > 1 else 0.0
        if score > best_score:
            best, best_score = separator, score
    return best


def table_blocks(rows: Sequence[Sequence[str]], *, place: Place) -> Iterator[Block]:
    """Tables parted by empty rows. A line of a single cell is a table's caption, or text where no table follows."""
    for part in _regions(rows):
        captions: list[str] = []
        while part and len(part) > 1 and sum(map(bool, part[0])) == 1 and sum(map(bool, part[1])) != 0:
            if max(sum(map(bool, row)) for row in part[1:]) == 1:
                break  # a column, not a title over a table
            captions.append(next(filter(None, part.pop(0))))
        trimmed = _trim(part)
        if trimmed and len(trimmed[0]) == 1 and len(trimmed) <= 2:
            yield from (Paragraph(text, place=place) for row in trimmed if (text := row[0]))
            continue
        table = even_rows(trimmed)
        yield Table(table, header_rows=header_rows(table), caption=" ".join(captions), place=place)


def header_rows(rows: Sequence[Sequence[str]]) -> int:
    """1 where the first row names the columns: no number in it, and every column that is used has a name of its own."""
    if len(rows) < 2:
        return 0
    first = rows[0]
    names = [name for name in first if name]
    if any(_NUMBER.match(name) and not _is_year(name) for name in names) or len(set(names)) < len(names):
        return 0
    used = [any(row[column] for row in rows[1:]) for column in range(len(first))]
    # the corner over the row names may be empty
    return int(all(name or not is_used for name, is_used in list(zip(first, used, strict=True))[1:]))


def _is_year(text: str) -> bool:
    return bool(re.fullmatch(r"(?:19|20)\d\d", text))


def _regions(rows: Sequence[Sequence[str]]) -> Iterator[list[list[str]]]:
    """What stands between empty rows, and tables side by side each for itself."""
    for part in _parts(rows):
        sides = _sides(part)
        if len(sides) == 1:
            yield part
        else:
            for side in sides:
                yield from _parts(side)


def _parts(rows: Sequence[Sequence[str]]) -> Iterator[list[list[str]]]:
    part: list[list[str]] = []
    for row in (*rows, ()):
        if any(row):
            part.append(list(row))
        elif part:
            yield part
            part = []


def _sides(rows: list[list[str]]) -> list[list[list[str]]]:
    """Rows cut at the empty columns that part two tables; one side where there are none."""
    width = max(map(len, rows))
    even = even_rows(rows)
    used = [any(row[column] for row in even) for column in range(width)]
    starts = [column for column in range(width) if used[column] and (column == 0 or not used[column - 1])]
    bounds = [*starts, width]
    groups = [[list(row[start:stop]) for row in even] for start, stop in pairwise(bounds)]
    sides = groups[:1]
    for group in groups[1:]:
        if _apart(sides[-1], group):
            sides.append(group)
        else:
            sides[-1] = [[*left, *right] for left, right in zip(sides[-1], group, strict=True)]
    return sides


def _apart(left: list[list[str]], right: list[list[str]]) -> bool:
    """Whether an empty column parts two tables: they begin on other rows, or both have a header and row names.

    An empty column inside one table, as accountants set between years, has numbers at its right.
    """
    tops = [next(index for index, row in enumerate(side) if any(row)) for side in (left, right)]
    if abs(tops[0] - tops[1]) >= 2:
        return True
    filled = [_trim([row for row in side if any(row)]) for side in (left, right)]
    labels = [row[0] for row in filled[1][1:] if row[0]]
    named = bool(labels) and not any(map(_NUMBER.match, labels))
    return named and all(len(side[0]) > 1 and header_rows(side) == 1 for side in filled)


def _trim(rows: list[list[str]]) -> list[list[str]]:
    """Rows without the columns that are empty in all of them."""
    used = sorted({column for row in rows for column, cell in enumerate(row) if cell})
    return [[row[column] if column < len(row) else "" for column in used] for row in rows]

"""Reading text files line by line, and collecting everything that is wrong with them before saying so."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, final

from ragtune.errors import DataError, Problem, did_you_mean

PROBLEM_LIMIT = 50
"""How many problems of one file are listed; the rest is counted."""

RESAVE = "save the file as UTF-8 (for a Chinese file: iconv -f GB18030 -t UTF-8)"


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands: a line of a text file, or a row of a table.

    >>> str(Place("corpus.jsonl", 3)), str(Place("pairs.parquet", 3, unit="row"))
    ('corpus.jsonl:3', 'pairs.parquet, row 3')
    """

    file: str
    number: int
    unit: str = "line"

    def __str__(self) -> str:
        if not self.number:
            return self.file
        return f"{self.file}:{self.number}" if self.unit == "line" else f"{self.file}, {self.unit} {self.number}"


@final
class Problems:
    """Collects problems, so that a user sees all of them at once, file by file and line by line."""

    def __init__(self, *, limit: int = PROBLEM_LIMIT) -> None:
        self._limit = limit
        self._by_file: dict[str, list[tuple[int, Problem]]] = {}
        self._notes: dict[str, list[Place]] = {}
        self.blind_files: set[str] = set()
        """Files with a line whose id could not be read: which ids they hold is not fully known."""

    def __len__(self) -> int:
        return sum(map(len, self._by_file.values()))

    def add(self, what: str, *, at: Place, found: str, do: str) -> None:
        """Note one problem."""
        self._by_file.setdefault(at.file, []).append((at.number, Problem(what=what, where=str(at), found=found, do=do)))

    def note(self, what: str, at: Place) -> None:
        """Note something that is odd but usable: it is told (``notices``), not raised."""
        self._notes.setdefault(what, []).append(at)

    @property
    def notices(self) -> tuple[str, ...]:
        """What was noted: each thing once, with how often and where (the first five places)."""
        return tuple(
            f"{what} ({len(places)}): {', '.join(map(str, places[:5]))}{' …' if places[5:] else ''}"
            for what, places in self._notes.items()
        )

    def raise_any(self, *last: Problem) -> None:
        """Raise a DataError with everything noted so far and ``last``; nothing there, nothing raised."""
        listed: list[Problem] = []
        for file, found in self._by_file.items():
            in_order = [problem for _, problem in sorted(found, key=lambda numbered: numbered[0])]
            listed += in_order[: self._limit]
            if rest := len(in_order) - self._limit:
                listed += [_further(file, rest)] if rest > 0 else []
        if listed or last:
            raise DataError([*listed, *last])


def _further(file: str, count: int) -> Problem:
    return Problem(
        what=f"{count} further problems in this file",
        where=file,
        found=f"{count} problems after those listed",
        do="mend those above and run the same command again",
    )


def shown(value: Any, *, width: int = 80) -> str:
    r"""A value as a message shows it, on one line and cut to ``width`` characters.

    >>> shown("两行\n文字"), shown([1, None])
    ('"两行\\n文字"', '[1, null]')
    """
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= width else text[: width - 1] + "…"


def known_fields(row: dict[str, Any], *, known: Sequence[str], at: Place, problems: Problems) -> None:
    """Note every field that nobody reads: a typo there would be silently without effect."""
    for name in row:
        if name not in known:
            problems.add(f"unknown field {name!r}", at=at, found=shown(name), do=did_you_mean(name, known))


def read_lines(path: Path, problems: Problems) -> Iterator[tuple[Place, str]]:
    """The lines of a UTF-8 file that are not blank; a line that is not UTF-8 is noted with its byte offset."""
    offset = 0
    with open(path, "rb") as file:
        for number, raw in enumerate(file, start=1):
            at = Place(str(path), number)
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                found = f"byte 0x{raw[error.start]:02x} at offset {offset + error.start} of the file"
                problems.add("the line is not UTF-8", at=at, found=found, do=RESAVE)
                problems.blind_files.add(at.file)
            else:
                if line.strip():
                    yield at, line
            offset += len(raw)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number that JSON knows")


def whole_characters(value: Any, *, at: Place, problems: Problems) -> bool:
    """Whether all texts in ``value`` can be written as UTF-8; half a surrogate pair cannot, and is noted."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        found = ascii(str(error.object)[max(0, error.start - 20) : error.end + 20])
        problems.add("half a Unicode surrogate pair", at=at, found=found, do="write the whole character")
        return False
    return True


def parse_json(text: str, *, at: Place, problems: Problems) -> Any:
    """The JSON value of ``text``, or None with the problem noted (NaN, Infinity and half surrogates are refused)."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        if "\\u" not in text or whole_characters(value, at=at, problems=problems):
            return value
    except (ValueError, RecursionError) as error:
        what = "the number is not finite" if "not a number" in str(error) else "the line is not JSON"
        problems.add(what, at=at, found=f"{error}: {shown(text)}", do="write one JSON value a line")
    problems.blind_files.add(at.file)
    return None


def read_json_lines(path: Path, problems: Problems) -> Iterator[tuple[Place, dict[str, Any]]]:
    """The objects of a JSON-lines file; whatever is not an object is noted."""
    for at, line in read_lines(path, problems):
        noted = len(problems)
        value = parse_json(line, at=at, problems=problems)
        if isinstance(value, dict):
            yield at, value
        elif len(problems) == noted:
            problems.add(
                "the line is not an object", at=at, found=shown(value), do='write {"field": value, ...} a line'
            )
            problems.blind_files.add(at.file)


def as_id(value: Any, *, field: str, at: Place, problems: Problems) -> str | None:
    """An id as a string (whole numbers are accepted), or None with the problem noted."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value.strip() and not set(value) & set("\t\r\n"):
        return value
    do = f'write "{field}": "..." (text without tabs and line breaks, or a whole number)'
    what = f"the field {field!r} is missing" if value is None else f"the field {field!r} is not an id"
    problems.add(what, at=at, found=shown(value), do=do)
    return None


def as_text(value: Any, *, field: str, at: Place, problems: Problems) -> str | None:
    """A text that is not blank, or None with the problem noted."""
    if isinstance(value, str) and value.strip():
        return value
    do = "write the text, or take the row out"
    if value is None:
        problems.add(f"the field {field!r} is missing", at=at, found="nothing there", do=do)
    elif isinstance(value, str):
        problems.add(f"the field {field!r} is an empty text", at=at, found=shown(value), do=do)
    else:
        problems.add(f"the field {field!r} is not a text", at=at, found=shown(value), do="write one text in quotes")
    return None


def as_number(value: Any, *, field: str, at: Place, problems: Problems) -> float | None:
    """A finite number (one that is written as text is accepted), or None with the problem noted."""
    number = math.nan
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    what = f"the field {field!r} is not a finite number"
    problems.add(what, at=at, found=str(value) if isinstance(value, float) else shown(value), do="write a number")
    return None

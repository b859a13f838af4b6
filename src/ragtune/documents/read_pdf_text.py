"""Paragraphs, list items and headings out of the lines of a region."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import final

from ragtune.documents.read_pdf_grids import FoundTable
from ragtune.documents.read_pdf_layout import MARKER, Piece, Row, boxed, is_caption, join_lines
from ragtune.documents.read_pdf_words import Box

_ITEM = re.compile(rf"{MARKER.pattern}\s+\S|[•●▪■◦\uf0b7]\S")
_ENUMERATED = re.compile(r"\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})[.)]\s")
_ENDED = re.compile(r"[.!?:;。！？：；][\"'”’)\]）」』]*$")
_CHAPTER = re.compile(r"(\d{1,2}(?:\.\d{1,2}){0,4})\.?\s+\D|[A-Z](\.\d{1,2}){1,3}\s+\D")

LARGER = 1.08
"""A line this many times the size of the running text is a heading."""

LONGEST_HEADING = 180
DEEPEST = 6


@final
@dataclass(frozen=True, slots=True)
class TextPart:
    """A paragraph, an item or a heading on one page, or on the page where it begins.

    ``right`` is its column's right edge, ``full`` whether its last line reaches it.
    """

    lines: tuple[str, ...]
    page: int
    box: Box
    size: float
    bold: bool
    right: float
    full: bool
    slanted: bool = False
    level: int | None = None

    @property
    def is_item(self) -> bool:
        """Whether it begins with a list marker."""
        return bool(_ITEM.match(self.lines[0]))

    @property
    def is_ended(self) -> bool:
        """Whether its last line ends a sentence."""
        return bool(_ENDED.search(self.lines[-1]))


@final
@dataclass(frozen=True, slots=True)
class TablePart:
    """A table on one page, or on the page where it begins; ``repeated`` are headers left out on others."""

    table: FoundTable
    page: int
    box: Box
    caption: str = ""
    repeated: tuple[tuple[int, str], ...] = ()


Part = TextPart | TablePart


def text_parts(rows: Sequence[Row], *, page: int) -> list[TextPart]:
    """The paragraphs, items and headings of consecutive lines of one region."""
    if not rows:
        return []
    lines = [_one(row) for row in rows]
    left, right = min(line.left for line in lines), max(line.right for line in lines)
    pitches = [b.bottom - a.bottom for a, b in pairwise(lines) if abs(a.size - b.size) < 0.6]
    pitch = median([p for p in pitches if p > 0] or [1.2 * lines[0].size])
    groups: list[list[Piece]] = []
    for line in lines:
        if groups and not _begins(groups[-1], line, left=left, right=right, pitch=pitch):
            groups[-1].append(line)
        else:
            groups.append([line])
    return [_part(group, page=page, right=right) for group in groups]


def _one(row: Row) -> Piece:
    return row[0] if len(row) == 1 else Piece(tuple(word for piece in row for word in piece.words))


def _part(lines: list[Piece], *, page: int, right: float) -> TextPart:
    sizes: Counter[float] = Counter()
    for line in lines:
        sizes[line.size] += len(line.text)
    last = lines[-1]
    return TextPart(
        lines=tuple(line.text for line in lines),
        page=page,
        box=boxed(lines),
        size=sizes.most_common(1)[0][0],
        bold=all(line.bold for line in lines),
        right=right,
        full=last.right > right - 2.5 * last.size,
        slanted=all(line.slanted for line in lines),
    )


def _begins(group: list[Piece], line: Piece, *, left: float, right: float, pitch: float) -> bool:
    """Whether a line begins a new paragraph after ``group``."""
    last = group[-1]
    step = line.bottom - last.bottom
    usual = min(pitch, 1.6 * max(last.size, line.size))
    if step > 1.35 * usual + 1 or step < 0 or not 0.9 < line.size / max(last.size, 0.1) < 1.11:
        return True
    if line.bold != last.bold and (line.bold or all(piece.bold for piece in group)):
        return True
    text = line.text
    if last.slanted and not line.slanted and len(group) == 1 and _stands_alone(last, right):
        return True
    if _ITEM.match(text) and (not _ENUMERATED.match(text) or _ENDED.search(last.text) or _ITEM.match(group[0].text)):
        return True
    short = last.right < right - max(0.12 * (right - left), 2.5 * last.size)
    if short and _ENDED.search(last.text):
        return True
    if _ITEM.match(group[0].text):
        return line.left < group[0].left - 0.5 * line.size
    indented = line.left > last.left + 0.8 * line.size
    return indented and (len(group) > 1 or short) and bool(_ENDED.search(last.text))


def _stands_alone(line: Piece, right: float) -> bool:
    """Whether a slanted line looks like a heading: short, and no end of a sentence."""
    return len(line.text) < 80 and line.right < right - 8 * line.size and not _ENDED.search(line.text)


def join_parts(parts: Sequence[Part]) -> list[Part]:
    """Parts of consecutive regions and pages, paragraphs that go on over a break joined; footnotes stand behind."""
    body = body_size(parts)
    done: list[Part] = []
    for part in parts:
        before = _last_text(done, body) if isinstance(part, TextPart) else None
        if before is not None and isinstance(part, TextPart):
            whole = done[before]
            assert isinstance(whole, TextPart)
            if _goes_on(whole, part, body):
                done[before] = replace(whole, lines=whole.lines + part.lines, full=part.full)
                continue
        done.append(part)
    return done


def _last_text(done: Sequence[Part], body: float) -> int | None:
    """Index of the last running text, footnotes and small print (at most four) passed over."""
    for back, part in enumerate(reversed(done[-5:]), start=1):
        if isinstance(part, TablePart):
            return None
        if part.size > 0.93 * body:
            return len(done) - back
    return None


def _goes_on(before: TextPart, part: TextPart, body: float) -> bool:
    if before.page == part.page and before.right == part.right:
        return False
    if (
        part.is_item
        or before.bold
        or part.bold
        or before.slanted != part.slanted
        or abs(before.size - part.size) > 0.35
        or before.is_ended
    ):
        return False
    if part.size > LARGER * body:
        return False
    first = part.lines[0][0]
    return (
        before.full
        and len("".join(before.lines)) > 20
        and (first.islower() or not first.isascii() or len(part.lines) > 1)
    )


def body_size(parts: Iterable[Part]) -> float:
    """The size of most of the running text."""
    sizes: Counter[float] = Counter()
    for part in parts:
        if isinstance(part, TextPart):
            sizes[part.size] += sum(map(len, part.lines))
    return sizes.most_common(1)[0][0] if sizes else 10.0


def with_headings(parts: Sequence[Part], *, outline: Mapping[str, int]) -> list[Part]:
    """Parts with ``level`` set on headings, from size, weight and numbering, or as the document's ``outline`` says.

    ``outline`` maps a bookmark's text (see ``plain``) to its level from 1.
    """
    body = body_size(parts)
    weights = sum(sum(map(len, p.lines)) for p in parts if isinstance(p, TextPart) and p.bold)
    total = sum(sum(map(len, p.lines)) for p in parts if isinstance(p, TextPart))
    # where half the text is bold, weight says nothing
    bold_counts = weights < 0.4 * max(total, 1)
    marked = {i for i, p in enumerate(parts) if isinstance(p, TextPart) and _is_heading(p, body, bold_counts)}
    marked |= {i for i, p in enumerate(parts) if isinstance(p, TextPart) and plain(" ".join(p.lines)) in outline}
    levels = _levels([part for i, part in enumerate(parts) if i in marked and isinstance(part, TextPart)])
    done: list[Part] = []
    for i, part in enumerate(parts):
        if i in marked and isinstance(part, TextPart):
            level = outline.get(plain(" ".join(part.lines))) or levels[_style(part)]
            part = replace(part, level=min(level, DEEPEST))
        done.append(part)
    return done


def plain(text: str) -> str:
    """A heading's text as it is compared with bookmarks."""
    return "".join(character for character in text.lower() if character.isalnum())


def _is_heading(part: TextPart, body: float, bold_counts: bool) -> bool:
    text = " ".join(part.lines)
    letters = sum(character.isalpha() for character in text)
    if len(part.lines) > 3 or len(text) > LONGEST_HEADING or letters < 2 or letters < 0.4 * len(text.replace(" ", "")):
        return False
    if is_caption(text):
        return False
    if part.size >= LARGER * body:
        return not (text.endswith((".", "。", ",", "，", ";")) and len(text) > 60)
    if part.size < 0.93 * body or text.endswith((",", "，", ";", "；", "。")) or text.startswith("("):
        return False
    if part.slanted and not part.bold:
        return len(part.lines) == 1 and not part.full and not part.is_item and not part.is_ended and len(text) < 80
    return part.bold and bold_counts and not (text.endswith(".") and len(text) > 80)


def _style(part: TextPart) -> tuple[float, bool, bool, int]:
    text = " ".join(part.lines)
    chapter = _CHAPTER.match(text)
    depth = chapter[0].split()[0].rstrip(".").count(".") if chapter else 0
    return -round(part.size * 2) / 2, not part.bold, not text.isupper(), depth


def _levels(headings: Sequence[TextPart]) -> dict[tuple[float, bool, bool, int], int]:
    """Level of each style: the larger, the bolder, the more capital, the fewer dots in its number, the higher."""
    styles = sorted({_style(heading) for heading in headings})
    return {style: min(level, DEEPEST) for level, style in enumerate(styles, start=1)}


def full_text(part: TextPart, words: frozenset[str]) -> str:
    """The part's lines as one text."""
    return join_lines(part.lines, words=words)

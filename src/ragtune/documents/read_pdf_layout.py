"""Lines and columns of a page: words -> pieces of a line -> regions in reading order -> rows of pieces."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from ragtune.documents.read_pdf_words import Box, Word

WIDE_GAP = 1.0
"""A gap of this many letter heights between two words parts two pieces of a line (a word space is 0.25 to 0.6)."""

MARKER_GAP = 4.0
"""So many letter heights between a list's marker and its item are no gap."""

CJK_CHARACTER = re.compile("[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]")
MARKER = re.compile(
    r"(?:[•◦▪●○■□‣⁃∙·*\-–—»➢✓►\uf0b7\uf0a7]|\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})[.)]|[（(]?[一二三四五六七八九十]{1,3}[）)、.])"
)
_CUT = re.compile(r"[^\W\d_]{2}[-‐\u00ad]$")
_TIGHT = re.compile(r"\S[-‐/]$")
_FIRST_WORD = re.compile(r"\w[\w-]*")
_DASHES = frozenset(("-", "–", "—", "$-", "$–", "$—", "n/a", "N/A", "*"))
CURRENCY = frozenset(("$", "€", "£", "¥", "￥", "US$", "($", "(€"))
_TAIL = re.compile(r"[)%][)%]?|%\)")

_CAPTION = re.compile(
    r"(?i:Table|Tab\.|表|Exhibit)(?:\s*[\d一二三四五六七八九十][\w.\-]*|\s+(?:[IVXLC]+|[A-Z](?:[.\-]?\d[\w.\-]*)?)\b)"
)


@final
@dataclass(frozen=True, slots=True)
class Piece:
    """Words of one line without a wide gap between them."""

    words: tuple[Word, ...]

    @property
    def left(self) -> float:
        """Left edge in points."""
        return self.words[0].left

    @property
    def right(self) -> float:
        """Right edge in points."""
        return max(word.right for word in self.words)

    @property
    def top(self) -> float:
        """Upper edge in points."""
        return min(word.top for word in self.words)

    @property
    def bottom(self) -> float:
        """Lower edge in points."""
        return max(word.bottom for word in self.words)

    @property
    def text(self) -> str:
        """The words, with the blanks that belong between them."""
        return joined(self.words)

    @property
    def size(self) -> float:
        """Size of most of the characters in points."""
        sizes: Counter[float] = Counter()
        for word in self.words:
            sizes[word.size] += len(word.text)
        return sizes.most_common(1)[0][0]

    @property
    def bold(self) -> bool:
        """Whether nearly all of it is bold."""
        strong = sum(len(word.text) for word in self.words if word.bold)
        return strong >= 0.9 * sum(len(word.text) for word in self.words)

    @property
    def slanted(self) -> bool:
        """Whether all of it is slanted."""
        return all(word.slanted for word in self.words)


Row = list[Piece]
"""Pieces side by side, left to right."""


def joined(words: Sequence[Word]) -> str:
    """Words as text; between two CJK characters that touch there is no blank."""
    parts: list[str] = []
    for before, word in zip((None, *words), words, strict=False):
        if before is not None and not _touches(before, word):
            parts.append(" ")
        parts.append(word.text)
    return "".join(parts)


def _touches(before: Word, after: Word) -> bool:
    gap = after.left - before.right
    if gap < 0.05 * max(before.size, 1.0) and before.size != after.size:
        return gap > -before.size
    both = CJK_CHARACTER.match(before.text[-1]) and CJK_CHARACTER.match(after.text[0])
    return bool(both) and gap < 0.15 * max(before.size, 1.0)


def join_lines(lines: Sequence[str], *, words: frozenset[str] = frozenset()) -> str:
    """Lines as one text: a word cut by a hyphen is whole again, Chinese lines are joined without a blank.

    A hyphen stays where the document elsewhere has the word with it (``words``, lower case), or a capital or a digit
    follows.

    >>> join_lines(["a dual-enco-", "der of well-", "known form"], words=frozenset(["well-known"]))
    'a dual-encoder of well-known form'
    >>> join_lines(["检索", "模型"])
    '检索模型'
    """
    done = ""
    for line in lines:
        if not done or not line:
            done += line
        elif _CUT.search(done) and line[0].islower():
            head, tail = _last_word(done), _FIRST_WORD.match(line)
            whole = (head + (tail[0] if tail else "")).lower()
            kept = whole in words or (tail is not None and "-" in tail[0].rstrip("-"))
            done = (done if kept else done[:-1]) + line
        elif _TIGHT.search(done) or (CJK_CHARACTER.match(done[-1]) and CJK_CHARACTER.match(line[0])):
            done += line
        else:
            done += " " + line
    return done


def _last_word(text: str) -> str:
    return text[max(text.rfind(" "), text.rfind("\n")) + 1 :].lstrip("(\"'“‘[")


def looks_numeric(text: str) -> bool:
    """Whether a cell holds an amount, a share, a date or a dash.

    >>> [looks_numeric(text) for text in ("$ (1,376)", "12.5 %", "—", "Goodwill", "Note 7")]
    [True, True, True, False, False]
    """
    compact = re.sub(r"\s", "", text)
    digits, letters = (sum(map(kind, compact)) for kind in (str.isdigit, str.isalpha))
    return compact in _DASHES or digits > letters


def is_caption(text: str) -> bool:
    """Whether a line names a table.

    >>> [is_caption(text) for text in ("Table 2: Prices", "TABLE IV", "表2 价格", "Tables are useful.", "TABLES")]
    [True, True, True, False, False]
    """
    return len(text) <= 300 and _CAPTION.match(text) is not None


def pieces_of(words: Sequence[Word]) -> list[Piece]:
    """The pieces of all lines, from the top down."""
    pieces: list[Piece] = []
    for line in _lines(words):
        run: list[Word] = []
        for word in sorted(line, key=lambda w: w.left):
            if run and _parts(run, word):
                pieces.append(Piece(tuple(run)))
                run = []
            run.append(word)
        pieces.append(Piece(tuple(run)))
    return pieces


def _parts(run: Sequence[Word], word: Word) -> bool:
    if word.text in CURRENCY and looks_numeric(run[-1].text):
        return True
    # a list's marker stays with its item
    wide = MARKER_GAP if len(run) == 1 and MARKER.fullmatch(run[0].text) else WIDE_GAP
    return word.left - max(w.right for w in run[-3:]) > wide * max(run[-1].size, word.size, 4.0)


def _lines(words: Sequence[Word]) -> list[list[Word]]:
    """Words whose heights overlap by more than half stand on one line; raised and lowered ones with their neighbour."""
    lines: list[tuple[list[Word], float, float]] = []
    for word in sorted(words, key=lambda w: (w.top + w.bottom) / 2):
        for i in range(len(lines) - 1, max(-1, len(lines) - 6), -1):
            line, top, bottom = lines[i]
            overlap = min(bottom, word.bottom) - max(top, word.top)
            if overlap > 0.55 * min(bottom - top, word.bottom - word.top):
                line.append(word)
                if word.bottom - word.top > bottom - top:
                    lines[i] = (line, word.top, word.bottom)
                break
        else:
            lines.append(([word], word.top, word.bottom))
    return [line for line, _, _ in lines]


def rows_of(pieces: Sequence[Piece]) -> list[Row]:
    """Pieces side by side as rows from the top down; what belongs together (a bullet, a currency sign) is joined."""
    rows: list[tuple[Row, float, float]] = []
    for piece in sorted(pieces, key=lambda p: (p.top + p.bottom) / 2):
        if rows:
            row, top, bottom = rows[-1]
            overlap = min(bottom, piece.bottom) - max(top, piece.top)
            if overlap > 0.5 * min(bottom - top, piece.bottom - piece.top):
                row.append(piece)
                continue
        rows.append(([piece], piece.top, piece.bottom))
    return [_attached(sorted(row, key=lambda p: p.left)) for row, _, _ in rows]


def _attached(row: Row) -> Row:
    done: Row = []
    for piece in row:
        before = done[-1] if done else None
        if before is not None and (before.words[-1].text in CURRENCY or _TAIL.fullmatch(piece.text)):
            done[-1] = Piece((*before.words, *piece.words))
        else:
            done.append(piece)
    return done


def boxed(pieces: Sequence[Piece]) -> Box:
    """The box around pieces."""
    return (
        min(p.left for p in pieces),
        min(p.top for p in pieces),
        max(p.right for p in pieces),
        max(p.bottom for p in pieces),
    )


def regions_of(pieces: Sequence[Piece], *, depth: int = 0) -> list[list[Piece]]:
    """Regions of one column each, in reading order: what stands above a gutter, its left side, its right, the rest."""
    cut = _best_gutter(pieces) if len(pieces) >= 6 and depth < 6 else None
    if cut is None:
        return [list(pieces)] if pieces else []
    x, top, bottom = cut
    above = [p for p in pieces if _middle(p) < top]
    below = [p for p in pieces if _middle(p) > bottom]
    left = [p for p in pieces if top <= _middle(p) <= bottom and p.left < x]
    right = [p for p in pieces if top <= _middle(p) <= bottom and p.left >= x]
    parts = (above, left, right, below)
    return [region for part in parts for region in regions_of(part, depth=depth + 1)]


def _middle(piece: Piece) -> float:
    return (piece.top + piece.bottom) / 2


def _best_gutter(pieces: Sequence[Piece]) -> tuple[float, float, float] | None:
    """(x, top, bottom) of the gutter with the most lines of running text beside it."""
    best, found = 0, None
    starts = Counter(round(piece.left / 2) * 2 for piece in pieces)
    for start, count in starts.most_common(14):
        x = start - 4.5
        if count < 3 or all(piece.left >= x for piece in pieces):
            continue
        bands = _bands(pieces, x)
        for band in [*(_trimmed(band, x) for band in bands[:-1]), *bands[-1:]]:
            left = [p for p in band if p.right <= x + 2]
            right = [p for p in band if p.left >= x]
            lines = min(len(left), len(right))
            if lines > best and _are_columns(left, right):
                best, found = lines, (x, min(map(_middle, band)), max(map(_middle, band)))
    return found


def _are_columns(left: Sequence[Piece], right: Sequence[Piece]) -> bool:
    """Running text on both sides; or on one, beside something whose lines stand at heights of their own."""
    if _is_prose(left) and _is_prose(right):
        return True
    if not any(len(side) >= 6 and _is_prose(side) for side in (left, right)):
        return False
    few, many = sorted((left, right), key=len)
    level = sum(any(abs(piece.bottom - other.bottom) <= 1.5 for other in many) for piece in few)
    return level < 0.5 * len(few)


def _bands(pieces: Sequence[Piece], x: float) -> list[list[Piece]]:
    """Runs of pieces, from the top down, none of which crosses ``x``."""
    bands: list[list[Piece]] = [[]]
    for piece in sorted(pieces, key=_middle):
        if piece.left < x - 1 and piece.right > x + 2:
            bands.append([])
        else:
            bands[-1].append(piece)
    return [band for i, band in enumerate(bands) if len(band) >= 6 or i == len(bands) - 1]


def _trimmed(band: list[Piece], x: float) -> list[Piece]:
    """A band without the last pieces of one side that belong to what follows: below the other side, after a blank."""
    ends = [max((p.bottom for p in band if (p.left < x) == side), default=0.0) for side in (True, False)]
    while len(band) > 6:
        last, before = band[-1], band[-2]
        other = ends[1] if last.left < x else ends[0]
        if last.top < other or last.top - before.bottom < last.bottom - last.top:
            break
        band = band[:-1]
    return band


def _is_prose(pieces: Sequence[Piece], *, share: float = 0.5) -> bool:
    """Whether three lines or more, and most of them, are running text: wordy and about as wide as their column."""
    if len(pieces) < 3:
        return False
    wide = max(p.right for p in pieces) - min(p.left for p in pieces)
    lines = sum(p.right - p.left > max(0.5, share) * wide and _is_wordy(p) for p in pieces)
    rows = len({round(_middle(p) / 6) for p in pieces})
    return wide > 60 and lines >= 3 and lines >= share * rows


def _is_wordy(piece: Piece) -> bool:
    text = piece.text
    cjk = len(CJK_CHARACTER.findall(text))
    letters = sum(character.isalpha() for character in text)
    return letters > 0.6 * len(text) and (cjk >= 7 or len(piece.words) >= 4)

"""Words and ruled lines of a PDF page with their places, as PDFium gives them.

Boxes are (left, top, right, bottom) in points from the page's upper left corner as it is seen, turned pages included.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, final

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

Box = tuple[float, float, float, float]

THIN = 3.0
"""A filled rectangle at most this thick (points) is a ruled line."""

MANY_SEGMENTS = 400
"""A path of more pieces than this is a drawing, no table."""

_BLANK = frozenset((*range(33), 0xA0, 0x2002, 0x2003, 0x2009, 0x3000, 0xFEFF))
_LINE_END_HYPHENS = (0x02, 0xFFFE)
"""What PDFium puts for a hyphen at the end of a line."""

_BOLD = re.compile(r"bold|black|heavy|semibold|demi|-bd|medi\b|cm[a-z]*bx|sfbx", re.IGNORECASE)
_SLANTED = re.compile(r"italic|oblique", re.IGNORECASE)
_SLANTED_FLAG = 1 << 6
"""PDF 32000-1, table 123: the font descriptor's flags."""
_BOLD_WEIGHT = 600


@final
@dataclass(frozen=True, slots=True)
class Word:
    """Characters without a blank between them; ``size`` in points, ``turned`` when it does not run left to right."""

    text: str
    left: float
    top: float
    right: float
    bottom: float
    size: float
    bold: bool = False
    slanted: bool = False
    turned: bool = False


@final
@dataclass(frozen=True, slots=True)
class PageContent:
    """What a page holds: its words in the file's order, its ruled lines, its plain text, and whether it has pictures.

    ``lines`` are boxes without width or without height.
    """

    number: int
    width: float
    height: float
    words: tuple[Word, ...]
    lines: tuple[Box, ...]
    raw: str
    pictures: bool


def read_page(document: pdfium.PdfDocument, index: int) -> PageContent:
    """The content of page ``index`` (from 0)."""
    page = document[index]
    text = page.get_textpage()
    try:
        seen = _seen(page)
        objects = list(page.get_objects(max_depth=4))
        return PageContent(
            number=index + 1,
            width=page.get_width(),
            height=page.get_height(),
            words=tuple(_words(text, seen, turn=page.get_rotation())),
            lines=tuple(_lines(objects, seen)),
            raw=_raw(text),
            pictures=any(found.type == pdfium_c.FPDF_PAGEOBJ_IMAGE for found in objects),
        )
    finally:
        text.close()
        page.close()


def _raw(text: Any) -> str:
    said: str = text.get_text_range()
    # PDFium joins the halves of a word that a line's end cuts, with a mark of its own between them
    return said.replace("\r\n", "\n").replace("\ufffe", "-\n").replace("\x02", "-\n")


def _seen(page: Any) -> Callable[[float, float], tuple[float, float]]:
    """PDF coordinates (origin below, unturned) to those of the page as it is seen (origin above)."""
    left, bottom, right, top = page.get_cropbox()
    turn = page.get_rotation()
    places: dict[int, Callable[[float, float], tuple[float, float]]] = {
        0: lambda x, y: (x - left, top - y),
        90: lambda x, y: (y - bottom, x - left),
        180: lambda x, y: (right - x, y - bottom),
        270: lambda x, y: (top - y, right - x),
    }
    return places[turn]


def _boxed(points: list[tuple[float, float]]) -> Box:
    across, down = [x for x, _ in points], [y for _, y in points]
    return min(across), min(down), max(across), max(down)


def _words(text: Any, seen: Callable[[float, float], tuple[float, float]], *, turn: int) -> Iterator[Word]:
    """Runs of characters between blanks, also cut where the next one stands elsewhere."""
    handle = text.raw
    rectangle = pdfium_c.FS_RECTF()
    run: list[tuple[int, int, Box]] = []
    for i in range(pdfium_c.FPDFText_CountChars(handle)):
        code = pdfium_c.FPDFText_GetUnicode(handle, i)
        code = ord("-") if code in _LINE_END_HYPHENS else code
        if code in _BLANK:
            if run:
                yield _word(handle, run, turn)
                run = []
            continue
        pdfium_c.FPDFText_GetLooseCharBox(handle, i, rectangle)
        box = _boxed([seen(rectangle.left, rectangle.top), seen(rectangle.right, rectangle.bottom)])
        if run and _apart(run[-1][2], box):
            yield _word(handle, run, turn)
            run = []
        run.append((i, code, box))
    if run:
        yield _word(handle, run, turn)


def _apart(before: Box, after: Box) -> bool:
    height = max(before[3] - before[1], after[3] - after[1], 1.0)
    beside = after[0] - before[2]
    below = abs((after[1] + after[3]) - (before[1] + before[3])) / 2
    above_one_another = abs(after[0] - before[0]) < 0.3 * height
    return (beside > 0.6 * height or beside < -1.5 * height or below > 0.6 * height) and not (
        above_one_another and below < 1.6 * height
    )


def _word(handle: Any, run: list[tuple[int, int, Box]], turn: int) -> Word:
    first = run[0][0]
    boxes = [box for _, _, box in run]
    left, top, right, bottom = (
        min(b[0] for b in boxes),
        min(b[1] for b in boxes),
        max(b[2] for b in boxes),
        max(b[3] for b in boxes),
    )
    angle = pdfium_c.FPDFText_GetCharAngle(handle, first) - math.radians(turn)
    upright = abs(math.sin(angle)) < 0.1
    said = bytearray()
    for _, code, _ in run:
        said += code.to_bytes(2, "little") if code < 0x10000 else chr(code).encode("utf-16-le")
    text = said.decode("utf-16-le", errors="replace")
    bold, slanted = _weight(handle, first)
    return Word(text, left, top, right, bottom, _size(handle, first), bold, slanted, not upright)


def _size(handle: Any, index: int) -> float:
    matrix = pdfium_c.FS_MATRIX()
    size: float = pdfium_c.FPDFText_GetFontSize(handle, index)
    if pdfium_c.FPDFText_GetMatrix(handle, index, matrix):
        size *= math.hypot(matrix.c, matrix.d)
    return round(abs(size), 1)


def _weight(handle: Any, index: int) -> tuple[bool, bool]:
    """Whether a character is bold, and whether it is slanted."""
    buffer, flags = ctypes.create_string_buffer(128), ctypes.c_int()
    pdfium_c.FPDFText_GetFontInfo(handle, index, buffer, 128, flags)
    font = buffer.value.decode("utf-8", errors="replace")
    heavy = pdfium_c.FPDFText_GetFontWeight(handle, index) >= _BOLD_WEIGHT
    return heavy or bool(_BOLD.search(font)), bool(flags.value & _SLANTED_FLAG or _SLANTED.search(font))


def _lines(objects: list[Any], seen: Callable[[float, float], tuple[float, float]]) -> Iterator[Box]:
    for found in objects:
        if found.type != pdfium_c.FPDF_PAGEOBJ_PATH:
            continue
        fill, stroke = ctypes.c_int(), ctypes.c_int()
        pdfium_c.FPDFPath_GetDrawMode(found, fill, stroke)
        if not fill.value and not stroke.value:
            continue
        for box in _pieces(found, seen):
            wide, high = box[2] - box[0], box[3] - box[1]
            if min(wide, high) <= THIN and max(wide, high) > THIN:
                yield _flat(box)
            elif stroke.value and min(wide, high) > THIN:
                left, top, right, bottom = box
                yield from ((left, top, right, top), (left, bottom, right, bottom))
                yield from ((left, top, left, bottom), (right, top, right, bottom))


def _flat(box: Box) -> Box:
    left, top, right, bottom = box
    if right - left >= bottom - top:
        return left, (top + bottom) / 2, right, (top + bottom) / 2
    return (left + right) / 2, top, (left + right) / 2, bottom


def _pieces(path: Any, seen: Callable[[float, float], tuple[float, float]]) -> Iterator[Box]:
    """A box a straight line, and a box a rectangle; curves and drawings give nothing."""
    count = pdfium_c.FPDFPath_CountSegments(path)
    if not 2 <= count <= MANY_SEGMENTS:
        return
    matrix = path.get_matrix()
    holder = getattr(path, "container", None)
    x, y = ctypes.c_float(), ctypes.c_float()
    figure: list[tuple[float, float]] = []
    for i in range(count):
        segment = pdfium_c.FPDFPath_GetPathSegment(path, i)
        kind = pdfium_c.FPDFPathSegment_GetType(segment)
        if kind == pdfium_c.FPDF_SEGMENT_BEZIERTO:
            return
        pdfium_c.FPDFPathSegment_GetPoint(segment, x, y)
        point = matrix.on_point(x.value, y.value)
        if holder is not None:
            point = holder.get_matrix().on_point(*point)
        if kind == pdfium_c.FPDF_SEGMENT_MOVETO:
            yield from _figure(figure)
            figure = []
        figure.append(seen(*point))
    yield from _figure(figure)


def _figure(points: list[tuple[float, float]]) -> Iterator[Box]:
    if len(points) >= 4:
        box = _boxed(points)
        corners = {box[0], box[2]}, {box[1], box[3]}
        if all(min(abs(p[axis] - c) for c in corners[axis]) < 0.5 for p in points for axis in (0, 1)):
            yield box
        return
    for start, end in pairwise(points):
        yield _boxed([start, end])

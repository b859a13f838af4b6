"""PDF files made for a test: every property on pages of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

LETTER = (612.0, 792.0)
Draw = Callable[[Any], None]

TEXT = (
    "the reader keeps every line of a report and puts it where a person would look for it while the words of both"
    " columns stay apart from one another even when their lines stand at the same height on the page"
)
WORDS = TEXT.split()


@pytest.fixture
def make_pdf(tmp_path: Path) -> Callable[..., Path]:
    """``make_pdf(draw, draw, ...)``: a PDF with a page for each function that draws on reportlab's canvas."""

    def make(*pages: Draw, name: str = "made.pdf", **settings: Any) -> Path:
        from reportlab.pdfgen.canvas import Canvas

        path = tmp_path / name
        canvas = Canvas(str(path), pagesize=LETTER, **settings)
        for draw in pages:
            canvas.setFont("Helvetica", 10)
            draw(canvas)
            canvas.showPage()
        canvas.save()
        return path

    return make


def lines(canvas: Any, texts: Sequence[str], *, x: float = 72, y: float = 700, step: float = 13) -> float:
    """Writes lines from ``y`` (points from below) downwards; gives the height of the next one."""
    for text in texts:
        canvas.drawString(x, y, text)
        y -= step
    return y


def prose(count: int, *, per_line: int = 10, start: int = 0) -> list[str]:
    """``count`` lines of running text without a full stop; every line differs."""
    return [
        " ".join([f"w{start + i}", *(WORDS[(start + i * 3 + k) % len(WORDS)] for k in range(per_line - 1))])
        for i in range(count)
    ]


def grid(canvas: Any, rows: Sequence[Sequence[str]], *, x: float = 72, y: float = 700, wide: float = 120) -> None:
    """A ruled table; a cell with line breaks is as high as it needs."""
    edges = [x + wide * i for i in range(len(rows[0]) + 1)]
    top = y
    canvas.line(edges[0], y, edges[-1], y)
    for row in rows:
        high = 6 + 12 * max(cell.count("\n") + 1 for cell in row)
        for left, cell in zip(edges, row, strict=False):
            lines(canvas, cell.split("\n"), x=left + 4, y=y - 12, step=12)
        y -= high
        canvas.line(edges[0], y, edges[-1], y)
    for edge in edges:
        canvas.line(edge, top, edge, y)


def borderless(canvas: Any, rows: Sequence[Sequence[str]], *, x: float = 72, y: float = 700, wide: float = 110) -> None:
    """A table without lines: the first column from the left, the others to the right."""
    for row in rows:
        canvas.drawString(x, y, row[0])
        for i, cell in enumerate(row[1:], start=1):
            canvas.drawRightString(x + 120 + wide * i, y, cell)
        y -= 13


@pytest.fixture
def drawing() -> Any:
    """The functions above, for test files."""
    import types

    return types.SimpleNamespace(lines=lines, prose=prose, grid=grid, borderless=borderless)

"""Tables of PDFs: ruled, without lines, over pages; what is no table stays text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragtune.documents.blocks import ReadDocument, Table
from ragtune.documents.coverage import coverage_of
from ragtune.documents.read_pdf import read

Make = Callable[..., Path]
HEAD = ("Part", "Use", "Price")
ROWS = [("bolt M4", "holds the\nlower lid", "0.12"), ("nut M4", "for the bolt", "0.08"), ("", "spare", "1.50")]
WHOLE = [("bolt M4", "holds the lower lid", "0.12"), ("nut M4", "for the bolt", "0.08"), ("", "spare", "1.50")]


def tables(document: ReadDocument) -> list[Table]:
    return [block for block in document.blocks if isinstance(block, Table)]


def test_a_ruled_table_with_cells_of_several_lines(make_pdf: Make, drawing: Any) -> None:
    def page(canvas: Any) -> None:
        drawing.lines(canvas, ["Table 3: What is in stock"], y=714)
        drawing.grid(canvas, [HEAD, *ROWS], y=700)
        drawing.lines(canvas, ["Text below the table."], y=560)

    document = read(make_pdf(page))
    (table,) = tables(document)
    assert table.rows == (HEAD, *WHOLE)
    assert (table.header_rows, table.caption) == (1, "Table 3: What is in stock")
    assert document.blocks[-1].text == "Text below the table."  # type: ignore[attr-defined]
    assert coverage_of(document).share == 1


def test_a_cell_over_two_columns(make_pdf: Make, drawing: Any) -> None:
    def page(canvas: Any) -> None:
        for y in (700, 680, 660):
            canvas.line(72, y, 372, y)
        for x in (72, 172, 372):
            canvas.line(x, 700, x, 660)
        canvas.line(272, 680, 272, 660)
        drawing.lines(canvas, ["Name"], x=76, y=686)
        drawing.lines(canvas, ["Both prices of the year"], x=176, y=686)
        for x, text in ((76, "bolt"), (176, "0.12"), (276, "0.13")):
            drawing.lines(canvas, [text], x=x, y=666)

    (table,) = tables(read(make_pdf(page)))
    assert table.rows == (("Name", "Both prices of the year", ""), ("bolt", "0.12", "0.13"))


MONEY = [
    ("", "2021", "2022"),
    ("Current assets:", "", ""),
    ("Cash", "$ 36,220", "$ 53,888"),
    ("Receivables, net", "32,891", "(42,360)"),
    ("Goodwill", "—", "20,288"),
    ("Total", "$ 69,111", "$ 31,816"),
]


def test_a_table_without_lines(make_pdf: Make, drawing: Any) -> None:
    def page(canvas: Any) -> None:
        y = drawing.lines(canvas, drawing.prose(3), y=760)
        drawing.borderless(canvas, MONEY, y=y - 20)
        drawing.lines(canvas, [*drawing.prose(3, start=30), "It ends."], y=y - 140)

    document = read(make_pdf(page))
    (table,) = tables(document)
    assert table.rows == tuple(MONEY)
    assert table.header_rows == 1
    assert [type(block).__name__ for block in document.blocks] == ["Paragraph", "Table", "Paragraph"]
    assert coverage_of(document).share == 1


def test_a_heading_over_two_columns_names_both(make_pdf: Make, drawing: Any) -> None:
    def page(canvas: Any) -> None:
        canvas.drawCentredString(355, 713, "Year ended June 30,")
        drawing.borderless(canvas, MONEY, y=700)

    (table,) = tables(read(make_pdf(page)))
    assert table.rows[0] == ("", "Year ended June 30, 2021", "Year ended June 30, 2022")


def test_a_label_of_two_lines_is_one_cell(make_pdf: Make, drawing: Any) -> None:
    def page(canvas: Any) -> None:
        rows = [MONEY[0], *MONEY[2:4]]
        drawing.borderless(canvas, rows, y=700)
        drawing.lines(canvas, ["Preferred stock, 500 shares"], y=661)
        drawing.borderless(canvas, [("authorized and none issued", "12", "14")], y=650)

    (table,) = tables(read(make_pdf(page)))
    assert table.rows[-1] == ("Preferred stock, 500 shares authorized and none issued", "12", "14")


def test_a_ruled_table_over_three_pages_is_one(make_pdf: Make, drawing: Any) -> None:
    rows = [(f"part {n}", "use", f"{n}.50") for n in range(75)]

    def page_of(number: int) -> Callable[[Any], None]:
        def page(canvas: Any) -> None:
            canvas.drawString(72, 770, "Price list of the house")
            canvas.drawString(300, 30, str(number + 1))
            drawing.grid(canvas, [HEAD, *rows[25 * number : 25 * number + 25]], y=740)

        return page

    document = read(make_pdf(*(page_of(n) for n in range(3))))
    (table,) = tables(document)
    assert table.rows == (HEAD, *rows)
    assert table.place.page == 1
    assert coverage_of(document).missing == 0


@pytest.mark.parametrize("repeated", [True, False])
def test_a_table_without_lines_over_two_pages_is_one(make_pdf: Make, drawing: Any, repeated: bool) -> None:
    head, rows = ("Item", "2021", "2022"), [(f"item {n}", f"{n},100", f"{n},200") for n in range(60)]

    def first(canvas: Any) -> None:
        drawing.borderless(canvas, [head, *rows[:40]], y=700)

    def second(canvas: Any) -> None:
        drawing.borderless(canvas, [*([head] if repeated else []), *rows[40:]], y=740)

    (table,) = tables(read(make_pdf(first, second)))
    assert table.rows == (head, *rows)


def test_tables_of_two_pages_that_differ_stay_two(make_pdf: Make, drawing: Any) -> None:
    def first(canvas: Any) -> None:
        drawing.borderless(canvas, MONEY, y=700)

    def second(canvas: Any) -> None:
        drawing.borderless(canvas, [("", "Stores", "Staff"), *MONEY[2:]], y=740)

    assert len(tables(read(make_pdf(first, second)))) == 2


def test_a_frame_around_text_is_no_table(make_pdf: Make, drawing: Any) -> None:
    def page(canvas: Any) -> None:
        canvas.rect(60, 600, 480, 120)
        drawing.lines(canvas, drawing.prose(5), y=700)

    assert tables(read(make_pdf(page))) == []

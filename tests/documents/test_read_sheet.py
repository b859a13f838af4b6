"""Workbooks and separated values: tables, captions, headers, formats, encodings."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ragtune.documents.blocks import Heading, Paragraph, ReadDocument, Table
from ragtune.documents.read_sheet import find_separator, read
from ragtune.documents.sheet_values import shown
from ragtune.errors import UnreadableFileError

openpyxl = pytest.importorskip("openpyxl")


def workbook(path: Path, **sheets: list[list[object]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def tables(document: ReadDocument) -> list[Table]:
    return [block for block in document.blocks if isinstance(block, Table)]


def test_a_sheet_is_a_page_under_its_name(tmp_path: Path) -> None:
    rows: list[list[object]] = [["part", "price"], ["bolt", 2.5]]
    document = read(workbook(tmp_path / "a.xlsx", Prices=rows, 库存=[["零件", "数量"], ["螺栓", 3]]))
    assert [block for block in document.blocks if isinstance(block, Heading)] == [
        Heading("Prices", 1, place=document.blocks[0].place),
        Heading("库存", 1, place=document.blocks[2].place),
    ]
    assert [block.place.page for block in document.blocks] == [1, 1, 2, 2]
    assert tables(document)[1].rows == (("零件", "数量"), ("螺栓", "3"))
    assert document.raw_pages == ("part price\nbolt 2.5", "零件 数量\n螺栓 3")


def test_a_single_sheet_with_no_name_of_its_own_has_no_heading(tmp_path: Path) -> None:
    document = read(workbook(tmp_path / "a.xlsx", Sheet1=[["part", "price"], ["bolt", 2]]))
    assert [block.kind for block in document.blocks] == ["table"]


def test_empty_rows_part_tables_and_a_line_above_is_the_caption(tmp_path: Path) -> None:
    rows: list[list[object]] = [
        ["Prices in dollars"],
        ["part", "price"],
        ["bolt", 2],
        [],
        [None, "size", "2022", "2023"],
        [None, "M3", 4, 5],
        [],
        ["Read on next page."],
    ]
    document = read(workbook(tmp_path / "a.xlsx", Sheet=rows))
    first, second = tables(document)
    assert (first.caption, first.rows, first.header_rows) == (
        "Prices in dollars",
        (("part", "price"), ("bolt", "2")),
        1,
    )
    assert (second.rows, second.header_rows) == ((("size", "2022", "2023"), ("M3", "4", "5")), 1)
    assert [block.text for block in document.blocks if isinstance(block, Paragraph)] == ["Read on next page."]


def test_numbers_alone_have_no_header(tmp_path: Path) -> None:
    (table,) = tables(read(workbook(tmp_path / "a.xlsx", Sheet=[[1, 2], [3, 4]])))
    assert table.header_rows == 0


def test_tables_side_by_side_are_two_and_a_spacer_is_none(tmp_path: Path) -> None:
    beside: list[list[object]] = [["part", "price", None, "city", "rent"], ["bolt", 2, None, "Bern", 900]]
    spacer: list[list[object]] = [["year", "sales", None, "2023", "2022"], ["north", 4, None, 5, 6]]
    later: list[list[object]] = [["a", "b"], [1, 2], [3, 4, None, "c", "d"], [5, 6, None, 7, 8]]
    counts = [
        len(tables(read(workbook(tmp_path / f"{i}.xlsx", Sheet=rows))))
        for i, rows in enumerate([beside, spacer, later])
    ]
    assert counts == [2, 1, 2]


def test_formats_are_shown(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["share", "cost", "day", "open"])
    sheet.append([0.125, -1234.5, datetime(2024, 5, 1), True])
    sheet["A2"].number_format = "0.0%"
    sheet["B2"].number_format = '"$"#,##0.00_);("$"#,##0.00)'
    book.save(tmp_path / "a.xlsx")
    assert tables(read(tmp_path / "a.xlsx"))[0].rows[1] == ("12.5%", "($1,234.50)", "2024-05-01", "TRUE")


@pytest.mark.parametrize(
    ("value", "number_format", "expected"),
    [
        (None, None, ""),
        (3.0, "General", "3"),
        (0.1 + 0.2, "General", "0.3"),
        (1234567, "#,##0", "1,234,567"),
        (2.5, "0.##", "2.5"),
        (2.0, "0.##", "2"),
        (9.5, "[$€-407] #,##0.00", "€9.50"),
        (1200, '#,##0 "元"', "1,200"),
        (12.34, "0.00E+00", "12.34"),
        (datetime(2024, 5, 1, 13, 30), "yyyy", "2024-05-01 13:30:00"),
        (timedelta(hours=30), "[h]:mm", "1 day, 6:00:00"),
        ("a\n b", "@", "a b"),
    ],
)
def test_shown_values(value: object, number_format: str | None, expected: str) -> None:
    assert shown(value, number_format) == expected


def test_hidden_sheets_are_named_and_left_out(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", Shown=[["a", "b"], [1, 2]], Secret=[["c"], [3]])
    book = openpyxl.load_workbook(path)
    book["Secret"].sheet_state = "hidden"
    book.save(path)
    document = read(path)
    assert len(tables(document)) == 1
    assert document.notices == ("sheet 'Secret' is hidden and left out",)


def test_a_workbook_without_values_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="no values"):
        read(workbook(tmp_path / "a.xlsx", Sheet=[]))


@pytest.mark.parametrize("separator", list(",;\t|"))
@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "utf-16"])
def test_separators_and_encodings(tmp_path: Path, separator: str, encoding: str) -> None:
    path = tmp_path / "a.csv"
    rows = [["零件", "价格", "说明"], ["螺栓", "2.50", f'"大{separator}\n“小”"'], ["螺母", "1", ""]]
    path.write_bytes("\r\n".join(separator.join(row) for row in rows).encode(encoding))
    (table,) = tables(read(path))
    assert table.rows == (("零件", "价格", "说明"), ("螺栓", "2.50", f"大{separator}\n“小”"), ("螺母", "1", ""))
    assert table.header_rows == 1


def test_a_comma_inside_cells_is_not_the_separator() -> None:
    assert find_separator("name;note\na;one, two\nb;one, two, three\n") == ";"


def test_a_file_of_separators_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",,\n,,\n", encoding="utf-8")
    with pytest.raises(UnreadableFileError, match="no values"):
        read(tmp_path / "a.csv")


def test_real_workbooks(shared_data: Path) -> None:
    folder = shared_data / "docs" / "xlsx"
    first = read(folder / "docling-xlsx_01.xlsx")
    assert [(t.place.page, t.header_rows, len(t.rows)) for t in tables(first)][:4] == [
        (1, 1, 7),
        (2, 1, 9),
        (2, 1, 5),
        (2, 1, 5),
    ]
    second = read(folder / "markitdown-test.xlsx")
    assert [len(table.rows) for table in tables(second)] == [24, 5]

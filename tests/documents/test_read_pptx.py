"""Presentations: titles, reading order, lists, tables, charts, notes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ragtune.documents.blocks import Block, Heading, ListBlock, Paragraph, Place, ReadDocument, Table
from ragtune.documents.read_pptx import read
from ragtune.errors import UnreadableFileError

pptx = pytest.importorskip("pptx")

TITLE_ONLY, TITLE_AND_BODY, BLANK = 5, 1, 6


@pytest.fixture
def deck() -> Any:
    return pptx.Presentation()


def slide(deck: Any, layout: int, title: str = "") -> Any:
    added = deck.slides.add_slide(deck.slide_layouts[layout])
    if title:
        added.shapes.title.text = title
    return added


def box(where: Any, text: str, *, left: int, top: int) -> Any:
    from pptx.util import Pt

    added = where.shapes.add_textbox(Pt(left), Pt(top), Pt(100), Pt(20))
    added.text_frame.text = text
    return added


def saved(deck: Any, folder: Path) -> ReadDocument:
    deck.save(folder / "a.pptx")
    return read(folder / "a.pptx")


def said(blocks: tuple[Block, ...]) -> list[str]:
    return [block.text for block in blocks if isinstance(block, Heading | Paragraph)]


def test_a_slide_is_a_page_under_its_title(deck: Any, tmp_path: Path) -> None:
    first = slide(deck, TITLE_AND_BODY, "Rent")
    body = first.placeholders[1].text_frame
    body.text = "Due on the first"
    deeper = body.add_paragraph()
    deeper.text, deeper.level = "或者月底", 1
    slide(deck, TITLE_ONLY, "End")
    blocks = saved(deck, tmp_path).blocks
    assert blocks[0] == Heading("Rent", 1, place=Place(1))
    assert isinstance(blocks[1], ListBlock)
    assert blocks[1].items == ((0, "- Due on the first"), (1, "- 或者月底"))
    assert blocks[2] == Heading("End", 1, place=Place(2))


def test_shapes_are_read_from_the_top_down(deck: Any, tmp_path: Path) -> None:
    page = slide(deck, BLANK)
    box(page, "third", left=10, top=300)
    box(page, "second", left=200, top=101)
    box(page, "first", left=10, top=104)
    group = page.shapes.add_group_shape([box(page, "in a group", left=10, top=400)])
    assert group is not None
    assert said(saved(deck, tmp_path).blocks) == ["Slide 1", "first", "second", "third", "in a group"]


def test_tables_with_merged_cells(deck: Any, tmp_path: Path) -> None:
    page = slide(deck, TITLE_ONLY, "Rents")
    table = page.shapes.add_table(3, 2, 0, 0, 900000, 900000).table
    for row, line in enumerate([["City", "Rent"], ["Bern", "1"], ["", "2"]]):
        for column, text in enumerate(line):
            table.cell(row, column).text = text
    table.cell(1, 0).merge(table.cell(2, 0))
    (found,) = (block for block in saved(deck, tmp_path).blocks if isinstance(block, Table))
    assert (found.rows, found.header_rows) == ((("City", "Rent"), ("Bern", "1"), ("Bern", "2")), 1)


def test_a_chart_is_a_table_of_its_numbers(deck: Any, tmp_path: Path) -> None:
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE

    data = CategoryChartData()
    data.categories = ["2022", "2023"]
    data.add_series("Bern", (1.5, 2))
    chart = slide(deck, BLANK).shapes.add_chart(XL_CHART_TYPE.BAR_CLUSTERED, 0, 0, 900000, 900000, data).chart
    chart.has_title = True
    chart.chart_title.text_frame.text = "Rents"
    (found,) = (block for block in saved_without_text(deck, tmp_path).blocks if isinstance(block, Table))
    assert (found.caption, found.rows) == ("Rents", (("", "Bern"), ("2022", "1.5"), ("2023", "2")))


def saved_without_text(deck: Any, folder: Path) -> ReadDocument:
    slide(deck, TITLE_ONLY, "Another slide")
    return saved(deck, folder)


def test_notes_stand_at_the_end_of_their_slide(deck: Any, tmp_path: Path) -> None:
    slide(deck, TITLE_ONLY, "Rent").notes_slide.notes_text_frame.text = "Say it slowly.\nThen stop."
    document = saved(deck, tmp_path)
    assert document.blocks[1:] == (
        Paragraph("Say it slowly.", role="notes", place=Place(1)),
        Paragraph("Then stop.", role="notes", place=Place(1)),
    )
    assert document.raw_pages == ("Rent\nSay it slowly.\nThen stop.",)


def test_hidden_slides_are_named_and_left_out(deck: Any, tmp_path: Path) -> None:
    slide(deck, TITLE_ONLY, "Shown")
    slide(deck, TITLE_ONLY, "Secret").element.set("show", "0")
    document = saved(deck, tmp_path)
    assert said(document.blocks) == ["Shown"]
    assert document.notices == ("slide 2 is hidden and left out",)
    assert document.raw_pages == ("Shown", "")


def test_a_presentation_without_text_is_refused(deck: Any, tmp_path: Path) -> None:
    slide(deck, BLANK)
    with pytest.raises(UnreadableFileError, match="no text"):
        saved(deck, tmp_path)


def test_real_presentations(shared_data: Path) -> None:
    folder = shared_data / "docs" / "pptx"
    assert said(read(folder / "haystack-sample.pptx").blocks) == [
        "Sample Title Slide",
        "Jane Doe",
        "Title of First Slide",
    ]
    document = read(folder / "markitdown-test.pptx")
    tables = [block for block in document.blocks if isinstance(block, Table)]
    assert [(len(table.rows), table.place.page) for table in tables] == [(4, 3), (5, 4)]
    assert document.notices == ("2 pictures not read",)

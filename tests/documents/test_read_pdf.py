"""PDFs: reading order, headings, lists, running lines, joined paragraphs, and files that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragtune.documents.blocks import Heading, ListBlock, Paragraph, ReadDocument
from ragtune.documents.coverage import coverage_of
from ragtune.documents.read_pdf import read
from ragtune.documents.readers import read_document
from ragtune.errors import UnreadableFileError

Make = Callable[..., Path]
CHINESE = "STSong-Light"


def texts(document: ReadDocument, kind: type = Paragraph) -> list[str]:
    return [block.text for block in document.blocks if isinstance(block, kind)]  # type: ignore[attr-defined]


def everything(document: ReadDocument) -> str:
    return " ".join(texts(document))


def chinese(canvas: Any, rows: list[str], *, y: float = 700, size: float = 12) -> None:
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont

    pdfmetrics.registerFont(UnicodeCIDFont(CHINESE))
    canvas.setFont(CHINESE, size)
    for row in rows:
        canvas.drawString(72, y, row)
        y -= 1.5 * size


# --- reading order


@pytest.mark.parametrize("shift", [0, 6.5])
def test_two_columns_are_read_one_after_the_other(make_pdf: Make, drawing: Any, shift: float) -> None:
    """Also where the lines of the columns stand at different heights."""

    def page(canvas: Any) -> None:
        canvas.drawString(
            72, 740, "A line over both columns of the page that is longer than either of the two is wide."
        )
        drawing.lines(canvas, drawing.prose(20, per_line=8), x=72, y=700)
        drawing.lines(canvas, drawing.prose(20, per_line=8, start=100), x=330, y=700 - shift)

    words = everything(read(make_pdf(page))).split()
    places = [words.index(f"w{n}") for n in (*range(20), *range(100, 120))]
    assert places == sorted(places)
    assert words.index("over") < places[0]


def test_a_figure_over_both_columns_parts_them(make_pdf: Make, drawing: Any) -> None:
    def page(canvas: Any) -> None:
        drawing.lines(canvas, drawing.prose(8, per_line=8), x=72, y=720)
        drawing.lines(canvas, drawing.prose(8, per_line=8, start=20), x=330, y=720)
        canvas.drawString(120, 580, "a caption that goes over the gutter between the left and the right column here")
        drawing.lines(canvas, drawing.prose(8, per_line=8, start=40), x=72, y=540)
        drawing.lines(canvas, drawing.prose(8, per_line=8, start=60), x=330, y=540)

    words = everything(read(make_pdf(page))).split()
    order = [words.index(word) for word in ("w0", "w20", "caption", "w40", "w60")]
    assert order == sorted(order)


def test_every_block_has_its_page_and_its_box(make_pdf: Make, drawing: Any) -> None:
    def page(canvas: Any) -> None:
        drawing.lines(canvas, ["Only one line."], x=100, y=692)

    blocks = read(make_pdf(page, page)).blocks
    assert [block.place.page for block in blocks] == [1, 2]
    block = blocks[1]
    left, top, right, bottom = block.place.box or (0, 0, 0, 0)
    assert left == pytest.approx(100, abs=1)
    assert top < 100 < bottom < 106 < right


def test_a_page_that_is_turned_reads_the_same(make_pdf: Make, drawing: Any) -> None:
    def turned(canvas: Any) -> None:
        canvas.setPageRotation(90)
        canvas.saveState()
        canvas.translate(612, 0)
        canvas.rotate(90)
        drawing.lines(canvas, drawing.prose(5), x=72, y=500)
        canvas.restoreState()

    assert everything(read(make_pdf(turned))).split() == " ".join(drawing.prose(5)).split()


# --- headings and lists


def test_headings_by_size_and_weight(make_pdf: Make, drawing: Any) -> None:
    def page(canvas: Any) -> None:
        for size, font, text, y in (
            (20, "Helvetica", "The Title of It All", 740),
            (14, "Helvetica-Bold", "1 First Part", 700),
            (10, "Helvetica-Bold", "1.1 A Detail", 600),
            (14, "Helvetica-Bold", "2 Second Part", 500),
        ):
            canvas.setFont(font, size)
            canvas.drawString(72, y, text)
        canvas.setFont("Helvetica", 10)
        for n, y in enumerate((670, 570, 470)):
            drawing.lines(canvas, [*drawing.prose(3, start=10 * n), "It ends here."], y=y)

    found = [(b.level, b.text) for b in read(make_pdf(page)).blocks if isinstance(b, Heading)]
    assert found == [(1, "The Title of It All"), (2, "1 First Part"), (3, "1.1 A Detail"), (2, "2 Second Part")]


def test_bookmarks_say_the_level(make_pdf: Make, drawing: Any) -> None:
    def page(canvas: Any) -> None:
        for level, (place, title) in enumerate((("a", "Plain Chapter"), ("b", "Plain Section"))):
            canvas.bookmarkPage(place)
            canvas.addOutlineEntry(title, place, level=level)
        drawing.lines(canvas, ["Plain Chapter"], y=740)
        drawing.lines(canvas, drawing.prose(3), y=700)
        drawing.lines(canvas, ["Plain Section"], y=640)
        drawing.lines(canvas, drawing.prose(3, start=9), y=600)

    found = [(b.level, b.text) for b in read(make_pdf(page)).blocks if isinstance(b, Heading)]
    assert found == [(1, "Plain Chapter"), (2, "Plain Section")]


def test_a_list_with_wrapped_and_inner_items(make_pdf: Make, drawing: Any) -> None:
    def page(canvas: Any) -> None:
        y = drawing.lines(canvas, ["What is to be done:"], y=720)
        y = drawing.lines(canvas, ["\u2022 first thing that is long enough to be", "  wrapped"], x=80, y=y)
        y = drawing.lines(canvas, ["\u2022 inner thing"], x=100, y=y)
        drawing.lines(canvas, ["\u2022 second thing"], x=80, y=y)

    (found,) = (b for b in read(make_pdf(page)).blocks if isinstance(b, ListBlock))
    assert found.items == (
        (0, "• first thing that is long enough to be wrapped"),
        (1, "• inner thing"),
        (0, "• second thing"),
    )


# --- over lines and pages


def test_a_word_cut_by_a_line_is_whole_again(make_pdf: Make, drawing: Any) -> None:
    def page(canvas: Any) -> None:
        rows = ["The docu-", "ment has a well-known form, and the well-", "known form stays."]
        drawing.lines(canvas, rows)

    document = read(make_pdf(page))
    assert texts(document) == ["The document has a well-known form, and the well-known form stays."]
    assert coverage_of(document).share == 1


def test_a_paragraph_goes_on_over_a_page(make_pdf: Make, drawing: Any) -> None:
    def first(canvas: Any) -> None:
        drawing.lines(canvas, drawing.prose(6), y=140)

    def second(canvas: Any) -> None:
        drawing.lines(canvas, [*drawing.prose(3, start=50), "and ends."], y=740)
        drawing.lines(canvas, ["Another begins."], y=600)

    found = texts(read(make_pdf(first, second)))
    assert len(found) == 2
    assert "w5" in found[0] and found[0].endswith("and ends.")


def header_and_footer(canvas: Any, page: int, *, y: float = 760) -> None:
    canvas.drawString(72, y, f"ACME Annual Report {2020} | Confidential")
    canvas.drawCentredString(306, 30, f"Page {page} of 5")


def test_running_lines_go_and_are_listed(make_pdf: Make, drawing: Any) -> None:
    def page_of(number: int) -> Callable[[Any], None]:
        def page(canvas: Any) -> None:
            header_and_footer(canvas, number)
            drawing.lines(canvas, [*drawing.prose(6, start=20 * number), "It ends."], y=700)

        return page

    document = read(make_pdf(*(page_of(n) for n in range(1, 6))))
    assert "ACME" not in everything(document) and "Page" not in everything(document)
    assert document.metadata["running_lines"][3] == ["ACME Annual Report 2020 | Confidential", "Page 3 of 5"]
    checked = coverage_of(document)
    assert checked.share == 1
    assert checked.removed == 5 * 9


def test_rows_of_a_table_at_a_page_edge_stay(make_pdf: Make, drawing: Any) -> None:
    """Rows that differ by a number only, at the same height on every page, right below the running header."""

    def page_of(number: int) -> Callable[[Any], None]:
        def page(canvas: Any) -> None:
            header_and_footer(canvas, number)
            drawing.borderless(
                canvas, [(f"SP-{1000 + 40 * number + i}", "12", "3.50") for i in range(40)], y=740, wide=80
            )

        return page

    document = read(make_pdf(*(page_of(n) for n in range(1, 6))))
    assert coverage_of(document).share == 1
    assert "SP-1040" in " ".join(cell for b in document.blocks for row in getattr(b, "rows", ()) for cell in row)


def test_the_first_line_of_one_page_only_is_no_running_line(make_pdf: Make, drawing: Any) -> None:
    def page(canvas: Any) -> None:
        drawing.lines(canvas, ["Once at the top"], y=760)
        drawing.lines(canvas, drawing.prose(3), y=700)

    assert read(make_pdf(page)).metadata["running_lines"] == {}


# --- Chinese


def test_chinese_text(make_pdf: Make) -> None:
    def page(canvas: Any) -> None:
        chinese(canvas, ["第一章 检索"], y=740, size=18)
        chinese(
            canvas, ["检索模型把问题和段落变成向量，然后比较它们的距离，距离近的段落就", "是答案所在的地方。"], y=690
        )
        chinese(canvas, ["第二段在这里。"], y=600)

    document = read(make_pdf(page))
    assert texts(document, Heading) == ["第一章 检索"]
    assert texts(document) == [
        "检索模型把问题和段落变成向量，然后比较它们的距离，距离近的段落就是答案所在的地方。",
        "第二段在这里。",
    ]
    assert coverage_of(document).share == 1


# --- files that cannot be read


def test_pages_without_text_are_named(make_pdf: Make, drawing: Any, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (60, 60), "white").save(tmp_path / "scan.png")

    def scan(canvas: Any) -> None:
        canvas.drawImage(str(tmp_path / "scan.png"), 0, 0, 612, 792)

    def text(canvas: Any) -> None:
        drawing.lines(canvas, ["Some text."])

    document = read(make_pdf(text, scan, scan, text, lambda canvas: None))
    assert document.notices == (
        "no text layer (scanned?): pages 2-3; run OCR over the file to have their text",
        "empty: page 5",
    )
    assert [page.words for page in coverage_of(document).pages] == [2, 0, 0, 2, 0]


def encrypted(make_pdf: Make, drawing: Any) -> Path:
    from reportlab.lib.pdfencrypt import StandardEncryption

    return make_pdf(lambda canvas: drawing.lines(canvas, ["Secret."]), encrypt=StandardEncryption("pass"))


def test_a_password_is_asked_for(make_pdf: Make, drawing: Any) -> None:
    with pytest.raises(UnreadableFileError) as caught:
        read_document(encrypted(make_pdf, drawing))
    (problem,) = caught.value.problems
    assert (problem.what, problem.found) == ("the file is encrypted", "a PDF with a password")


@pytest.mark.parametrize("kept", [40, 300])
def test_a_file_that_is_cut_off(make_pdf: Make, drawing: Any, kept: int) -> None:
    path = make_pdf(lambda canvas: drawing.lines(canvas, ["Whole."]))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UnreadableFileError, match="cut off or broken"):
        read_document(path)


def test_an_owner_password_alone_keeps_nobody_out(make_pdf: Make, drawing: Any) -> None:
    from reportlab.lib.pdfencrypt import StandardEncryption

    locked = StandardEncryption("", ownerPassword="owner", canCopy=0)
    path = make_pdf(lambda canvas: drawing.lines(canvas, ["Open to all."]), encrypt=locked)
    assert texts(read(path)) == ["Open to all."]

"""Plain text: what is a heading, a list, a wrapped paragraph."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ragtune.documents.blocks import Block, Heading, ListBlock, Paragraph, Place
from ragtune.documents.linear import block_text
from ragtune.documents.read_text import read, text_blocks


def blocks(text: str) -> list[Block]:
    return list(text_blocks(text, place=Place()))


def test_underlined_and_numbered_headings() -> None:
    text = "The lease\n=========\nIt binds.\n\n1 Rent\n\nDue.\n\n1.1 Late rent\n\nA fee.\n\nThe end\n-------\n"
    assert blocks(text) == [
        Heading("The lease", 1),
        Paragraph("It binds."),
        Heading("1 Rent", 1),
        Paragraph("Due."),
        Heading("1.1 Late rent", 2),
        Paragraph("A fee."),
        Heading("The end", 2),
    ]


def test_chinese_chapters() -> None:
    text = "第一章 总则\n本合同自签字之日起生效。\n第二节　付款\n租客付房租。"
    assert blocks("一、其他\n\n没有。") == [Heading("一、其他", 3), Paragraph("没有。")]
    assert blocks(text) == [
        Heading("第一章 总则", 2),
        Paragraph("本合同自签字之日起生效。"),
        Heading("第二节 付款", 3),
        Paragraph("租客付房租。"),
    ]


def test_a_numbered_sentence_or_list_is_no_heading() -> None:
    assert blocks("2024 was a good year for rent.") == [Paragraph("2024 was a good year for rent.")]
    assert blocks("1. one\n2. two\n   and more") == [ListBlock(((0, "1. one"), (0, "2. two and more")))]
    assert all(isinstance(block, ListBlock) for block in blocks("1. one\n\n2. two\n\n3. three.")[:-1])


def test_a_number_at_the_start_of_a_wrapped_line_is_no_item() -> None:
    text = "a) as it stands in section\n   7. This is its text.\n\nb) more"
    assert blocks(text) == [ListBlock(((0, "a) as it stands in section 7. This is its text."), (0, "b) more")))]


def test_centred_lines_capitals_and_numbered_titles_are_headings() -> None:
    text = "                 Preamble\n\nIt is free.\n\nTERMS OF USE\n\n1. Source Code of It.\n\nIt is all there.\n"
    text += "\n2. it is not."
    assert blocks(text) == [
        Heading("Preamble", 1),
        Paragraph("It is free."),
        Heading("TERMS OF USE", 1),
        Heading("1. Source Code of It.", 1),
        Paragraph("It is all there."),
        Paragraph("2. it is not."),
    ]


@given(st.text(alphabet="aB1中 .。-=*)、\n\t（一", max_size=120))
def test_no_letter_is_lost(text: str) -> None:
    assert letters("".join(map(block_text, blocks(text)))) == letters(text)


def letters(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


def test_the_first_line_of_a_text_is_its_title(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("房屋租赁合同\n\n租客付房租。\n", encoding="utf-8")
    assert read(tmp_path / "a.txt").metadata["title"] == "房屋租赁合同"
    (tmp_path / "b.txt").write_text("The rent is due.\n\nAlways.\n", encoding="utf-8")
    assert read(tmp_path / "b.txt").metadata["title"] == ""


def test_bullets_keep_their_depth() -> None:
    assert blocks("* a\n  * b\n* c") == [ListBlock(((0, "- a"), (1, "- b"), (0, "- c")))]


def test_wrapped_lines_are_joined_and_others_are_kept() -> None:
    wrapped = "This line was broken by an editor at the edge\nof its window and goes on here."
    assert blocks(wrapped) == [Paragraph(wrapped.replace("\n", " "))]
    assert blocks("12 Main Street\nSpringfield") == [Paragraph("12 Main Street\nSpringfield")]
    assert blocks("One sentence.\nAnother one.") == [Paragraph("One sentence."), Paragraph("Another one.")]
    chinese = "租客每个月一号付房租亏损可以抵扣以后\n年度的利润但是不能超过三年也不能超过\n五千元。"
    assert blocks(chinese) == [Paragraph(chinese.replace("\n", ""))]


def test_pages_and_encoding_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("第一页的内容是这样的。\f第二页。".encode("gb18030"))
    document = read(path)
    assert [(block.place.page, block) for block in document.blocks] == [
        (1, Paragraph("第一页的内容是这样的。", place=Place(1))),
        (2, Paragraph("第二页。", place=Place(2))),
    ]
    assert document.raw_pages == ("第一页的内容是这样的。", "第二页。")
    assert document.metadata["encoding"] == "gb18030"

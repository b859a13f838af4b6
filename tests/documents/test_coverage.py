"""The check against the text layer: nothing lost is passed over, nothing moved is called lost."""

from __future__ import annotations

from typing import Any

import pytest

from ragtune.documents.blocks import Block, Heading, Paragraph, Place, ReadDocument, Table
from ragtune.documents.coverage import coverage_of


def document(*blocks: Block, raw: tuple[str, ...], **metadata: Any) -> ReadDocument:
    return ReadDocument("d", blocks, raw, metadata=metadata)


def at(page: int) -> Place:
    return Place(page=page)


def test_a_lost_word_is_named_on_its_page() -> None:
    read = document(
        Paragraph("one two", place=at(1)), Paragraph("three", place=at(2)), raw=("one two", "three four five")
    )
    found = coverage_of(read)
    assert found.missing_by_page() == {2: ["four", "five"]}
    assert found.share == pytest.approx(3 / 5)


def test_a_word_counts_as_often_as_it_is_there() -> None:
    assert coverage_of(document(Paragraph("row", place=at(1)), raw=("row row",))).missing == 1


def test_a_word_of_a_later_page_does_not_stand_for_one_that_is_lost() -> None:
    read = document(Paragraph("again", place=at(2)), raw=("again", "again"))
    assert coverage_of(read).missing_by_page() == {1: ["again"]}


def test_a_block_goes_on_over_pages() -> None:
    table = Table((("a", "1"), ("b", "2"), ("c", "3")), place=at(1))
    assert coverage_of(document(table, raw=("a 1", "b 2", "c 3"))).share == 1


def test_blocks_without_a_page() -> None:
    assert coverage_of(document(Heading("All of it", 1), raw=("All", "of it"))).share == 1


def test_running_lines_are_counted_apart() -> None:
    read = document(
        Paragraph("report text", place=at(1)), raw=("ACME report\nreport text",), running_lines={1: ["ACME report"]}
    )
    (page,) = coverage_of(read).pages
    assert (page.words, page.removed, page.missing) == (2, 2, ())


def test_chinese_counts_by_character() -> None:
    found = coverage_of(document(Paragraph("检索模型"), raw=("检索的模型",)))
    assert (found.words, found.missing_by_page()) == (5, {1: ["的"]})


@pytest.mark.parametrize(
    ("raw", "arrived"),
    [
        ("the docu-\nment is", "the document is"),
        ("a well-\nknown form", "a well-known form"),
        ("on the 1 st of", "on the 1st of"),
        ("ﬁle", "file"),
        ("US$ 12,5", "US$12,5"),
    ],
)
def test_the_same_words_written_otherwise(raw: str, arrived: str) -> None:
    assert coverage_of(document(Paragraph(arrived), raw=(raw,))).missing == 0


def test_no_text_layer_has_no_share() -> None:
    assert coverage_of(document(raw=("", ""))).share is None

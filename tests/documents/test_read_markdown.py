"""Markdown: headings, lists, tables, code, front matter, and HTML in between."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragtune.documents.blocks import Block, Code, Heading, ListBlock, Paragraph, Table
from ragtune.documents.linear import document_text
from ragtune.documents.read_markdown import markdown_blocks, read

pytest.importorskip("markdown_it")
pytest.importorskip("selectolax")


def blocks(text: str) -> list[Block]:
    return list(markdown_blocks(text))


def test_both_kinds_of_headings() -> None:
    text = "Lease\n=====\n\n## Rent & *more* ##\n\nEnd\n---\n\n#tag is text"
    assert blocks(text) == [
        Heading("Lease", 1),
        Heading("Rent & more", 2),
        Heading("End", 2),
        Paragraph("#tag is text"),
    ]


def test_paragraphs_lose_their_markup_only() -> None:
    text = "It is **due** on\nthe [first](https://x.org 'y'), see `rent()` \\*now\\*.  \n"
    text += "Next line <b>bold</b> <br>end ~~no~~"
    assert blocks(text) == [Paragraph("It is due on the first, see rent() *now*.\nNext line bold \nend no")]


def test_pictures_give_their_words_and_badges_none() -> None:
    assert blocks("![A map of Bern](map.png)") == [Paragraph("A map of Bern")]
    assert blocks("[![build](https://img.shields.io/x)](https://ci)") == []


def test_lists_keep_depth_numbers_and_their_code() -> None:
    text = "1. one\n   - two\n     more\n2. three\n\n   ```sh\n   run\n   ```\n3. four\n\n   second paragraph\n"
    assert blocks(text) == [
        ListBlock(((0, "1. one"), (1, "- two more"), (0, "2. three"))),
        Code("run", language="sh"),
        ListBlock(((0, "3. four"), (0, "second paragraph"))),
    ]


def test_tables() -> None:
    text = "| part | price |\n|:--|--:|\n| **bolt** | `2\\|3` |\n| nut |\n"
    assert blocks(text) == [Table((("part", "price"), ("bolt", "2|3"), ("nut", "")), header_rows=1)]


def test_code_keeps_its_lines() -> None:
    assert blocks("```python title=x\ndef f():\n\n    return 1\n```") == [
        Code("def f():\n\n    return 1", language="python")
    ]
    assert blocks("    indented = 1\n") == [Code("indented = 1")]


def test_quotes_are_read_through() -> None:
    assert blocks("> It is **due**.\n>\n> - at once") == [Paragraph("It is due."), ListBlock(((0, "- at once"),))]


def test_html_is_read_as_html() -> None:
    text = "<!-- note -->\n<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>"
    text += "\n\n<p align=center>Hi</p>"
    assert blocks(text) == [Table((("a", "b"), ("1", "2")), header_rows=1), Paragraph("Hi")]


def test_front_matter_is_metadata(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("---\ntitle: 租约\ndate: 2024-05-01\ntags: [a, 2]\n---\n# 房租\n\n每月一号。\n", encoding="utf-8")
    document = read(path)
    assert document.blocks == (Heading("房租", 1), Paragraph("每月一号。"))
    assert document.metadata == {"title": "租约", "date": "2024-05-01", "tags": ["a", 2], "encoding": "utf-8"}


def test_a_line_drawn_at_the_top_is_no_front_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("---\nIt is due.\n---\nMore.\n", encoding="utf-8")
    assert "It is due." in document_text(read(path))


def test_real_files(shared_data: Path) -> None:
    readme = read(shared_data / "docs" / "md" / "docling-README.md")
    headings = [block.text for block in readme.blocks if isinstance(block, Heading)]
    assert headings[0] == "Docling"
    assert {"Features", "Quickstart", "License"} <= set(headings)
    assert sum(isinstance(block, Code) for block in readme.blocks) == 5
    assert "shields.io" not in document_text(readme)

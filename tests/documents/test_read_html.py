"""Web pages: what is content, and lists, tables and code in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragtune.documents.blocks import Block, Code, Heading, ListBlock, Paragraph, ReadDocument, Table
from ragtune.documents.linear import document_text
from ragtune.documents.read_html import read
from ragtune.errors import UnreadableFileError

pytest.importorskip("selectolax")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "page.html"


def read_page(page: Path, body: str, *, head: str = "<title>Rent</title>") -> ReadDocument:
    page.write_text(f"<!doctype html><html><head>{head}</head><body>{body}</body></html>", encoding="utf-8")
    return read(page)


def blocks(page: Path, body: str) -> list[Block]:
    return list(read_page(page, body).blocks)


FURNITURE = """
<header><a href="/">Logo words</a></header><nav>Home <a>Prices</a></nav><div class="cookie-banner">We use cookies</div>
<div id="breadcrumbs">You are here</div><div role="search">Find</div><aside>Read also</aside>
<script>var x = "code"</script>
<div class="sidebar">Popular</div><p hidden>Hidden words</p><button>Buy</button><noscript>No script</noscript>
"""


@pytest.mark.parametrize("wrap", ["{}", "<main>{}</main>", "<div><article>{}</article></div>"])
def test_what_stands_around_the_content_is_left_out(page: Path, wrap: str) -> None:
    content = wrap.format("<h1>Rent</h1><p>It is due <b>on the first</b>.</p>")
    document = read_page(page, FURNITURE + content + "<footer>All rights</footer>")
    assert document.blocks == (Heading("Rent", 1), Paragraph("It is due on the first."))
    assert document.metadata["title"] == "Rent"
    assert " ".join(document.raw_pages[0].split()) == "Rent It is due on the first."


def test_furniture_inside_furniture(page: Path) -> None:
    nested = "<nav><div class='menu'><nav><button>x</button></nav></div></nav>" * 50
    body = f"<div class='sidebar'>{nested}<div class='menu'>y</div></div><p>Due.</p>" * 20
    assert blocks(page, body) == [Paragraph("Due.")] * 20


def test_content_with_an_unlucky_name_stays(page: Path) -> None:
    body = "<div class='menu-layout'><p>All of the text is in here.</p></div><p>Short.</p>"
    assert Paragraph("All of the text is in here.") in blocks(page, body)


def test_a_main_part_that_holds_little_is_not_the_content(page: Path) -> None:
    assert len(blocks(page, "<main><p>Hi.</p></main>" + "<p>The text stands beside it.</p>" * 9)) == 10


def test_lists_keep_depth_and_numbers(page: Path) -> None:
    body = "<ul><li>a<ul><li>b</li></ul></li><li><p>c</p></li></ul><ol start=3><li>x</li><li>y</li></ol>"
    assert blocks(page, body) == [
        ListBlock(((0, "- a"), (1, "- b"), (0, "- c"))),
        ListBlock(((0, "3. x"), (0, "4. y"))),
    ]


def test_terms_and_their_meanings(page: Path) -> None:
    body = "<dl><dt>Rent</dt><dd>What is paid.</dd><div><dt>Lease</dt><dd>What binds.</dd></div></dl>"
    assert blocks(page, body) == [
        ListBlock(((0, "Rent"), (1, "What is paid."), (0, "Lease"), (1, "What binds."))),
    ]


def test_code_in_an_item_parts_the_list(page: Path) -> None:
    body = "<ol><li>Run<pre><code class='language-python'>x = 1\n  y</code></pre></li><li>Done</li></ol>"
    assert blocks(page, body) == [
        ListBlock(((0, "1. Run"),)),
        Code("x = 1\n  y", language="python"),
        ListBlock(((0, "2. Done"),)),
    ]


def test_spans_are_filled(page: Path) -> None:
    body = """<table><caption>Rents</caption>
    <thead><tr><th rowspan=2>City</th><th colspan=2>Rent</th></tr><tr><th>2022</th><th>2023</th></tr></thead>
    <tr><td rowspan=2>Bern</td><td>1</td><td>2</td></tr><tr><td colspan=2>none</td></tr>
    <tr><td>Basel</td></tr></table>"""
    assert blocks(page, body) == [
        Table(
            (
                ("City", "Rent", "Rent"),
                ("City", "2022", "2023"),
                ("Bern", "1", "2"),
                ("Bern", "none", ""),
                ("Basel", "", ""),
            ),
            header_rows=2,
            caption="Rents",
        )
    ]


def test_which_rows_are_headers(page: Path) -> None:
    facts = "<table><tr><th>City</th><td>Bern</td></tr><tr><th>Rent</th><td>900</td></tr></table>"
    plain = "<table><tr><td>City</td><td>Rent</td></tr>" + "<tr><td>Bern</td><td>9</td></tr>" * 2 + "</table>"
    titled = "<table><tr><th colspan=2>Facts</th></tr><tr><th>City</th><td>Bern</td></tr></table>"
    tables = blocks(page, facts + plain + titled)
    assert [(t.header_rows, t.caption) for t in tables if isinstance(t, Table)] == [(0, ""), (1, ""), (0, "Facts")]


def test_a_table_that_only_places_things_is_text(page: Path) -> None:
    body = (
        "<table><tr><td><h2>Rent</h2><p>Due.</p></td><td><table><tr><td>a</td><td>b</td></tr></table></td></tr></table>"
    )
    assert blocks(page, body) == [Heading("Rent", 2), Paragraph("Due."), Table((("a", "b"),), header_rows=0)]


def test_inline_text_joins_as_it_reads(page: Path) -> None:
    body = "H<sub>2</sub>O and\n  CO<sub>2</sub>&shy;gas<br>next&nbsp;line<div>own <i>block</i></div>tail"
    assert blocks(page, body) == [Paragraph("H2O and CO2gas\nnext line"), Paragraph("own block"), Paragraph("tail")]


def test_a_figure_has_its_caption(page: Path) -> None:
    body = "<figure><img alt='x'><figcaption>Fig. 1: rents</figcaption></figure>"
    assert blocks(page, body) == [Paragraph("Fig. 1: rents", role="caption")]


def test_the_declared_encoding_is_used(page: Path) -> None:
    page.write_bytes("<html><head><meta charset='big5'></head><body><p>租客付房租</p></body></html>".encode("big5"))
    assert read(page).blocks == (Paragraph("租客付房租"),)


def test_a_page_without_text_is_refused(page: Path) -> None:
    with pytest.raises(UnreadableFileError, match="no text"):
        read_page(page, "<div id='app'></div><script>render()</script>")
    page.write_text("<html><frameset><frame src='a.html'></frameset></html>", encoding="utf-8")
    with pytest.raises(UnreadableFileError, match="no text"):
        read(page)


def test_real_pages(shared_data: Path) -> None:
    folder = shared_data / "docs" / "html"
    duck = read(folder / "docling-wiki_duck.html")
    text = document_text(duck)
    assert duck.blocks[0] == Heading("Duck", 1)
    assert "Duck is the common name for numerous species of waterfowl" in text
    assert not [word for word in ("Afrikaans", "Main page", "Privacy policy", "[edit]") if word in text]
    facts = next(block for block in duck.blocks if isinstance(block, Table))
    assert (facts.caption, facts.header_rows) == ("Duck", 0)
    assert ("Family:", "Anatidae") in facts.rows
    cells = read(folder / "docling-html_rich_table_cells.html")
    tables = [block for block in cells.blocks if isinstance(block, Table)]
    assert [table.caption for table in tables][:2] == ["Basic duck facts", "Duck family tree (simplified)"]
    assert tables[0].rows[0] == ("Name", "Habitat", "Comment")

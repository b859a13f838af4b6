"""docling and unstructured behind the block model: on what they give, written down small; on themselves if there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragtune.documents import read_docling, read_unstructured
from ragtune.documents.blocks import Code, Heading, ListBlock, Paragraph, Place, Table


def prov(page: int, box: tuple[float, float, float, float], origin: str = "BOTTOMLEFT") -> list[dict[str, Any]]:
    left, top, right, bottom = box
    return [{"page_no": page, "bbox": {"l": left, "t": top, "r": right, "b": bottom, "coord_origin": origin}}]


def text(label: str, said: str, **more: Any) -> dict[str, Any]:
    return {"label": label, "text": said, "children": [], "content_layer": "body", "prov": [], **more}


def cells(*texts: str, head: bool = False) -> list[dict[str, Any]]:
    return [{"text": said, "column_header": head} for said in texts]


ORDER = ("texts/0", "texts/1", "texts/2", "groups/0", "tables/0", "texts/6", "texts/7")
EXPORTED: dict[str, Any] = {
    "schema_name": "DoclingDocument",
    "body": {"children": [{"$ref": f"#/{ref}"} for ref in ORDER]},
    "groups": [{"label": "list", "content_layer": "body", "children": [{"$ref": "#/texts/3"}, {"$ref": "#/texts/4"}]}],
    "texts": [
        text("page_header", "ACME", content_layer="furniture", prov=prov(1, (0, 790, 50, 780))),
        text("title", "The Title", prov=prov(1, (72, 700, 200, 680))),
        text("section_header", "Parts", level=1, children=[{"$ref": "#/texts/5"}]),
        text("list_item", "first", marker="1.", enumerated=True),
        text("list_item", "second", marker="2.", enumerated=True),
        text("text", "Under the heading."),
        text("code", "x = 1", code_language="Python"),
        text("caption", "Table 1: Prices"),
    ],
    "tables": [
        {
            "label": "table",
            "content_layer": "body",
            "captions": [{"$ref": "#/texts/7"}],
            "children": [],
            "prov": prov(2, (10, 20, 30, 40), "TOPLEFT"),
            "data": {"grid": [cells("part", "price", head=True), cells("bolt", "2")]},
        }
    ],
    "pages": {"1": {"size": {"width": 612, "height": 792}}, "2": {"size": {"width": 612, "height": 792}}},
}  # fmt: skip


def test_blocks_of_docling() -> None:
    assert list(read_docling.blocks_of(EXPORTED)) == [
        Heading("The Title", 1, place=Place(1, (72, 92, 200, 112))),
        Heading("Parts", 2),
        Paragraph("Under the heading."),
        ListBlock(((0, "1. first"), (0, "2. second"))),
        Table((("part", "price"), ("bolt", "2")), 1, "Table 1: Prices", place=Place(2, (10, 20, 30, 40))),
        Code("x = 1", "Python"),
    ]


def element(kind: str, said: str, **metadata: Any) -> dict[str, Any]:
    return {"type": kind, "element_id": said, "text": said, "metadata": metadata}


POINTS = [[1, 2], [1, 9], [5, 9], [5, 2]]
ROWS = "<thead><tr><th>part</th><th>price</th></tr></thead><tr><td>bolt &amp; nut</td></tr>"
ELEMENTS = [
    element("Header", "ACME", page_number=1),
    element("Title", "The Title", page_number=1, category_depth=0, coordinates={"points": POINTS}),
    element("NarrativeText", "Running text.", page_number=1),
    element("ListItem", "first", category_depth=0),
    element("ListItem", "inner", category_depth=1),
    element(
        "Table",
        "part price bolt 2",
        page_number=2,
        text_as_html=f"<table>{ROWS}</table>",
    ),
    element("CodeSnippet", "x = 1"),
    element("PageNumber", "2", page_number=2),
]  # fmt: skip


def test_blocks_of_unstructured() -> None:
    assert list(read_unstructured.blocks_of(ELEMENTS)) == [
        Heading("The Title", 1, place=Place(1, (1, 2, 5, 9))),
        Paragraph("Running text.", place=Place(1)),
        ListBlock(((0, "- first"), (1, "- inner"))),
        Table((("part", "price"), ("bolt & nut", "")), place=Place(2)),
        Code("x = 1"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("engine", [read_docling, read_unstructured], ids=["docling", "unstructured"])
def test_the_engine_itself(engine: Any, make_pdf: Callable[..., Path], drawing: Any) -> None:
    pytest.importorskip(engine.__name__.rpartition("_")[2])
    document = engine.read(make_pdf(lambda canvas: drawing.lines(canvas, ["A line of text that is read."])))
    assert "A line of text that is read." in [block.text for block in document.blocks if isinstance(block, Paragraph)]

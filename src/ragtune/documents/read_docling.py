"""Any file that docling converts, as blocks: from the tree that its ``export_to_dict`` gives."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ragtune.documents.blocks import Block, Code, Heading, ListBlock, Paragraph, Place, ReadDocument, Table
from ragtune.documents.read_pdf import text_layer
from ragtune.documents.readers import detect_reader
from ragtune.errors import MissingExtraError

_HEADINGS = ("title", "section_header")
_LISTS = ("list", "ordered_list")
_CODE = "code"
_ROLES = {"caption": "caption", "footnote": "footnote", "formula": "formula"}


def require() -> None:
    """Raise MissingExtraError when docling is not installed."""
    if importlib.util.find_spec("docling") is None:
        raise MissingExtraError(package="docling", extra="docling", needed_for="--reader docling")


def read(path: Path) -> ReadDocument:
    """The blocks of a file; a PDF's text layer is read beside it, so that what docling leaves out is told."""
    kind = detect_reader(path).name
    from docling.document_converter import DocumentConverter

    exported = DocumentConverter().convert(path).document.export_to_dict()
    blocks = tuple(blocks_of(exported))
    layer = text_layer(path) if kind == "pdf" else _own_text(exported)
    return ReadDocument(
        name=path.name, blocks=blocks, raw_pages=layer, metadata={"running_lines": _furniture(exported)}
    )


def blocks_of(exported: Mapping[str, Any]) -> Iterator[Block]:
    """The blocks of an exported DoclingDocument (its schema 1.x), in reading order; furniture is left out."""
    pages = exported.get("pages", {})
    # a caption stands in the tree too, beside the table that names it
    captions = {ref["$ref"] for table in exported.get("tables", []) for ref in table.get("captions", [])}
    yield from _walk([r for r in exported["body"]["children"] if r["$ref"] not in captions], exported, pages)


def _walk(refs: Sequence[Mapping[str, str]], exported: Mapping[str, Any], pages: Mapping[str, Any]) -> Iterator[Block]:
    for ref in refs:
        item = _resolve(ref["$ref"], exported)
        if item.get("content_layer", "body") != "body":
            continue
        label, children = item.get("label", ""), item.get("children", [])
        if label in _LISTS:
            items = tuple(_items(item, exported, depth=0))
            place = next((_place(_resolve(c["$ref"], exported), pages) for c in children), Place())
            yield from [ListBlock(items, place=place)] if items else []
            continue
        if "data" in item and "grid" in item["data"]:
            yield _table(item, exported, pages)
            continue
        block = _text_block(item, label, _place(item, pages))
        if block is not None:
            yield block
        yield from _walk(children, exported, pages)


def _resolve(ref: str, exported: Mapping[str, Any]) -> Mapping[str, Any]:
    """``#/texts/3`` -> the fourth text."""
    _, kind, index = ref.split("/")
    item: Mapping[str, Any] = exported[kind][int(index)]
    return item


def _text_block(item: Mapping[str, Any], label: str, place: Place) -> Block | None:
    text = item.get("text", "").strip()
    if not text:
        return None
    if label in _HEADINGS:
        # a title stands above the sections, whose level counts from 1
        return Heading(text, level=1 if label == "title" else int(item.get("level", 1)) + 1, place=place)
    if label == _CODE:
        return Code(text, language=str(item.get("code_language") or ""), place=place)
    return Paragraph(text, role="item" if label == "list_item" else _ROLES.get(label, "text"), place=place)


def _items(group: Mapping[str, Any], exported: Mapping[str, Any], *, depth: int) -> Iterator[tuple[int, str]]:
    for ref in group.get("children", []):
        item = _resolve(ref["$ref"], exported)
        inner = depth + 1
        if item.get("label") in _LISTS:
            inner = depth
        elif item.get("text", "").strip():
            yield depth, f"{item.get('marker') or '-'} {item['text'].strip()}"
        yield from _items(item, exported, depth=inner)


def _table(item: Mapping[str, Any], exported: Mapping[str, Any], pages: Mapping[str, Any]) -> Table:
    grid = item["data"]["grid"]
    heads = 0
    for row in grid:
        if not any(cell.get("column_header") for cell in row):
            break
        heads += 1
    captions = [_resolve(ref["$ref"], exported).get("text", "") for ref in item.get("captions", [])]
    rows = tuple(tuple(" ".join(cell.get("text", "").split()) for cell in row) for row in grid)
    return Table(rows, header_rows=heads, caption=" ".join(captions), place=_place(item, pages))


def _place(item: Mapping[str, Any], pages: Mapping[str, Any]) -> Place:
    found = item.get("prov") or []
    if not found:
        return Place()
    page, box = found[0]["page_no"], found[0]["bbox"]
    top, bottom = box["t"], box["b"]
    if box.get("coord_origin", "TOPLEFT") == "BOTTOMLEFT":
        height = pages[str(page)]["size"]["height"]
        top, bottom = height - top, height - bottom
    return Place(page=page, box=(box["l"], top, box["r"], bottom))


def _own_text(exported: Mapping[str, Any]) -> tuple[str, ...]:
    """Texts and cells as docling holds them: the check then says what the blocks lack of them."""
    cells = (cell.get("text", "") for t in exported.get("tables", []) for row in t["data"]["grid"] for cell in row)
    texts = (item.get("text", "") for item in exported.get("texts", []) if item.get("content_layer") != "furniture")
    return ("\n".join([*texts, *cells]),)


def _furniture(exported: Mapping[str, Any]) -> dict[int, list[str]]:
    lines: dict[int, list[str]] = {}
    for item in exported.get("texts", []):
        if item.get("content_layer") == "furniture" and item.get("prov"):
            lines.setdefault(item["prov"][0]["page_no"], []).append(item["text"])
    return lines

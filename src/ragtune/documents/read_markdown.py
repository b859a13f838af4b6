"""Markdown: headings, lists, tables, code, the front matter; HTML in it is read as HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ragtune.documents.blocks import Block, Code, Heading, ListBlock, Paragraph, ReadDocument, Table
from ragtune.documents.encoding import decode
from ragtune.documents.html_blocks import even_rows, html_blocks
from ragtune.documents.read_html import parse_html, strip_furniture
from ragtune.errors import MissingExtraError

if TYPE_CHECKING:
    from markdown_it.token import Token

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_MARKUP = (
    (re.compile(r"\[!\[[^\]]*\]\([^)]*\)\]\([^)]*\)"), " "),  # a badge: a picture that is a link
    (re.compile(r"!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])"), r"\1"),
    (re.compile(r"^\s*\[[^\]]+\]:\s+\S+.*$", re.MULTILINE), ""),
    (re.compile(r"<!--.*?-->|</?[a-zA-Z][^>]*>", re.DOTALL), " "),
    (re.compile(r"^\s*```.*$|^[\s|:-]+$", re.MULTILINE), ""),
    (re.compile(r"\\(?=[^\w\s])|\*\*|__|~~|`"), ""),
)


def read(path: Path) -> ReadDocument:
    """The blocks of a Markdown file; its front matter becomes metadata."""
    decoded = decode(path.read_bytes())
    front, body = _front_matter(decoded.text)
    metadata = {**front, "encoding": decoded.encoding}
    return ReadDocument(
        path.name, tuple(markdown_blocks(body)), (_plain(body),), metadata=metadata, notices=decoded.notices
    )


def markdown_blocks(text: str) -> Iterator[Block]:
    """The blocks of a Markdown text. Raises MissingExtraError."""
    try:
        from markdown_it import MarkdownIt
    except ImportError as error:
        raise MissingExtraError(package="markdown-it-py", extra="ingest", needed_for="reading Markdown") from error
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    yield from _blocks(parser.parse(text))


def _front_matter(text: str) -> tuple[dict[str, Any], str]:
    """(what the front matter says, the text below it); lines that are no mapping are text."""
    found = _FRONT_MATTER.match(text)
    if not found:
        return {}, text
    try:
        values = yaml.safe_load(found.group(1))
    except yaml.YAMLError:
        return {}, text
    if not isinstance(values, dict):
        return {}, text
    return {str(key): _json_value(value) for key, value in values.items()}, text[found.end() :]


def _json_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _json_value(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_json_value(inner) for inner in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _plain(text: str) -> str:
    """The text with its markup taken out by simple means, for the coverage check."""
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return text


def _blocks(tokens: Sequence[Token]) -> Iterator[Block]:
    index = 0
    while index < len(tokens):
        token = tokens[index]
        stop = _closing(tokens, index)
        inside = tokens[index + 1 : stop]
        if token.type == "heading_open":
            if text := " ".join(_inline(inside[0]).split()):
                yield Heading(text, int(token.tag[1]))
        elif token.type == "paragraph_open":
            if text := _inline(inside[0]).strip():
                yield Paragraph(text)
        elif token.type in ("bullet_list_open", "ordered_list_open"):
            yield from _list(tokens[index : stop + 1])
        elif token.type in ("fence", "code_block"):
            if token.content.strip():
                yield Code(token.content.strip("\n"), language=(token.info.split() or [""])[0])
        elif token.type == "table_open":
            yield _table(inside)
        elif token.type == "html_block":
            yield from _html(token.content)
        elif inside:
            yield from _blocks(inside)
        index = stop + 1


def _closing(tokens: Sequence[Token], index: int) -> int:
    """Where the token that ``index`` opens is closed; the same place when it opens nothing."""
    if tokens[index].nesting != 1:
        return index
    level = tokens[index].level
    return next(i for i in range(index + 1, len(tokens)) if tokens[i].nesting == -1 and tokens[i].level == level)


def _list(tokens: Sequence[Token]) -> Iterator[Block]:
    """A list as one block; code, tables and pictures inside an item part it."""
    items: list[tuple[int, str]] = []
    for part in _parts(tokens, 0):
        if isinstance(part, tuple):
            items.append(part)
            continue
        if items:
            yield ListBlock(tuple(items))
        items = []
        yield part
    if items:
        yield ListBlock(tuple(items))


def _parts(tokens: Sequence[Token], depth: int) -> Iterator[tuple[int, str] | Block]:
    """(depth, text with marker) of every item, and the blocks inside that are no running text."""
    number = int(tokens[0].attrGet("start") or 1) if tokens[0].type == "ordered_list_open" else None
    index = 1
    while index < len(tokens) - 1:
        stop = _closing(tokens, index)
        marker = "- " if number is None else f"{number}. "
        number = None if number is None else number + 1
        for part in _item(tokens[index + 1 : stop], depth):
            if isinstance(part, str):
                yield depth, f"{marker}{part}"
                marker = ""  # a second paragraph of the item
            else:
                yield part
        index = stop + 1


def _item(tokens: Sequence[Token], depth: int) -> Iterator[str | tuple[int, str] | Block]:
    index = 0
    while index < len(tokens):
        stop = _closing(tokens, index)
        kind = tokens[index].type
        if kind == "paragraph_open":
            if text := " ".join(_inline(tokens[index + 1]).split()):
                yield text
        elif kind in ("bullet_list_open", "ordered_list_open"):
            yield from _parts(tokens[index : stop + 1], depth + 1)
        else:
            yield from _blocks(tokens[index : stop + 1])
        index = stop + 1


def _table(tokens: Sequence[Token]) -> Table:
    rows: list[list[str]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(" ".join(_inline(token).split()))
    return Table(even_rows(rows), header_rows=1)


def _inline(token: Token) -> str:
    """The text of an inline token: links by their words, pictures by theirs unless they are links (badges)."""
    text: list[str] = []
    links = 0
    for child in token.children or []:
        if child.type in ("text", "code_inline"):
            text.append(child.content)
        elif child.type == "softbreak":
            text.append(" ")
        elif child.type == "hardbreak" or (child.type == "html_inline" and child.content.lower().startswith("<br")):
            text.append("\n")
        elif child.type in ("link_open", "link_close"):
            links += child.nesting
        elif child.type == "image" and not links:
            text.append(child.content)
    return re.sub(r"[ \t]+", " ", "".join(text))


def _html(content: str) -> Iterator[Block]:
    tree = parse_html(content)
    _, root = strip_furniture(tree)
    yield from html_blocks(root)

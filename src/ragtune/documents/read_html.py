"""Web pages: the content without navigation, in blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ragtune.documents.blocks import ReadDocument
from ragtune.documents.encoding import decode
from ragtune.documents.html_blocks import html_blocks, inline_text
from ragtune.documents.readers import unreadable
from ragtune.errors import MissingExtraError

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

_DECLARED = re.compile(rb"""charset\s*=\s*["']?([\w-]+)""", re.IGNORECASE)

_FURNITURE = (
    "head, script, style, noscript, template, svg, iframe, object, nav, footer, aside, button, select, input, textarea,"
    "dialog, [hidden], [aria-hidden=true], [role=navigation], [role=banner], [role=contentinfo], [role=complementary],"
    "[role=search], [role=dialog], [role=alertdialog], [role=menu], [role=menubar], [role=toolbar],"
    # links to the page in other languages and to its own headings, lists of links beside a headline
    "a[hreflang], a.headerlink, a.hash-link, a.anchor, header ul, header ol"
)
_NAMES = frozenset(
    """
    cookie cookies consent gdpr breadcrumb breadcrumbs navbar navbox navigation pagination sidebar sitenav menu
    mw-editsection mw-jump-link noprint printfooter catlinks newsletter share sharing social advert advertisement
    ads skip-link toc related-posts
    """.split()  # noqa: SIM905
)
"""Classes and ids (whole, or their part before the first hyphen or underscore) of what stands around the content."""
_NAME_PARTS = re.compile(r"[-_]+")
_NEVER_FURNITURE = ("html", "body", "main", "article", "table", "pre", "code")
_FURNITURE_SHARE = 0.4
"""What holds more of the page's text is not furniture, whatever it is called."""
_MAIN_SHARE = 0.2
"""A main part with less of the page's text is not where the text is."""


def read(path: Path) -> ReadDocument:
    """The content of a web page: ``main`` or the one ``article`` where there is one, else the body."""
    data = path.read_bytes()
    declared = _DECLARED.search(data[:4096])
    decoded = decode(data, declared=declared.group(1).decode() if declared else "")
    tree = parse_html(decoded.text)
    title = " ".join(found.text().split()) if (found := tree.css_first("title")) else ""
    raw, root = strip_furniture(tree)
    if not raw.strip():
        found_text = f"{len(data)} bytes without text in the body"
        do = "save the page from a browser after its scripts have run"
        raise unreadable(path, what="the page has no text", found=found_text, do=do)
    metadata = {"title": title, "encoding": decoded.encoding}
    return ReadDocument(path.name, tuple(html_blocks(root)), (raw,), metadata=metadata, notices=decoded.notices)


def parse_html(text: str) -> LexborHTMLParser:
    """The tree of a page. Raises MissingExtraError."""
    try:
        from selectolax.lexbor import LexborHTMLParser
    except ImportError as error:
        raise MissingExtraError(package="selectolax", extra="ingest", needed_for="reading HTML") from error
    return LexborHTMLParser(text)


def strip_furniture(tree: LexborHTMLParser) -> tuple[str, LexborNode]:
    """Take what is not content out of a page: (its remaining text, the node that holds it)."""
    body = tree.body if tree.body is not None else tree.root  # a page of frames has no body
    assert body is not None, "a parsed page has a root"
    _remove([node for node in tree.css(_FURNITURE) if node.tag not in ("html", "body", "main")])
    root = _main_part(tree, body)
    total = len(root.text())
    named = [
        node
        for node in root.css("[class], [id]")
        if node.tag not in _NEVER_FURNITURE and _is_furniture(node) and len(node.text()) < _FURNITURE_SHARE * total
    ]
    _remove(named)
    if root.tag == "body":
        _remove(root.css("body > header"))
    return inline_text(root), root


def _remove(nodes: Sequence[LexborNode]) -> None:
    """Take nodes out of their tree. Those inside another of them go with it: touching them later reads freed memory."""
    removed = {node.mem_id for node in nodes}
    for node in [node for node in nodes if not any(above.mem_id in removed for above in _ancestors(node))]:
        node.decompose()


def _ancestors(node: LexborNode) -> Iterator[LexborNode]:
    above = node.parent
    while above is not None:
        yield above
        above = above.parent


def _main_part(tree: LexborHTMLParser, body: LexborNode) -> LexborNode:
    articles = tree.css("article")
    choices = [*tree.css("main, [role=main]"), *(articles if len(articles) == 1 else [])]
    enough = _MAIN_SHARE * len(body.text())
    return next((node for node in choices if len(node.text()) >= enough), body)


def _is_furniture(node: LexborNode) -> bool:
    names = f"{node.attributes.get('class') or ''} {node.attributes.get('id') or ''}".lower().split()
    return any(name in _NAMES or _NAME_PARTS.split(name)[0] in _NAMES for name in names)

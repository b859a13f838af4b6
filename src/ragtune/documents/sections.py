"""A document by its headings: every stretch between two of them, with the path of headings over it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import final

from ragtune.documents.blocks import Heading, ReadDocument
from ragtune.documents.linear import LinearBlock, linear_blocks
from ragtune.documents.pieces import CountTokens


@final
@dataclass(frozen=True, slots=True)
class Section:
    """What stands under one heading, up to the next.

    ``full_path`` holds the headings over it from the outermost; ``path`` the innermost of them that are short enough
    to stand in every passage's title.
    """

    full_path: tuple[str, ...]
    path: tuple[str, ...]
    blocks: tuple[LinearBlock, ...]


def sections_of(document: ReadDocument, *, longest_title: int, count_tokens: CountTokens) -> list[Section]:
    """The sections of a document that hold text, in order.

    A heading with nothing below it is itself the text of its section, so that it is not lost; so is one of more than
    ``longest_title`` tokens, which no title could hold. One that only says again what stands over it is left out.
    """
    blocks = linear_blocks(document)
    headings = {index: block.block.level for index, block in enumerate(blocks) if isinstance(block.block, Heading)}
    sizes = count_tokens([blocks[index].text for index in headings]) if headings else []
    levels = {i: level for (i, level), size in zip(headings.items(), sizes, strict=True) if size <= longest_title}
    root = _root(document, levels)
    path: list[tuple[int, str]] = []
    found = []
    starts = sorted({0, *levels})
    for start, stop in pairwise([*starts, len(blocks)]):
        body = blocks[start:stop]
        if start in levels:
            path = [(level, text) for level, text in path if level < levels[start]]
            if len(body) > 1 or levels.get(stop, 0) > levels[start]:
                path.append((levels[start], body.pop(0).text))
        full = _under(root, tuple(text for _, text in path))
        if body and not _says_only(body, full[-1:]):
            found.append(Section(full, _short_path(full, longest_title, count_tokens), tuple(body)))
    return found


def _root(document: ReadDocument, levels: dict[int, int]) -> str:
    """The document's title, unless it is a number or the document begins with a heading over all others."""
    title = " ".join(str(document.metadata.get("title") or "").split())
    if not re.search(r"[^\W\d_]{2}", title):
        return ""
    outermost = [index for index, level in levels.items() if level == min(levels.values())]
    return "" if outermost == [0] else title


def _under(root: str, path: tuple[str, ...]) -> tuple[str, ...]:
    if not root or (path and path[0].casefold() == root.casefold()):
        return path
    return (root, *path)


def _says_only(blocks: list[LinearBlock], title: tuple[str, ...]) -> bool:
    return [block.text.casefold() for block in blocks] == [text.casefold() for text in title]


def _short_path(path: tuple[str, ...], longest: int, count_tokens: CountTokens) -> tuple[str, ...]:
    endings = [path[start:] for start in range(len(path))]
    sizes = count_tokens([" > ".join(ending) for ending in endings]) if endings else []
    return next((ending for ending, size in zip(endings, sizes, strict=True) if size <= longest), ())

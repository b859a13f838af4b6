"""What a Word document's styles mean: heading levels, lists, captions, code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

from ragtune.documents.docx_text import W

_HEADING = re.compile(r"^(?:heading|标题|überschrift|titre)\s*(\d)$", re.IGNORECASE)
_CODE = re.compile(r"\bcode\b|preformatted|macro text", re.IGNORECASE)
_BODY_LEVEL = 9


@final
@dataclass(frozen=True, slots=True)
class _Style:
    name: str
    base: str | None
    properties: Any | None


@final
class Styles:
    """The paragraph styles of a document; a style takes over what it does not set from the one it builds on."""

    def __init__(self, element: Any) -> None:
        self._styles: dict[str, _Style] = {}
        self._default: str | None = None
        for style in element.findall(f"{W}style"):
            name, base = style.find(f"{W}name"), style.find(f"{W}basedOn")
            identity = style.get(f"{W}styleId")
            self._styles[identity] = _Style(
                name="" if name is None else name.get(f"{W}val"),
                base=None if base is None else base.get(f"{W}val"),
                properties=style.find(f"{W}pPr"),
            )
            if style.get(f"{W}type") == "paragraph" and style.get(f"{W}default") in ("1", "true"):
                self._default = identity

    def _chain(self, paragraph: Any) -> Iterator[_Style]:
        found = paragraph.find(f"{W}pPr/{W}pStyle")
        identity = self._default if found is None else found.get(f"{W}val")
        seen: set[str] = set()
        while identity in self._styles and identity not in seen:
            seen.add(identity)
            style = self._styles[identity]
            yield style
            identity = style.base

    def _properties(self, paragraph: Any, path: str) -> Iterator[Any]:
        """A property of the paragraph, then of its styles from the nearest."""
        own = paragraph.find(f"{W}pPr")
        for properties in (own, *(style.properties for style in self._chain(paragraph))):
            if properties is not None and (found := properties.find(path)) is not None:
                yield found

    def _names(self, paragraph: Any) -> list[str]:
        return [style.name for style in self._chain(paragraph)]

    def heading_level(self, paragraph: Any) -> int | None:
        """1 for the outermost heading, 0 for the document's title, None for what is none."""
        names = self._names(paragraph)
        if names and names[0].lower() == "title":
            return 0
        outline = next(self._properties(paragraph, f"{W}outlineLvl"), None)
        if outline is not None:
            level = int(outline.get(f"{W}val"))
            return level + 1 if level < _BODY_LEVEL else None
        named = (_HEADING.match(name) for name in names)
        return next((int(found.group(1)) for found in named if found), None)

    def list_place(self, paragraph: Any) -> tuple[str, int] | None:
        """(list, depth from 0) of a paragraph in a list."""
        number = next(self._properties(paragraph, f"{W}numPr/{W}numId"), None)
        if number is None or number.get(f"{W}val") == "0":
            return None
        depth = next(self._properties(paragraph, f"{W}numPr/{W}ilvl"), None)
        return number.get(f"{W}val"), 0 if depth is None else int(depth.get(f"{W}val"))

    def is_contents(self, paragraph: Any) -> bool:
        """Whether a paragraph is a line of a table of contents."""
        return any(name.lower().startswith("toc ") for name in self._names(paragraph)[:1])

    def role(self, paragraph: Any) -> str:
        """``caption``, ``code`` or ``text``."""
        names = self._names(paragraph)
        if any(name.lower() in ("caption", "题注") for name in names):
            return "caption"
        return "code" if names and _CODE.search(names[0]) else "text"

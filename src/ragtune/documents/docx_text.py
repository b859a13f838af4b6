"""The text of a Word paragraph as it reads: tracked deletions and field codes left out, text boxes set aside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, final

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MATH_TEXT = "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"

_LEFT_OUT = frozenset(
    {*(W + name for name in ("del", "moveFrom", "pPr", "rPr", "instrText", "delText", "sdtPr", "rt")), _FALLBACK}
)
_TEXTS = frozenset((f"{W}t", _MATH_TEXT))
_MARKS = {f"{W}tab": "\t", f"{W}cr": "\n", f"{W}noBreakHyphen": "-", f"{W}ptab": "\t"}
_NOTES = {f"{W}footnoteReference": "footnotes", f"{W}endnoteReference": "endnotes"}
_GALLERY = f"{W}sdtPr/{W}docPartObj/{W}docPartGallery"


@final
@dataclass(slots=True)
class ParagraphText:
    """A paragraph's text, the notes that it points to as (kind, id), and its text boxes."""

    text: str = ""
    notes: list[tuple[str, str]] = field(default_factory=list)
    boxes: list[Any] = field(default_factory=list)


def paragraph_text(paragraph: Any) -> ParagraphText:
    """What a ``w:p`` element says."""
    found = ParagraphText()
    parts: list[str] = []
    _gather(paragraph, parts, found)
    lines = (re.sub(r"[ \t\xa0]+", " ", line).strip() for line in "".join(parts).split("\n"))
    found.text = "\n".join(line for line in lines if line)
    return found


def _gather(element: Any, parts: list[str], found: ParagraphText) -> None:
    for child in element:
        tag = child.tag
        if tag in _LEFT_OUT:
            continue
        if tag in _TEXTS:
            parts.append(child.text or "")
        elif tag in _MARKS:
            parts.append(_MARKS[tag])
        elif tag == f"{W}br":
            parts.append("\n" if child.get(f"{W}type") in (None, "textWrapping") else "")
        elif tag in _NOTES:
            found.notes.append((_NOTES[tag], child.get(f"{W}id")))
        elif tag == f"{W}txbxContent":
            found.boxes.append(child)
        elif not (tag == f"{W}r" and is_on(child.find(f"{W}rPr/{W}vanish"))):
            _gather(child, parts, found)


def is_on(switch: Any) -> bool:
    """Whether a switch such as ``w:vanish`` stands and is not set to off."""
    return switch is not None and switch.get(f"{W}val") not in ("0", "false", "off", "none")


def body_children(container: Any) -> Iterator[Any]:
    """Paragraphs and tables of a body, cell or text box, those in content controls among them; no table of contents."""
    for child in container:
        if child.tag in (f"{W}p", f"{W}tbl"):
            yield child
        elif child.tag == f"{W}sdt":
            gallery = child.find(_GALLERY)
            content = child.find(f"{W}sdtContent")
            if content is not None and not (gallery is not None and gallery.get(f"{W}val") == "Table of Contents"):
                yield from body_children(content)
        elif child.tag in (f"{W}ins", f"{W}moveTo", f"{W}customXml", f"{W}smartTag"):
            yield from body_children(child)

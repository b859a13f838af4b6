"""What a document is made of, whatever file it came from: blocks in reading order, each with its place.

Every reader gives these, and chunking, coverage and the pairs from structure read nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, final


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Where a block stands: ``page`` counts from 1 (a slide, a sheet), ``box`` is (left, top, right, bottom) in points.

    None where the format has no pages or no positions.
    """

    page: int | None = None
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a document in reading order."""

    kind: ClassVar[str]
    place: Place = field(default=Place(), kw_only=True)


@final
@dataclass(frozen=True, slots=True)
class Heading(Block):
    """A heading; ``level`` counts from 1, the outermost."""

    kind = "heading"
    text: str
    level: int


@final
@dataclass(frozen=True, slots=True)
class Paragraph(Block):
    """Running text; a list item, a caption or a speaker's note names its ``role``."""

    kind = "paragraph"
    text: str
    role: str = "text"


@final
@dataclass(frozen=True, slots=True)
class ListBlock(Block):
    """A list: (depth from 0, text with its marker) an item."""

    kind = "list"
    items: tuple[tuple[int, str], ...]


@final
@dataclass(frozen=True, slots=True)
class Table(Block):
    """A table as rows of cell texts. The first ``header_rows`` rows name the columns; ``caption`` stands over it."""

    kind = "table"
    rows: tuple[tuple[str, ...], ...]
    header_rows: int = 1
    caption: str = ""


@final
@dataclass(frozen=True, slots=True)
class Code(Block):
    """Preformatted text, its line breaks kept."""

    kind = "code"
    text: str
    language: str = ""


@final
@dataclass(frozen=True, slots=True)
class ReadDocument:
    """A file as it was read.

    ``raw_pages`` is the text layer page by page, as the format's plainest extractor gives it, for the coverage check.
    ``notices`` says what is odd but usable, such as pages that hold pictures and no text.
    """

    name: str
    blocks: tuple[Block, ...]
    raw_pages: tuple[str, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

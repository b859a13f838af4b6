"""Blocks cut into pieces that fit a token budget, each cut at the best place that is left: row, sentence, clause, word.

Pieces are spans of the document's text in its order, and together they hold all of it but white space.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

from ragtune.documents.blocks import Code, Heading, ListBlock, Paragraph, Table
from ragtune.documents.linear import CELL_SEPARATOR, LinearBlock, table_body, table_head
from ragtune.documents.sentences import Span, clause_spans, line_spans, sentence_spans, word_spans

CountTokens = Callable[[Sequence[str]], list[int]]
Cutter = Callable[[str], list[Span]]

_NAME_ONLY = re.compile(r"[^|]*[^\W\d_][^|]*(?: \|)+\s*")
BATCH_TEXTS = 1_000
"""Texts counted at a time: a tokenizer's result for one text takes kilobytes, and a sheet may have a million rows."""
LONGEST_TITLE_LINE = 120
"""A line of more characters is running text, whatever it ends with."""
_ENDINGS = tuple(".。!！?？;；,，…”\"')）")


@final
@dataclass(frozen=True, slots=True)
class Piece:
    """A span of the document's text that is not cut further.

    ``repeats`` is set before the piece where it is the first of its passage: a table's caption and header. ``opens``
    marks the first piece of a block too long for one passage; ``flows`` marks running text, which overlap may repeat,
    and ``inside`` a piece that begins in the middle of a sentence.
    """

    start: int
    end: int
    repeats: str = ""
    opens: bool = False
    flows: bool = False
    inside: bool = False


@final
@dataclass(frozen=True, slots=True)
class Room:
    """What a passage of one section has room for: its title is part of it."""

    text: str
    title: str
    max_tokens: int
    count_tokens: CountTokens

    def sizes(self, texts: Sequence[str]) -> list[int]:
        """Tokens of every text with the section's title before it."""
        found: list[int] = []
        for batch in (texts[start : start + BATCH_TEXTS] for start in range(0, len(texts), BATCH_TEXTS)):
            found += self.count_tokens([f"{self.title} {text}" if self.title else text for text in batch])
        return found

    def holds(self, pieces: Sequence[Piece]) -> list[bool]:
        """Whether every piece fits by itself."""
        sizes = self.sizes([piece.repeats + self.text[piece.start : piece.end] for piece in pieces])
        return [size <= self.max_tokens for size in sizes]

    def holds_one(self, piece: Piece) -> bool:
        """Whether a piece fits by itself."""
        return self.holds([piece])[0]


def pieces_of(blocks: Sequence[LinearBlock], room: Room) -> list[Piece]:
    """The blocks of a section as pieces, in order; a block is one piece where it fits.

    A list, and whatever is announced by a line or a caption over it, is one piece with it where they fit together;
    else the line still goes with the first item, row or sentence.
    """
    pieces: list[Piece] = []
    for number, block in enumerate(blocks):
        led = number > 0 and _leads(blocks[number - 1], block)
        flows = _flows(block) and bool(pieces) and pieces[-1].flows
        # a paragraph that was cut leads with its last piece
        if led and room.holds_one(Piece(pieces[-1].start, block.end)):
            lead = pieces.pop()
            pieces.append(Piece(lead.start, block.end, opens=lead.opens, flows=flows, inside=lead.inside))
            continue
        own = _cut_block(block, room)
        if led and room.holds_one(Piece(pieces[-1].start, own[0].end)):
            lead = pieces.pop()
            own[0] = Piece(lead.start, own[0].end, opens=True, flows=flows, inside=lead.inside)
        pieces += own
    return pieces


def _flows(block: LinearBlock) -> bool:
    return isinstance(block.block, Paragraph | Heading)


def _leads(lead: LinearBlock, block: LinearBlock) -> bool:
    """Whether a paragraph belongs to what stands below it: over a list, or a caption, a colon, a line like a title."""
    if not isinstance(lead.block, Paragraph) or isinstance(block.block, Heading):
        return False
    if isinstance(block.block, ListBlock) or lead.text.endswith((":", "：")):
        return True
    if lead.block.role == "caption":
        return not isinstance(block.block, Paragraph)
    return len(lead.text) <= LONGEST_TITLE_LINE and not lead.text.endswith(_ENDINGS) and "\n" not in lead.text


def _cut_block(block: LinearBlock, room: Room) -> list[Piece]:
    whole = Piece(block.start, block.end, flows=_flows(block))
    if room.holds_one(whole):
        return [whole]
    if isinstance(block.block, Table):
        first, *rest = _cut_table(block, block.block, room)
    else:
        cutters = _CODE if isinstance(block.block, Code) else _LIST if isinstance(block.block, ListBlock) else _RUNNING
        first, *rest = _cut(whole, cutters, room)
    return [Piece(first.start, first.end, opens=True, flows=first.flows), *rest]


def _cut(piece: Piece, cutters: Sequence[Cutter], room: Room) -> Iterator[Piece]:
    """A piece that does not fit, cut at the first kind of place, and its parts further where they do not fit."""
    if not cutters:
        yield piece  # a single character
        return
    spans = cutters[0](room.text[piece.start : piece.end])
    within = cutters[0] in _INSIDE_SENTENCES
    parts = [
        Piece(
            piece.start + start,
            piece.start + end,
            piece.repeats,
            flows=piece.flows,
            inside=within if number else piece.inside,
        )
        for number, (start, end) in enumerate(spans)
    ]
    for part, fits in zip(parts, room.holds(parts), strict=True):
        if fits:
            yield part
        else:
            yield from _cut(part, cutters[1:], room)


def _cut_table(block: LinearBlock, table: Table, room: Room) -> Iterator[Piece]:
    """A table's rows, the first with the header; every other repeats the header if a passage begins with it."""
    head = table_head(table)
    repeats = _repeated(head, table, room)
    body_start = block.start + sum(len(line) + 1 for line in head)
    spans, start = [], body_start
    for line in table_body(table):
        spans.append((start, start + len(line)))
        start += len(line) + 1
    spans = list(_row_groups(room.text, spans))
    first_end = spans[0][1] if spans else block.end
    opening = Piece(block.start, first_end)
    if head and room.holds_one(opening):
        yield opening
        spans = spans[1:]
    elif head:
        yield from _cut(Piece(block.start, body_start - 1), _TABLE, room)
    rows = [Piece(start, end, repeats) for start, end in spans]
    for row, fits in zip(rows, room.holds(rows), strict=True):
        if fits:
            yield row
        else:
            yield from _cut(row, _TABLE, room)


def _row_groups(text: str, rows: Sequence[Span]) -> Iterator[Span]:
    """Rows, each with the rows above it that hold nothing but a name: "Current assets:" and its first line."""
    begin: int | None = None
    for number, (start, end) in enumerate(rows):
        begin = start if begin is None else begin
        if number + 1 == len(rows) or not _NAME_ONLY.fullmatch(text[start:end]):
            yield begin, end
            begin = None


def _repeated(head: Sequence[str], table: Table, room: Room) -> str:
    """What stands before every further group of rows: caption and header, if most of the budget is left for rows."""
    header = head[1:] if table.caption.strip() else head
    choices = ["".join(f"{line}\n" for line in lines) for lines in (head, header) if lines]
    sizes = room.sizes(choices)
    return next((text for text, size in zip(choices, sizes, strict=True) if size <= room.max_tokens // 2), "")


def _items(text: str) -> list[Span]:
    """Items of a list, each with the deeper ones below it."""
    starts = [match.start() for match in re.finditer(r"^\S", text, re.MULTILINE)] or [0]
    bounds = [0, *(start for start in starts if start), len(text) + 1]
    return [(start, end - 1) for start, end in pairwise(bounds)]


def _cells(text: str) -> list[Span]:
    spans, start = [], 0
    for cell in text.split(CELL_SEPARATOR):
        if cell.strip():
            spans.append((start, start + len(cell)))
        start += len(cell) + len(CELL_SEPARATOR)
    return spans


def _code_paragraphs(text: str) -> list[Span]:
    return [match.span() for match in re.finditer(r"[^\n]+(?:\n[^\n]+)*", text) if match.group().strip()]


def _characters(text: str) -> list[Span]:
    return [(i, i + 1) for i, character in enumerate(text) if not character.isspace()]


_WORDS: tuple[Cutter, ...] = (word_spans, _characters)
_INSIDE_SENTENCES: tuple[Cutter, ...] = (clause_spans, *_WORDS)
_RUNNING: tuple[Cutter, ...] = (sentence_spans, *_INSIDE_SENTENCES)
_LIST: tuple[Cutter, ...] = (_items, line_spans, *_RUNNING)
_CODE: tuple[Cutter, ...] = (_code_paragraphs, line_spans, *_WORDS)
_TABLE: tuple[Cutter, ...] = (line_spans, _cells, *_RUNNING)

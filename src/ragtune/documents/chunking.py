"""Documents cut into passages: as much as the token budget holds, never across a heading, every span exact."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated, Any, Self, final

from pydantic import Field, model_validator

from ragtune.data.records import Passage
from ragtune.documents.blocks import ReadDocument, Table
from ragtune.documents.linear import LinearBlock, document_text
from ragtune.documents.pieces import CountTokens, Piece, Room, pieces_of
from ragtune.documents.sections import Section, sections_of
from ragtune.documents.sentences import sentence_spans
from ragtune.recipe import Part

PATH_SEPARATOR = " > "
_ID_CHARACTERS = 12


@final
class ChunkOptions(Part):
    """How long passages are. Tokens are those of the model that will read them, the heading path counted."""

    max_tokens: Annotated[int, Field(ge=16)] = 256
    """A passage has at most this many, its title among them."""
    overlap_tokens: Annotated[int, Field(ge=0)] = 0
    """A passage repeats at most this many of the last whole sentences before it, within its section."""
    min_tokens: Annotated[int, Field(ge=0)] | None = None
    """A passage with fewer is avoided where its section has more to give; none = an eighth of ``max_tokens``."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.overlap_tokens > self.max_tokens // 2:
            raise ValueError(f"overlap_tokens ({self.overlap_tokens}) is more than half of max_tokens")
        if self.smallest > self.max_tokens // 2:
            raise ValueError(f"min_tokens ({self.smallest}) is more than half of max_tokens")
        return self

    @property
    def smallest(self) -> int:
        """``min_tokens``, as it works."""
        return self.max_tokens // 8 if self.min_tokens is None else self.min_tokens


@final
@dataclass(frozen=True, slots=True)
class _Chunk:
    """A span of the document's text that becomes a passage, after what is repeated before it."""

    start: int
    end: int
    repeats: str


def chunk_document(
    document: ReadDocument, *, document_id: str, options: ChunkOptions, count_tokens: CountTokens
) -> list[Passage]:
    """The passages of a document in its order.

    ``count_tokens`` gives the tokens of every text of a batch. A passage's title is its heading path; no passage's
    ``content`` has more than ``options.max_tokens`` tokens. Its ``metadata`` holds ``document``, ``heading_path``,
    ``pages``, ``kinds`` (of its blocks) and ``span``: ``document_text(document)[start:end]`` is its text, without the
    first ``repeated`` characters where a table's caption and header are repeated. Ids depend on the document and the
    passage's text alone.
    """
    text = document_text(document)
    passages: list[Passage] = []
    taken: Counter[str] = Counter()
    for section in sections_of(document, longest_title=options.max_tokens // 2, count_tokens=count_tokens):
        title = PATH_SEPARATOR.join(section.path)
        room = Room(text=text, title=title, max_tokens=options.max_tokens, count_tokens=count_tokens)
        for chunk in _pack(pieces_of(section.blocks, room), room, options):
            body = chunk.repeats + text[chunk.start : chunk.end]
            digest = hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()[:_ID_CHARACTERS]
            taken[digest] += 1
            again = f"-{taken[digest]}" if taken[digest] > 1 else ""
            metadata = {"document": document_id, **_metadata(chunk, section)}
            passages.append(Passage(id=f"{document_id}#{digest}{again}", text=body, title=title, metadata=metadata))
    return passages


def _metadata(chunk: _Chunk, section: Section) -> dict[str, Any]:
    touched = [block for block in section.blocks if block.start < chunk.end and chunk.start < block.end]
    captions = [block.block.caption for block in touched if isinstance(block.block, Table) and block.block.caption]
    return {
        "heading_path": list(section.full_path),
        "pages": _pages(touched),
        "kinds": list(dict.fromkeys(block.block.kind for block in touched)),
        "span": [chunk.start, chunk.end],
        **({"repeated": len(chunk.repeats)} if chunk.repeats else {}),
        **({"caption": captions[0]} if captions else {}),
    }


def _pages(blocks: Sequence[LinearBlock]) -> list[int]:
    return sorted({block.block.place.page for block in blocks if block.block.place.page is not None})


def _pack(pieces: Sequence[Piece], room: Room, options: ChunkOptions) -> Iterator[_Chunk]:
    """Pieces in runs as long as the budget allows."""
    sizes = room.sizes([room.text[piece.start : piece.end] for piece in pieces])
    empty = room.sizes([""])[0] if pieces else 0
    ends = list(accumulate(max(size - empty, 1) for size in sizes))
    first = previous = 0
    while first < len(pieces):
        start = _overlap_start(pieces, previous, first, room, options)
        head = Piece(start, pieces[first].end, pieces[first].repeats)
        last = _reach(pieces, first, head, room=room, ends=ends)
        last = _shorter(pieces, first, last, ends=ends, smallest=options.smallest)
        yield _Chunk(start, pieces[last - 1].end, head.repeats)
        previous, first = first, last


def _reach(pieces: Sequence[Piece], first: int, head: Piece, *, room: Room, ends: Sequence[int]) -> int:
    """Where the longest run from ``first`` ends (exclusive): guessed from the pieces' sizes, then counted.

    Tokens of a run are not the sum of its pieces' tokens: a tokenizer may join what stands side by side.
    """

    def fits(last: int) -> bool:
        return room.holds_one(Piece(head.start, pieces[last - 1].end, head.repeats))

    before = ends[first - 1] if first else 0
    free = room.max_tokens - room.sizes([head.repeats + room.text[head.start : pieces[first].start]])[0]
    last = max(bisect_right(ends, before + free), first + 1)
    while last > first + 1 and not fits(last):
        last -= 1
    while last < len(pieces) and fits(last + 1):
        last += 1
    return last


def _shorter(pieces: Sequence[Piece], first: int, last: int, *, ends: Sequence[int], smallest: int) -> int:
    """An earlier end where it is better: before a block that is cut anyway, or so that the section's rest is not tiny.

    Neither is done where too little would be left in this run.
    """
    before = ends[first - 1] if first else 0
    if last < len(pieces):
        for cut in range(first + 1, last):
            if pieces[cut].opens and ends[cut - 1] - before >= smallest:
                return cut
        rest = last
        while ends[-1] - ends[rest - 1] < smallest and rest > first + 1:
            rest -= 1
        if ends[rest - 1] - before >= smallest:
            return rest
    return last


def _overlap_start(pieces: Sequence[Piece], previous: int, first: int, room: Room, options: ChunkOptions) -> int:
    """Where a passage begins that repeats the last sentences of the one before: running text before running text."""
    own = pieces[first].start
    if not (options.overlap_tokens and first and pieces[first].flows and pieces[first - 1].flows):
        return own
    since = first - 1
    while since > previous and pieces[since - 1].flows:
        since -= 1
    begin, end = pieces[since].start, pieces[first - 1].end
    starts = [begin + start for start, _ in sentence_spans(room.text[begin:end])]
    for start in starts[pieces[since].inside :]:
        small = room.count_tokens([room.text[start:end]])[0] <= options.overlap_tokens
        if small and room.holds_one(Piece(start, pieces[first].end)):
            return start
    return own

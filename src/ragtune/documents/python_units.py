"""What the demo corpus is made of: a titled text with its lead sentence, and the plain-text rules around it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

CHUNK_WORDS = 90
"""A passage's length; about 120 WordPiece tokens of this text."""
LEAD_WORDS = range(4, 41)
"""A shorter lead sentence asks nothing, a longer one is no question."""
PARAGRAPH_LEAD_WORDS = range(8, 41)
"""A sentence from the middle of a text leans on what stands before it; a longer one leans less."""
REST_WORDS = 12
"""A shorter text answers nothing."""
UNIT_CHUNKS = 3
"""A longer text is about more than its lead sentence."""

_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<!cf\.)(?<!vs\.)\s+(?=[A-Z\"'(`*])")
_WORD = re.compile(r"[^\W\d_]{3,}")
_NO_QUESTION = re.compile(
    r"^(>>>|\.\. |:|@|\$|#|-|\*|Copyright|Author|Written by|Created|Usage|Licen[sc]ed|See |RFC \d)", re.IGNORECASE
)
_POINTS_BACK = re.compile(
    r"^(This|That|These|Those|It|They|Its|Their|He|Such|Here|However|Otherwise|Also|So|But|And|Then|Thus|New|Changed)\b"
)


@final
@dataclass(frozen=True, slots=True)
class Unit:
    """One documented thing.

    ``group`` is the module or topic that a split keeps together, ``title`` what its passages are titled with, and
    ``heading`` the title for those passages that the lead sentence does not ask for (a section's heading is part of
    its question, so it does not stand in the answer).
    """

    group: str
    name: str
    title: str
    lead: str
    paragraphs: tuple[str, ...]
    kind: str
    heading: str = ""

    @property
    def text(self) -> str:
        """Lead sentence and rest."""
        return "\n\n".join(filter(None, (self.lead, *self.paragraphs)))

    @property
    def query(self) -> str:
        """The lead sentence as a question on one line."""
        return " ".join(self.lead.split())

    @property
    def chunks(self) -> list[str]:
        """The rest, cut into passages."""
        return list(chunked(self.paragraphs))

    def can_ask(self) -> bool:
        """Whether the lead sentence can be asked for: long enough, of words, and not said again in the rest.

        >>> rest = ("Entries that are missing are made; those that are there stay as they were before, untouched.",)
        >>> Unit("m", "m.f", "m.f", "Make all folders of a path.", rest, "docstring").can_ask()
        True
        >>> Unit("m", "m.f", "m.f", "Make folders.", rest, "docstring").can_ask()
        False
        """
        words = normal(self.query).split()
        rest = "\n".join(self.paragraphs)
        return (
            len(words) in (PARAGRAPH_LEAD_WORDS if self.kind == "paragraph" else LEAD_WORDS)
            and not self.query.endswith(":")
            and len(_WORD.findall(self.query)) >= 3
            and not _NO_QUESTION.match(self.query)
            and not _POINTS_BACK.match(self.query)
            and len(rest.split()) >= REST_WORDS
            and normal(self.query) not in normal(rest)
            and not self.is_long()
        )

    def is_long(self) -> bool:
        """Whether the text is about more than its lead sentence says."""
        return len(self.chunks) > UNIT_CHUNKS

    def cut(self) -> list[Unit]:
        """A long text as one unit a paragraph, with the lists and examples below it; another text as it is."""
        if not self.is_long():
            return [self]
        blocks: list[list[str]] = []
        for paragraph in (self.lead.removeprefix(f"{self.heading}: "), *self.paragraphs):
            if blocks and ("\n" in paragraph or paragraph.startswith(" ")):
                blocks[-1].append(paragraph)
            elif paragraph:
                blocks.append([paragraph])
        return [self._part(number, block) for number, block in enumerate(blocks)]

    def _part(self, number: int, block: Sequence[str]) -> Unit:
        lead, rest = split_lead(block)
        name, title = f"{self.name}:{number}", self.heading or self.title
        return replace(self, name=name, title=title, lead=lead, paragraphs=rest, kind="paragraph")


def normal(text: str) -> str:
    """Letters and digits alone, in lower case: what two spellings of a text share.

    >>> normal("Return  the *name*.")
    'return the name'
    """
    return " ".join(re.findall(r"\w+", text.lower()))


def paragraphs_of(text: str) -> list[str]:
    r"""Paragraphs with their wrapped lines joined; indented blocks and examples keep their lines.

    >>> paragraphs_of("One\ntwo.\n\n   >>> x\n   1")
    ['One two.', '   >>> x\n   1']
    """
    blocks = (block.strip("\n") for block in re.split(r"\n[ \t]*\n", text.expandtabs()))
    return [_joined(block) for block in blocks if block.strip()]


def _joined(block: str) -> str:
    lines = [line.rstrip() for line in block.split("\n")]
    as_it_stands = any(line[:1] == " " or line.startswith((">>>", "...", "- ", "* ", "| ")) for line in lines)
    return "\n".join(lines) if as_it_stands else " ".join(block.split())


def split_lead(paragraphs: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The first sentence, and what follows it.

    >>> split_lead(["Open a file. The mode is text.", "More."])
    ('Open a file.', ('The mode is text.', 'More.'))
    """
    if not paragraphs or "\n" in paragraphs[0]:
        return "", tuple(paragraphs)
    lead, *rest = _SENTENCE_END.split(paragraphs[0], maxsplit=1)
    return lead, (*rest, *paragraphs[1:])


def chunked(paragraphs: Iterable[str]) -> Iterator[str]:
    """Paragraphs packed into passages of at most ``CHUNK_WORDS`` words (one sentence or line may be longer)."""
    held: list[str] = []
    for piece in _pieces(paragraphs):
        if held and len("\n".join(held).split()) + len(piece.split()) > CHUNK_WORDS:
            yield "\n".join(held).strip("\n")
            held = []
        held.append(piece)
    if held:
        yield "\n".join(held).strip("\n")


def _pieces(paragraphs: Iterable[str]) -> Iterator[str]:
    for paragraph in paragraphs:
        if len(paragraph.split()) <= CHUNK_WORDS:
            yield paragraph
        else:
            yield from paragraph.split("\n") if "\n" in paragraph else _SENTENCE_END.split(paragraph)

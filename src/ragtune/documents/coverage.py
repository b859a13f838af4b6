"""Did everything arrive? The words of a document's raw text layer that none of its blocks holds, page by page."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from ragtune.data.language import units
from ragtune.documents.blocks import ReadDocument
from ragtune.documents.linear import block_text

RUNNING_LINES = "running_lines"
"""Where a reader's metadata lists what it took out on purpose: page number -> lines."""

_CUT_WORD = re.compile(r"(\w+)[-‐\u00ad]\s*\n\s*(\w+)")

_LETTERS_OR_DIGITS = re.compile(r"\d+|[^\W\d_]+")


@final
@dataclass(frozen=True, slots=True)
class PageCoverage:
    """One page: its words (every CJK character is one), those that are missing, those taken out on purpose."""

    page: int
    words: int
    missing: tuple[str, ...]
    removed: int


@final
@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a document's text layer arrived in its blocks."""

    pages: tuple[PageCoverage, ...]

    @property
    def words(self) -> int:
        """Words of the text layer, without the running lines."""
        return sum(page.words for page in self.pages)

    @property
    def missing(self) -> int:
        """Words that did not arrive."""
        return sum(len(page.missing) for page in self.pages)

    @property
    def removed(self) -> int:
        """Words of running headers and footers."""
        return sum(page.removed for page in self.pages)

    @property
    def share(self) -> float | None:
        """Arrived words as a share; None where there is no text layer."""
        return 1 - self.missing / self.words if self.words else None

    def missing_by_page(self) -> dict[int, list[str]]:
        """Page number -> the words that are missing there; pages without any are left out."""
        return {page.page: list(page.missing) for page in self.pages if page.missing}


def coverage_of(document: ReadDocument) -> Coverage:
    r"""The check of one document.

    A word counts as often as it is there. It may have arrived on its page, or in a block that began on an earlier one
    and goes on. A word that a line's end cuts may have arrived whole.

    >>> from ragtune.documents.blocks import Paragraph
    >>> document = ReadDocument("a", (Paragraph("The whole sentence."),), ("The whole sen-\ntence. Lost",))
    >>> coverage_of(document).missing_by_page()
    {1: ['lost']}
    """
    arrived = _arrived(document)
    running = document.metadata.get(RUNNING_LINES, {})
    carried = arrived.pop(0, Counter())
    pages = []
    for number, raw in enumerate(document.raw_pages, start=1):
        carried.update(arrived.get(number, Counter()))
        pages.append(_page(number, raw, carried, running=running))
    return Coverage(tuple(pages))


def _page(number: int, raw: str, carried: Counter[str], *, running: Mapping[int, Sequence[str]]) -> PageCoverage:
    """Takes the page's words out of ``carried``."""
    raw = unicodedata.normalize("NFKC", raw)
    removed = Counter(_words(running.get(number, ())))
    whole = [a + b for a, b in _CUT_WORD.findall(raw.lower()) if carried[a + b] > 0]
    for word in whole:
        raw = _CUT_WORD.sub(lambda m, w=word: m[0] if (m[1] + m[2]).lower() != w else m[1] + m[2], raw)  # type: ignore[misc]
    missing: list[str] = []
    taken = 0
    words = _words([raw])
    for word in words:
        if removed[word] > 0:
            removed[word] -= 1
            taken += 1
        elif carried[word] > 0:
            carried[word] -= 1
        else:
            missing.append(word)
    return PageCoverage(page=number, words=len(words) - taken, missing=tuple(missing), removed=taken)


def _arrived(document: ReadDocument) -> dict[int, Counter[str]]:
    """Page number (0 = none) -> the words of the blocks that begin there."""
    found: dict[int, Counter[str]] = {}
    for block in document.blocks:
        found.setdefault(block.place.page or 0, Counter()).update(_words([block_text(block)]))
    return found


def _words(texts: Iterable[str]) -> list[str]:
    """Words and numbers; the two sides of ``1st`` count apart, for a raised ``st`` stands apart in a text layer."""
    normal = (unicodedata.normalize("NFKC", text) for text in texts)
    return [part for text in normal for word in units(text) for part in _LETTERS_OR_DIGITS.findall(word)]

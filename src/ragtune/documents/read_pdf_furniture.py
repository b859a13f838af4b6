"""Running headers, running footers and page numbers: lines at a page's edge that other pages repeat."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import final

from ragtune.documents.read_pdf_layout import Row, boxed, pieces_of, rows_of
from ragtune.documents.read_pdf_words import PageContent, Word

EDGE_ROWS = 4
"""So many lines from either edge are looked at."""

LEAST_PAGES = 3
"""A line is running when so many pages have it (two, in a document of two pages)."""

CLEAR_GAP = 0.6
"""Between a running line and the text is a blank of at least this many line heights."""

SAME_HEIGHT = 6.0
"""Running lines stand at the same height, to within this many points."""

MARGIN = 0.12
"""Running lines other than page numbers stand in this outer share of the page's height."""

_NUMBER = re.compile(r"\d+")
_PAGE_NUMBER = re.compile(
    r"(?:page|seite|p\.|第|f-|-|–|—|\||\s)*(?:#|[ivxl]{1,7})(?:\s*(?:of|/|von|页|共|-|–|—|\|)*\s*#?\s*(?:页)?)*",
    re.IGNORECASE,
)


@final
@dataclass(frozen=True, slots=True)
class _EdgeRow:
    page: int
    depth: int
    """0 = the outermost line."""
    above: bool
    text: str
    height: float
    clear: bool
    """Whether a blank lies between it and the next line towards the middle."""
    outside: bool
    """Whether it stands in the page's margin."""
    words: tuple[Word, ...]

    @property
    def key(self) -> str:
        """Its text without what differs from page to page."""
        return _NUMBER.sub("#", " ".join(self.text.lower().split()))

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers in it."""
        return tuple(int(number) for number in _NUMBER.findall(self.text))


def running_lines(pages: Sequence[PageContent]) -> dict[int, list[tuple[Word, ...]]]:
    """Page number -> the lines of that page that are no part of the text."""
    rows = [row for page in pages for row in _edge_rows(page)]
    groups: dict[tuple[bool, str], list[_EdgeRow]] = defaultdict(list)
    for row in rows:
        groups[row.above, row.key].append(row)
    repeated = {id(row) for group in groups.values() for row in _repeated(group, pages=len(pages))}
    found: dict[int, list[tuple[Word, ...]]] = defaultdict(list)
    by_edge: dict[tuple[int, bool], list[_EdgeRow]] = defaultdict(list)
    for row in rows:
        by_edge[row.page, row.above].append(row)
    for (page, _), edge in by_edge.items():
        found[page].extend(row.words for row in _outer(edge, repeated))
    return found


def _outer(edge: list[_EdgeRow], repeated: set[int]) -> list[_EdgeRow]:
    """The outermost lines that are all repeated, as far as the last one with a blank behind it."""
    taken = 0
    for count, row in enumerate(sorted(edge, key=lambda r: r.depth), start=1):
        if id(row) not in repeated:
            break
        if row.clear:
            taken = count
    return sorted(edge, key=lambda r: r.depth)[:taken]


def _edge_rows(page: PageContent) -> list[_EdgeRow]:
    rows = rows_of(pieces_of([word for word in page.words if not word.turned]))
    found = []
    for above, ordered in ((True, rows), (False, rows[::-1])):
        for depth, row in enumerate(ordered[:EDGE_ROWS]):
            inner = ordered[depth + 1] if depth + 1 < len(ordered) else None
            words = tuple(word for piece in row for word in piece.words)
            text = " ".join(piece.text for piece in row)
            box = boxed(row)
            outside = box[3] < MARGIN * page.height if above else box[1] > (1 - MARGIN) * page.height
            found.append(_EdgeRow(page.number, depth, above, text, box[1], _is_clear(row, inner), outside, words))
    return found


def _is_clear(row: Row, inner: Row | None) -> bool:
    if inner is None:
        return True
    box, other = boxed(row), boxed(inner)
    gap = max(other[1] - box[3], box[1] - other[3])
    return gap >= CLEAR_GAP * min(box[3] - box[1], other[3] - other[1])


def _repeated(group: list[_EdgeRow], *, pages: int) -> list[_EdgeRow]:
    """Those lines of a group with equal keys that are running: enough pages, one height, numbers that count pages."""
    by_page = {row.page: row for row in group}
    least = min(LEAST_PAGES, max(2, pages))
    if len(by_page) < least:
        return []
    if _PAGE_NUMBER.fullmatch(group[0].key):
        return _counting(group)
    level = median(row.height for row in group)
    same = [row for row in group if abs(row.height - level) <= SAME_HEIGHT and row.outside]
    if len({row.page for row in same}) < least:
        return []
    return same if not group[0].numbers else _counting(same, also_constant=True)


def _counting(group: list[_EdgeRow], *, also_constant: bool = False) -> list[_EdgeRow]:
    """Lines whose numbers go up with the pages by one: a page number, no row of a table."""
    good = group
    for place in range(len(group[0].numbers)):
        rising = Counter(row.numbers[place] - row.page for row in group)
        offset, count = rising.most_common(1)[0]
        value, equal = Counter(row.numbers[place] for row in group).most_common(1)[0]
        constant = equal > count
        # "3 of 9" holds a number that never changes; a page number alone must change
        if max(count, equal) < max(2, 0.6 * len(group)) or (constant and not also_constant and place == 0):
            return []
        good = [r for r in good if (r.numbers[place] == value if constant else r.numbers[place] - r.page == offset)]
    return good

"""Where sentences, clauses and words end, in English, Chinese and texts that mix them. Spans, so nothing is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ragtune.data.language import CJK

Span = tuple[int, int]

_CLOSERS = "\"'”’»)\\]}」』】）》〉〕"
_FULL_STOP = re.compile(f"[。！？｡]+[！？!?。]*[{_CLOSERS}]*|[.!?…]+(?: [.…]+)*[{_CLOSERS}]*|\n+")
_CHINESE_END = frozenset("。！？｡")
_NO_OPENING = frozenset(",;:)]}，；：、）】")
_BRACKETS = frozenset("）)】]")
_LAST_WORD = re.compile(r"[^\s(\[{\"'“‘（「『《]*$")
_NEXT_WORD = re.compile(r"[\s\"'“‘(\[（「『《]*(\w[\w'’-]*)?")
_LONGEST_WORD = 40
_CLAUSE_END = re.compile(f"[，；：、,;:]+[{_CLOSERS}]*|\\s[–—-]+(?=\\s)|—+")
_WORD = re.compile(f"[{CJK}]|[^\\s{CJK}]+")

# Always more to come after these.
_TITLES = frozenset(
    """
    mr mrs ms dr prof gen sen rep gov capt col lt sgt rev hon st mt ft messrs mme mlle
    e.g i.e cf vs v viz resp approx ca incl excl esp
    """.split()  # noqa: SIM905
)
# A number belongs to these: "Fig. 3", "Nov. 5", "No. 12"; without one, "No." is a sentence.
_NUMBERED = frozenset(
    """
    fig figs eq eqs no nos vol vols ch chap sec sect art arts para par p pp pt ref refs tab app ex item
    jan feb mar apr jun jul aug sep sept oct nov dec
    """.split()  # noqa: SIM905
)
# These may end a sentence; then its successor opens as sentences do.
_MAYBE = frozenset(
    """
    inc ltd co corp llc plc bros etc al jr sr dept est
    ph.d m.d b.a m.a u.s u.k u.n e.u a.m p.m
    """.split()  # noqa: SIM905
)
_OPENERS = frozenset(
    """
    a after all an and another any as at because before both but by each every finally first for from he her his
    how however i if in it its many most my no now of on once one other our several she since so some such that the
    their then there these they this those thus to today under until we what when where whether which while who why
    with you your
    """.split()  # noqa: SIM905
)


def sentence_spans(text: str) -> list[Span]:
    """(start, end) of every sentence, without the white space between; a line break ends a sentence too.

    >>> text = "Dr. Lee paid $3.50 to Acme Inc. It rose. 他说：“好。”然后走了。"
    >>> [text[start:end] for start, end in sentence_spans(text)]
    ['Dr. Lee paid $3.50 to Acme Inc.', 'It rose.', '他说：“好。”', '然后走了。']
    """
    return _between(text, _sentence_ends(text))


def clause_spans(text: str) -> list[Span]:
    """(start, end) of the parts between commas, semicolons, colons and dashes.

    >>> text = "In 1,000 cases, at 10:30 — 或者，明天。"
    >>> [text[start:end] for start, end in clause_spans(text)]
    ['In 1,000 cases,', 'at 10:30 —', '或者，', '明天。']
    """
    marks = ((mark.end(), text[mark.end() - 1]) for mark in _CLAUSE_END.finditer(text))
    return _between(text, (end for end, last in marks if last not in ",;:" or text[end : end + 1].isspace()))


def word_spans(text: str) -> list[Span]:
    """(start, end) of every word; a CJK character is a word.

    >>> word_spans("ab 中文")
    [(0, 2), (3, 4), (4, 5)]
    """
    return [match.span() for match in _WORD.finditer(text)]


def line_spans(text: str) -> list[Span]:
    r"""(start, end) of every line that is not empty; indentation belongs to its line.

    >>> line_spans("a\n\n  b")
    [(0, 1), (3, 6)]
    """
    return [match.span() for match in re.finditer(r"[^\n]+", text) if match.group().strip()]


def _between(text: str, ends: Iterator[int]) -> list[Span]:
    spans, start = [], 0
    for end in (*ends, len(text)):
        part = text[start:end]
        if part.strip():
            spans.append((start + len(part) - len(part.lstrip()), start + len(part.rstrip())))
        start = end
    return spans


def _sentence_ends(text: str) -> Iterator[int]:
    start = 0
    for mark in _FULL_STOP.finditer(text):
        if _ends_sentence(text, mark, start):
            yield mark.end()
            start = mark.end()


def _ends_sentence(text: str, mark: re.Match[str], start: int) -> bool:
    """Whether a full stop, as ``mark`` found it, ends the sentence that began at ``start``."""
    marks, after = mark.group(), text[mark.end() : mark.end() + 40]
    if marks[0] == "\n" or not after.strip():
        return True
    if marks[0] in _CHINESE_END:
        return marks[-1] not in _BRACKETS or after[0].isspace()
    if not after[0].isspace():
        return bool(_WORD.match(after) and re.match(f"[{CJK}]", after)) and marks[0] in "!?."
    if after.lstrip()[0] in _NO_OPENING:
        return False
    found = _NEXT_WORD.match(after)
    following = (found.group(1) if found else None) or ""
    if following[:1].islower():
        return False
    return marks[0] != "." or marks.count(".") > 1 or not _is_abbreviation(text[start : mark.start()], following)


def _is_abbreviation(before: str, following: str) -> bool:
    """Whether the full stop after ``before`` belongs to its last word, given the word that follows."""
    found = _LAST_WORD.search(before[-_LONGEST_WORD:])
    word = (found.group() if found else "").lower()
    opens = following.lower() in _OPENERS
    if word in _TITLES:
        return True
    if word in _NUMBERED:
        return following[:1].isdigit()
    if word.isdigit() and not before.strip().removesuffix(word).strip():
        return True  # "1. Scope": the number of a heading or an item, not a sentence
    if word in _MAYBE or re.fullmatch(r"(\w\.)*[a-z]", word):
        return not opens
    return False

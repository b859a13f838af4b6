"""Numbers and bullets of Word's lists, which a file stores as rules and not as text."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, final

from ragtune.documents.docx_text import W

_ROMAN = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"))
_ROMAN_SMALL = ((50, "l"), (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))
_CHINESE = "零一二三四五六七八九"
_CHINESE_FORMATS = frozenset(
    ("chineseCounting", "chineseCountingThousand", "ideographDigital", "japaneseCounting", "taiwaneseCounting")
)


@final
@dataclass(frozen=True, slots=True)
class _Level:
    form: str
    text: str
    start: int


@final
class Numbering:
    """The counters of a document's lists, asked paragraph by paragraph in order."""

    def __init__(self, element: Any | None) -> None:
        self._levels: dict[str, dict[int, _Level]] = {}
        self._abstract: dict[str, str] = {}
        self._restarts: dict[tuple[str, int], int] = {}
        self._counts: dict[str, dict[int, int]] = defaultdict(dict)
        self._begun: set[str] = set()
        if element is not None:
            self._read(element)

    def _read(self, element: Any) -> None:
        for abstract in element.findall(f"{W}abstractNum"):
            levels = {int(level.get(f"{W}ilvl")): _level(level) for level in abstract.findall(f"{W}lvl")}
            self._levels[abstract.get(f"{W}abstractNumId")] = levels
        for number in element.findall(f"{W}num"):
            name = number.get(f"{W}numId")
            self._abstract[name] = _value(number.find(f"{W}abstractNumId"), "")
            for override in number.findall(f"{W}lvlOverride"):
                if (start := override.find(f"{W}startOverride")) is not None:
                    self._restarts[name, int(override.get(f"{W}ilvl"))] = int(_value(start, "1"))

    def marker(self, number: str, level: int) -> str:
        """What stands before the next paragraph of a list at a level: ``-``, ``2.``, ``(c)``, ``1.2``; may be empty."""
        abstract = self._abstract.get(number, "")
        levels = self._levels.get(abstract, {})
        rule = levels.get(level)
        if rule is None:
            return "-"
        if rule.form == "bullet":
            return "-"
        counts = self._counts[abstract]
        if number not in self._begun:
            self._begun.add(number)
            for (name, at), start in self._restarts.items():
                if name == number:
                    counts[at] = start - 1
        counts[level] = counts.get(level, rule.start - 1) + 1
        for deeper in [other for other in counts if other > level]:
            del counts[deeper]

        def shown(match: re.Match[str]) -> str:
            at = int(match.group(1)) - 1
            at_rule = levels.get(at, rule)
            return number_as(counts.setdefault(at, at_rule.start), at_rule.form)

        return re.sub(r"%(\d)", shown, rule.text).strip()


def _level(element: Any) -> _Level:
    return _Level(
        form=_value(element.find(f"{W}numFmt"), "decimal"),
        text=_value(element.find(f"{W}lvlText"), ""),
        start=int(_value(element.find(f"{W}start"), "1")),
    )


def _value(element: Any | None, default: str) -> str:
    return default if element is None else str(element.get(f"{W}val", default))


def number_as(number: int, form: str) -> str:
    """A number in one of Word's forms.

    >>> [number_as(4, form) for form in ("decimal", "lowerRoman", "upperLetter", "chineseCounting")]
    ['4', 'iv', 'D', '四']
    """
    if form in ("lowerLetter", "upperLetter"):
        letter = chr(ord("a") + (number - 1) % 26) * ((number - 1) // 26 + 1)
        return letter.upper() if form == "upperLetter" else letter
    if form in ("lowerRoman", "upperRoman"):
        roman = _roman(number)
        return roman.upper() if form == "upperRoman" else roman
    if form in _CHINESE_FORMATS and 0 < number < 100:
        tens, ones = divmod(number, 10)
        return ("" if tens < 2 else _CHINESE[tens]) + ("十" if tens else "") + (_CHINESE[ones] if ones else "")
    if form == "decimalZero":
        return f"{number:02d}"
    return "" if form == "none" else str(number)


def _roman(number: int) -> str:
    text = ""
    for value, letters in (*_ROMAN, *_ROMAN_SMALL):
        count, number = divmod(number, value)
        text += letters * count
    return text

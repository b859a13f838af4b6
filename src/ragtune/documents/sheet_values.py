"""A cell's value as its sheet shows it: dates, percents, digits after the point, thousands, currency."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import Any

_QUOTED = re.compile(r'"([^"]*)"')
_LOCALE = re.compile(r"\[\$([^\]-]*)(?:-[^\]]*)?\]")
_UNSHOWN = re.compile(r"\[[^\]]*\]|_.|\*.|\\")
_DIGITS = re.compile(r"[#0?,]*[#0?](?:\.([0#?]+))?")
_CURRENCY = re.compile(r"[$€£¥￥]")
_MOST_DIGITS = 15


def shown(value: Any, number_format: str | None = None) -> str:
    """A value as text.

    >>> shown(0.125, "0.0%"), shown(1234.5, "$#,##0.00"), shown(3.0), shown(datetime(2024, 5, 1))
    ('12.5%', '$1,234.50', '3', '2024-05-01')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return _number(value, number_format or "General")
    if isinstance(value, datetime):
        whole_day = value.time() == time()
        return value.date().isoformat() if whole_day else value.replace(microsecond=0).isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    return " ".join(str(value).split())


def _number(value: float, number_format: str) -> str:
    # positive; negative; zero
    sections = number_format.split(";")
    negative_in_brackets = len(sections) > 1 and "(" in sections[1]
    plain = _LOCALE.sub(r"\1", _QUOTED.sub(r"\1", sections[0]))
    code = _UNSHOWN.sub("", plain)
    digits = _DIGITS.search(code)
    if number_format == "General" or digits is None or "E" in code or "/" in code:
        return f"{value:.{_MOST_DIGITS}g}"
    percent = "%" in code
    places = len(digits.group(1) or "")
    amount = abs(value) * 100 if percent else abs(value)
    text = f"{amount:{',' if ',' in digits.group() else ''}.{places}f}"
    if "#" in (digits.group(1) or "") and "." in text:
        text = text.rstrip("0").rstrip(".")
    if currency := _CURRENCY.search(code):
        text = currency.group() + text if currency.start() < digits.start() else f"{text} {currency.group()}"
    text += "%" if percent else ""
    if value < 0:
        return f"({text})" if negative_in_brackets else f"-{text}"
    return text

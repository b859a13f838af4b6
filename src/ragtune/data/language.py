"""Which language a corpus is in, and the units that stand for words in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
"""Kana and Han: scripts written without spaces (a character class for a regular expression)."""

_CJK_CHARACTER = re.compile(f"[{CJK}]")
_LETTER = re.compile(r"[^\W\d_]")
_UNIT = re.compile(f"[{CJK}]|[^\\W{CJK}]+")


def detect_language(texts: Iterable[str], *, sample: int = 500) -> str:
    """``zh`` when the first texts are mostly CJK, else ``en``.

    A Han character says about as much as three letters, so a quarter of all letters is already most of the text.

    >>> detect_language(["使用 PyTorch 训练一个检索模型"]), detect_language(["the 中 character"])
    ('zh', 'en')
    """
    text = " ".join(text[:500] for text in islice(texts, sample))
    letters = len(_LETTER.findall(text))
    return "zh" if len(_CJK_CHARACTER.findall(text)) > letters / 4 else "en"


def units(text: str) -> list[str]:
    """Lower-cased words; every CJK character is a unit of its own.

    >>> units("BM25 检索, twice")
    ['bm25', '检', '索', 'twice']
    """
    return _UNIT.findall(text.lower())

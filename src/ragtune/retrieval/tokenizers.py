"""Words for BM25, by language: jieba for Chinese, stems without stopwords for English, Unicode words for the rest."""

from __future__ import annotations

import functools
import re
import unicodedata
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

Tokenizer = Callable[[str], list[str]]

_WORD = re.compile(r"\w+")
_UNSPACED = re.compile(
    r"([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+)"
)
"""Thai, Lao, Burmese, Khmer, kana and Han: scripts that write no spaces between words."""
_STOPWORDS = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with"
)
ENGLISH_STOPWORDS = frozenset(_STOPWORDS.split())
"""The stop set of Lucene's English analysis."""


def tokenizer_for(language: str) -> Tokenizer:
    """The tokenizer of a language code (``zh``, ``zh-CN``, ``en_US``, ...); a language without its own: Unicode words.

    >>> tokenizer_for("en")("The cats were running"), tokenizer_for("de")("Die Katzen")
    (['cat', 'were', 'run'], ['die', 'katzen'])
    """
    return TOKENIZERS.get(re.split("[-_]", language.strip().lower())[0], words)


def words(text: str) -> list[str]:
    """Lower-case Unicode words; a run of a script without spaces gives its pairs of characters, as Lucene's CJK does.

    >>> words("Straße 42: 日本語 test")
    ['strasse', '42', '日本', '本語', 'test']
    """
    return [token for word in _WORD.findall(_normal(text)) for part in _UNSPACED.split(word) for token in _pairs(part)]


def english(text: str) -> list[str]:
    """Snowball stems of the words, stopwords left out."""
    kept = [word for word in words(text) if word not in ENGLISH_STOPWORDS]
    stems: list[str] = _english_stemmer().stemWords(kept)
    return stems


def chinese(text: str) -> list[str]:
    """The words of jieba and the shorter words inside them, punctuation left out.

    >>> chinese("北京大学，Python 3")
    ['北京', '大学', '北京大学', 'python', '3']
    """
    return [token for token in _jieba().lcut_for_search(_normal(text)) if _WORD.search(token)]


TOKENIZERS: Mapping[str, Tokenizer] = MappingProxyType({"zh": chinese, "en": english})


def _normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _pairs(part: str) -> list[str]:
    if len(part) < 2 or not _UNSPACED.match(part):
        return [part] if part else []
    return [part[place : place + 2] for place in range(len(part) - 1)]


@functools.cache
def _english_stemmer() -> Any:
    import Stemmer

    return Stemmer.Stemmer("english")


@functools.cache
def _jieba() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jieba's own source has old escapes that new Pythons warn of
        import jieba
    tokenizer = jieba.Tokenizer()
    # Its usual start logs to stderr and leaves a pickle-like cache in the shared /tmp; reading the dictionary is quick.
    tokenizer.FREQ, tokenizer.total = tokenizer.gen_pfdict(tokenizer.get_dict_file())
    tokenizer.initialized = True
    return tokenizer

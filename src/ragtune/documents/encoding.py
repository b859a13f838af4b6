"""Bytes to text: the encoding found from marks and from the bytes themselves."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import final

from ragtune.errors import MissingExtraError

SAMPLE_BYTES = 1 << 18
"""As much of a file is looked at to guess its encoding."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SURE_SHARE = 0.9
_BROKEN_SHARE = 0.01
_WESTERN_SHARE = 0.25
_FEW_CHARACTERS = 30

# Every language of western Europe, and the marks that word processors set.
_WESTERN = frozenset("àáâãäåæçèéêëìíîïñòóôõöøùúûüýÿœßÀÁÂÄÅÆÇÈÉÊËÍÎÏÑÓÔÖØÙÚÜŒ“”„‘’‚–—…•·«»€£©®™°§¿¡½¼²³µ×±\xa0\xad")
_COMMON_CHINESE = frozenset(
    "的一是不了在人有我他中来來上大为為和国國地到以说說时時要就出会會可也你对對生能而子那得于於下自之年"
    "过過发發后後作里用道行所然家事成方多经經去法学學如都同现現当當没面起看定天分还還进進好小部其些主理心"
)
# The characters of the first level of each standard: nearly all of a real text.
_GB_FIRST_LEVEL = re.compile(rb"[\xb0-\xd7][\xa1-\xfe]|[\xa1-\xa3][\xa1-\xfe]")
_BIG5_FIRST_LEVEL = re.compile(rb"[\xa4-\xc6][\x40-\x7e\xa1-\xfe]|[\xa1-\xa3][\x40-\x7e\xa1-\xfe]")


@final
@dataclass(frozen=True, slots=True)
class Decoded:
    """A file's text with line feeds at line ends, the encoding it was in, and how many bytes of it made no sense."""

    text: str
    encoding: str
    broken: int = 0

    @property
    def notices(self) -> tuple[str, ...]:
        """What a user should know of it."""
        return (f"{self.broken} characters are broken (read as {self.encoding})",) if self.broken else ()


def decode(data: bytes, *, declared: str = "") -> Decoded:
    r"""The text of a file: by its byte order mark, as UTF-8, as it declares, else by what its bytes look like.

    >>> decode("价格, 2.50\r\n这是我们的价格".encode("gb18030"))
    Decoded(text='价格, 2.50\n这是我们的价格', encoding='gb18030', broken=0)
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decoded(data, encoding)
    if wide := _utf16_without_mark(data):
        return _decoded(data, wide)
    if _is(data, "utf-8"):
        return _decoded(data, "utf-8")
    if declared and _known(declared) and _is(data, declared):
        return _decoded(data, declared)
    lenient = _decoded(data, "utf-8")
    wide_characters = sum(character > "\x7f" for character in lenient.text)
    if lenient.broken <= _BROKEN_SHARE * wide_characters:
        return lenient
    return _decoded(data, _guess(data[:SAMPLE_BYTES]))


def _decoded(data: bytes, encoding: str) -> Decoded:
    text = data.decode(encoding, errors="replace")
    broken = text.count("\ufffd") - data.count("\ufffd".encode()) if "\ufffd" in text else 0
    return Decoded(text.replace("\r\n", "\n").replace("\r", "\n"), encoding.removesuffix("-sig"), max(broken, 0))


def _known(encoding: str) -> bool:
    try:
        codecs.lookup(encoding)
    except LookupError:
        return False
    return True


def _is(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return False
    return True


def _utf16_without_mark(data: bytes) -> str:
    # every second byte of letters, digits and spaces is zero
    head = data[: 4096 - 4096 % 2]
    low, high = head[0::2].count(0), head[1::2].count(0)
    pairs = max(len(head) // 2, 1)
    if max(low, high) < 0.2 * pairs or min(low, high) > 0.02 * pairs:
        return ""
    return "utf-16-le" if high > low else "utf-16-be"


def _guess(data: bytes) -> str:
    """The encoding of bytes that are no UTF-8."""
    wide = sum(byte > 0x7F for byte in data)
    if len(b"".join(_GB_FIRST_LEVEL.findall(data))) >= _SURE_SHARE * wide and _reads_as(data, "gb18030"):
        return "gb18030"
    western = data.decode("cp1252", errors="replace")
    if wide < _WESTERN_SHARE * len(data) and all(c in _WESTERN for c in western if c > "\x7f"):
        return "cp1252"
    found = _BIG5_FIRST_LEVEL.findall(data)
    if sum(byte > 0x7F for pair in found for byte in pair) >= _SURE_SHARE * wide and _reads_as(data, "big5"):
        return "big5"
    return _guess_any(data)


def _reads_as(data: bytes, encoding: str) -> bool:
    """Whether the Chinese of a text is what Chinese mostly is; a text of few characters need not be."""
    characters = [c for c in data.decode(encoding, errors="ignore") if "\u4e00" <= c <= "\u9fff"]
    common = sum(c in _COMMON_CHINESE for c in characters)
    return len(characters) < _FEW_CHARACTERS or common >= 0.05 * len(characters)


def _guess_any(data: bytes) -> str:
    try:
        from charset_normalizer import from_bytes
    except ImportError as error:
        raise MissingExtraError(
            package="charset-normalizer", extra="ingest", needed_for="a text that is not in UTF-8"
        ) from error
    best = from_bytes(data).best()
    return best.encoding if best is not None else "cp1252"

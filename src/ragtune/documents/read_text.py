"""Plain text: paragraphs, lists, and the headings that are underlined, numbered, centred or in capitals."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from ragtune.data.language import CJK
from ragtune.documents.blocks import Block, Heading, ListBlock, Paragraph, Place, ReadDocument
from ragtune.documents.encoding import decode

LONGEST_HEADING = 80
_WRAPPED_AT = range(40, 140)
"""Lines of these lengths were broken by an editor, not by the writer."""

_UNDERLINE = re.compile(r"^\s*([=\-~^*#])\1{2,}\s*$")
_UNDERLINE_LEVELS = {"=": 1, "-": 2, "~": 3, "^": 4, "*": 1, "#": 1}
_NUMBERED = re.compile(r"^(?P<number>\d{1,3}(?:\.\d{1,3})*)\.?\s+(?P<title>\S.*)$")
_CHAPTER = re.compile(
    r"^(?:第[零一二三四五六七八九十百千\d]+(?P<zh>[编篇章节条])|(?P<en>part|chapter|section|appendix)\s+[\divxlc]+\b)",
    re.IGNORECASE,
)
_CHINESE_NUMBER = re.compile(r"^\s*[一二三四五六七八九十]+、")
_CHAPTER_LEVELS = {"编": 1, "篇": 1, "part": 1, "章": 2, "chapter": 2, "appendix": 2, "节": 3, "section": 3}
_ITEM = re.compile(
    r"^(?P<indent>\s*)(?P<marker>[-*+•·▪●○–]|\(?\d{1,3}[.)、]|\(?[a-z][.)]|[（(][一二三四五六七八九十\d]+[）)])\s*\S"
)
_BULLET = re.compile(r"^\s*[-*+•·▪●○–]\s*")
_CENTRED_INDENT = 12
_LOUD_LETTERS = 5
_ENDING = tuple(".。!！?？;；,，:：…")


def read(path: Path) -> ReadDocument:
    """The paragraphs of a text file; a form feed begins a new page."""
    decoded = decode(path.read_bytes())
    pages = decoded.text.split("\f")
    blocks: list[Block] = []
    for number, page in enumerate(pages, 1):
        place = Place(number) if len(pages) > 1 else Place()
        blocks += text_blocks(page, place=place)
    metadata = {"title": _title(blocks), "encoding": decoded.encoding}
    return ReadDocument(path.name, tuple(blocks), tuple(pages), metadata=metadata, notices=decoded.notices)


def _title(blocks: Sequence[Block]) -> str:
    """The line that a text begins with, where it is none of its sentences."""
    first = blocks[0] if len(blocks) > 1 else None
    is_line = isinstance(first, Paragraph) and len(first.text) <= LONGEST_HEADING and "\n" not in first.text
    return first.text if isinstance(first, Paragraph) and is_line and not first.text.endswith(_ENDING) else ""


def text_blocks(text: str, *, place: Place) -> Iterator[Block]:
    """The blocks of a text: what empty lines part, underlines and numbers head, and markers list."""
    groups = [group for group in _groups(text.expandtabs(4).split("\n")) if group]
    items: list[tuple[int, str]] = []  # a list goes on after an empty line
    for index, group in enumerate(groups):
        following = groups[index + 1][0] if index + 1 < len(groups) else ""
        level = _heading_level(group, following)
        if not level and _is_list(group, following, goes_on=bool(items)):
            items += _items(group)
            continue
        if items:
            yield ListBlock(tuple(items), place=place)
            items = []
        if level:
            yield Heading(" ".join(group[0].split()), level, place=place)
        elif not all(map(_UNDERLINE.match, group)):
            yield from (Paragraph(text, place=place) for text in _paragraphs(group))
    if items:
        yield ListBlock(tuple(items), place=place)


def _groups(lines: Sequence[str]) -> Iterator[list[str]]:
    """Lines that stand together; an underlined line and a chapter's heading stand alone."""
    group: list[str] = []
    for index, line in enumerate(lines):
        below = lines[index + 1] if index + 1 < len(lines) else ""
        if not line.strip():
            yield group
            group = []
        elif _UNDERLINE.match(line) and len(group) == 1:
            yield [*group, line]
            group = []
        elif (_UNDERLINE.match(below) and len(line) <= LONGEST_HEADING) or _is_chapter(line):
            yield group
            group = [line]
            if _is_chapter(line) and not _UNDERLINE.match(below):
                yield group
                group = []
        else:
            group.append(line)
    yield group


def _is_chapter(line: str) -> bool:
    text = line.strip()
    return len(text) <= LONGEST_HEADING // 2 and bool(_CHAPTER.match(text)) and not text.endswith(_ENDING)


def _heading_level(group: Sequence[str], following: str) -> int:
    """The level of an underlined, numbered or named heading, one in capitals or centred; 0 where the lines are none."""
    text = group[0].strip()
    if len(group) == 2 and (mark := _UNDERLINE.match(group[1])):
        return _UNDERLINE_LEVELS[mark.group(1)]
    if len(group) > 1 or len(text) > LONGEST_HEADING:
        return 0
    if _is_chapter(text) and (chapter := _CHAPTER.match(text)):
        return _CHAPTER_LEVELS.get((chapter.group("zh") or chapter.group("en") or "").lower(), 4)
    numbered = _NUMBERED.match(text)
    if numbered:
        title = numbered.group("title")
        named = not text.endswith(_ENDING) or (text.endswith(".") and _in_capitals(title))
        is_heading = named and not _ITEM.match(following) and re.match(r"[^\W\d_]", title)
        return numbered.group("number").count(".") + 1 if is_heading else 0
    if _CHINESE_NUMBER.match(text) and not text.endswith(_ENDING) and not _CHINESE_NUMBER.match(following):
        return 3
    centred = len(group[0]) - len(group[0].lstrip()) >= _CENTRED_INDENT
    loud = text.isupper() and sum(map(str.isalpha, text)) >= _LOUD_LETTERS
    return int((centred or loud) and not text.endswith(_ENDING))


def _in_capitals(title: str) -> bool:
    """Whether the first word and every one of more than three letters begin with a capital."""
    return title[0].isupper() and all(
        word[0].isupper() for word in re.findall(r"[^\W\d_]{4,}", title.replace("-", " "))
    )


def _is_list(group: Sequence[str], following: str, *, goes_on: bool) -> bool:
    alone = len(group) == 1 and not goes_on and not _BULLET.match(group[0]) and not _ITEM.match(following)
    return bool(_ITEM.match(group[0])) and not alone


def _items(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    indents = sorted({len(line) - len(line.lstrip()) for line in lines if _ITEM.match(line)})
    item: tuple[int, str] | None = None
    last = 0  # the number of the last numbered item
    for line in lines:
        found = _ITEM.match(line)
        number = re.match(r"\s*(\d+)", line)
        # a wrapped line may begin with a number: "as in section / 7. This"
        if found and (item is None or not number or int(number.group(1)) in (1, last + 1)):
            if item:
                yield item
            item = indents.index(len(found.group("indent"))), _BULLET.sub("- ", line.strip())
            last = int(number.group(1)) if number else last
        elif item:
            item = item[0], join_lines([item[1], line])
    if item:
        yield item


def _paragraphs(lines: Sequence[str]) -> list[str]:
    """Wrapped lines as one paragraph, long lines as one each, short ones as they stand."""
    inner = [len(line) for line in lines[:-1]]
    if len(lines) == 1:
        return [lines[0].strip()]
    if median(inner) >= _WRAPPED_AT.start and max(inner) < _WRAPPED_AT.stop:
        return [join_lines(lines)]
    if median(inner) >= _WRAPPED_AT.stop or all(line.rstrip().endswith(_ENDING[:6]) for line in lines):
        return [line.strip() for line in lines]
    wide = sum(bool(re.search(f"[{CJK}]{{10}}", line)) for line in lines)
    if wide > len(lines) / 2 and max(inner) - min(inner) <= 4:
        return [join_lines(lines)]  # Chinese, wrapped: every line equally long
    return ["\n".join(line.rstrip() for line in lines).strip()]


def join_lines(lines: Sequence[str]) -> str:
    """Lines as one, with a space between unless both sides are Chinese.

    >>> join_lines(["a", " b"]), join_lines(["中", "文"])
    ('a b', '中文')
    """
    text = " ".join(line.strip() for line in lines)
    return re.sub(f"(?<=[{CJK}，。；：、！？）」』])\\s+(?=[{CJK}（「『])", "", text)

"""Plain text: paragraphs, lists, and the headings that are underlined or numbered."""

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
_CHAPTER_LEVELS = {"编": 1, "篇": 1, "part": 1, "章": 2, "chapter": 2, "appendix": 2, "节": 3, "section": 3}
_ITEM = re.compile(
    r"^(?P<indent>\s*)(?P<marker>[-*+•·▪●○–]|\(?\d{1,3}[.)、]|\(?[a-z][.)]|[（(][一二三四五六七八九十\d]+[）)])\s*\S"
)
_BULLET = re.compile(r"^\s*[-*+•·▪●○–]\s*")
_ENDING = tuple(".。!！?？;；,，:：")


def read(path: Path) -> ReadDocument:
    """The paragraphs of a text file; a form feed begins a new page."""
    decoded = decode(path.read_bytes())
    pages = decoded.text.split("\f")
    blocks: list[Block] = []
    for number, page in enumerate(pages, 1):
        place = Place(number) if len(pages) > 1 else Place()
        blocks += text_blocks(page, place=place)
    return ReadDocument(
        path.name, tuple(blocks), tuple(pages), metadata={"encoding": decoded.encoding}, notices=decoded.notices
    )


def text_blocks(text: str, *, place: Place) -> Iterator[Block]:
    """The blocks of a text: what empty lines part, underlines and numbers head, and markers list."""
    groups = [group for group in _groups(text.expandtabs(4).split("\n")) if group]
    for index, group in enumerate(groups):
        following = groups[index + 1][0] if index + 1 < len(groups) else ""
        if len(group) == 2 and (mark := _UNDERLINE.match(group[1])):
            yield Heading(group[0].strip(), _UNDERLINE_LEVELS[mark.group(1)], place=place)
        elif level := _heading_level(group, following):
            yield Heading(group[0].strip(), level, place=place)
        elif all(map(_UNDERLINE.match, group)):
            continue  # a line drawn between parts
        elif _ITEM.match(group[0]) and (len(group) > 1 or _BULLET.match(group[0]) or _ITEM.match(following)):
            yield ListBlock(tuple(_items(group)), place=place)
        else:
            yield from (Paragraph(text, place=place) for text in _paragraphs(group))


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
    """The level of a numbered or named heading; 0 where the lines are none."""
    text = group[0].strip()
    if len(group) > 1 or len(text) > LONGEST_HEADING or text.endswith(_ENDING):
        return 0
    if _is_chapter(text) and (chapter := _CHAPTER.match(text)):
        return _CHAPTER_LEVELS.get((chapter.group("zh") or chapter.group("en") or "").lower(), 4)
    numbered = _NUMBERED.match(text)
    if not numbered or _ITEM.match(following) or not re.match(r"[^\W\d_]", numbered.group("title")):
        return 0
    return numbered.group("number").count(".") + 1


def _items(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    indents = sorted({len(line) - len(line.lstrip()) for line in lines if _ITEM.match(line)})
    item: tuple[int, str] | None = None
    for line in lines:
        if found := _ITEM.match(line):
            if item:
                yield item
            item = indents.index(len(found.group("indent"))), _BULLET.sub("- ", line.strip())
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

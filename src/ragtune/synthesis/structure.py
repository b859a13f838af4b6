"""Pairs from the documents' own structure: what a heading, a caption or a first sentence announces, its text answers.

What is asked is taken out of the answer, or a model would learn to match equal words: a heading that is asked leaves
its passages' titles (``metadata.heading_path`` keeps it), a caption or first sentence leaves the text
(``metadata.asked`` keeps it). Passages that nothing asks for stay as they are.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

from ragtune.data.duplicates import plain_text
from ragtune.data.language import CJK
from ragtune.data.records import Passage
from ragtune.recipe_synthesis import StructureRecipe
from ragtune.synthesis.drafts import Draft
from ragtune.synthesis.planning import word_count
from ragtune.synthesis.words import content_words

ORIGIN = "structure"
SEPARATOR = " > "
SECTION_PASSAGES = 3
"""A longer section is about more than its heading says."""
REST_WORDS = 12
"""A shorter text answers nothing."""
LEAD_WORDS = (6, 40)
"""A first sentence of fewer words asks nothing, one of more is no question."""

_NUMBER = re.compile(
    r"^\s*(?:(?:part|item|chapter|section|appendix|article)\s+[\dIVXA-Z]+[A-Za-z]?\b|\d+(?:\.\d+)*|[IVX]+|[A-Z])[.):\s—–-]+"
    r"|^\s*(?:第[\d一二三四五六七八九十百]+[章节条部分篇]|[一二三四五六七八九十]+、|[（(][一二三四五六七八九十\d]+[)）])\s*",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"[?？]\s*$|^(?:how|what|when|where|which|who|why|can|does|do|is|are|should|may|must)\b(?!\s*$)"
    r"|^(?:如何|怎样|怎么|为什么|什么|何时|哪些|谁|是否|能否)|(?:吗|什么|怎么办|多少)$",
    re.IGNORECASE,
)
_CAPTION = re.compile(r"^(?:(?:table|figure|表|图)\s*[\dA-Z.-]+\s*[.:：—-]?\s*)(?P<text>.+)$", re.IGNORECASE)
_SENTENCE = re.compile(f"(?<=[.!?])\\s+(?=[A-Z\"'(])|(?<=[。！？])(?=[^”」』）])|(?<=[{CJK}])\\s*\\n")
_POINTS_BACK = re.compile(
    r"^(?:This|That|These|Those|It|They|Its|Their|He|She|Such|Here|However|Otherwise|Also|So|But|And|Then|Thus|See|Note"
    r"|In addition|As a result|For example|We|Our)\b"
    r"|^(?:这|那|该|此|其|它|他|她|但|而|因此|所以|另外|此外|同时|然而|例如|我们)"
)


@final
@dataclass(frozen=True, slots=True)
class StructurePairs:
    """Drafts, and the passages that they changed."""

    drafts: list[Draft] = field(default_factory=list)
    changed: dict[str, Passage] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True)
class _Section:
    """The passages below one heading, in order. ``path`` holds the headings from the outermost."""

    path: tuple[str, ...]
    passages: tuple[Passage, ...]


def structure_pairs(
    corpus: Mapping[str, Passage], recipe: StructureRecipe, *, leave: Collection[str] = ()
) -> StructurePairs:
    """Every pair that the structure gives, each passage in one pair at most.

    Of several that a passage could give, the one that stands first in ``recipe.kinds`` is taken. Passages in ``leave``
    are not touched.
    """
    sections = _sections(corpus)
    names = _names(sections)
    repeated = Counter(plain_text(lead) for passage in corpus.values() if (lead := _split_lead(passage.text)[0]))
    pairs = StructurePairs()
    for kind in recipe.kinds:
        for section, name in zip(sections, names, strict=True):
            if any(passage.id in pairs.changed or passage.id in leave for passage in section.passages):
                continue
            if kind in _OF_SECTION:
                _take_heading(section, name, pairs, asking=_OF_SECTION[kind])
        for passage in corpus.values():
            if kind in _OF_PASSAGE and passage.id not in pairs.changed and passage.id not in leave:
                _take_text(passage, _OF_PASSAGE[kind](passage, repeated), pairs, kind=kind)
    return pairs


def _sections(corpus: Mapping[str, Passage]) -> list[_Section]:
    """A passage without a heading path has its title for one."""
    members: dict[tuple[Any, ...], list[Passage]] = defaultdict(list)
    for passage in corpus.values():
        said = passage.metadata.get("heading_path")
        given = said if isinstance(said, list | tuple) and said else passage.title.split(SEPARATOR)
        path = tuple(str(part) for part in given)
        document = passage.metadata.get("document")
        if path[-1].strip():
            # without documents, equal titles are still one section
            members[(document, *path)].append(passage)
    return [_Section(tuple(key[1:]), tuple(passages)) for key, passages in members.items()]


def _names(sections: Sequence[_Section]) -> list[tuple[str, ...]]:
    """For each section the headings that name it alone, the inner one first; empty where none do.

    "Overview" under "Refunds" is asked for as "Refunds: Overview", for every chapter has an overview.
    """
    found: list[tuple[str, ...]] = [()] * len(sections)
    for depth in (1, 2):
        shown = [tuple(_bare_heading(part) for part in section.path[-depth:]) for section in sections]
        counts = Counter(tuple(part.casefold() for part in parts) for parts in shown)
        for place, parts in enumerate(shown):
            if not found[place] and len(parts) == depth and counts[tuple(p.casefold() for p in parts)] == 1:
                found[place] = parts
    return found


def _bare_heading(heading: str) -> str:
    """A heading without its number.

    >>> _bare_heading("Item 7A. Market risk"), _bare_heading("2.1 Fees"), _bare_heading("第三章 退款")
    ('Market risk', 'Fees', '退款')
    """
    return " ".join(_NUMBER.sub("", heading).split()) or " ".join(heading.split())


def _is_question(heading: str) -> bool:
    return bool(_QUESTION.search(heading)) and word_count(heading) >= 3


def _is_title(heading: str) -> bool:
    return word_count(heading) >= 2 and bool(content_words(heading))


_OF_SECTION: Mapping[str, Callable[[str], bool]] = {"question": _is_question, "heading": _is_title}


def _take_heading(
    section: _Section, name: tuple[str, ...], pairs: StructurePairs, *, asking: Callable[[str], bool]
) -> None:
    query = ": ".join(name)
    words = sum(word_count(passage.text) for passage in section.passages)
    told = " ".join(plain_text(passage.text) for passage in section.passages)
    if not name or not asking(name[-1] if asking is _is_question else query):
        return
    if len(section.passages) > SECTION_PASSAGES or words < REST_WORDS or query.casefold() in told.casefold():
        return
    ids = tuple(passage.id for passage in section.passages)
    style = "question" if asking is _is_question else "heading"
    pairs.drafts.append(Draft(query, ids, style, ORIGIN))
    above = SEPARATOR.join(section.path[: -len(name)])
    for passage in section.passages:
        path = {"heading_path": list(section.path)}
        pairs.changed[passage.id] = replace(passage, title=above, metadata={**passage.metadata, **path})


Found = tuple[str, str]
"""What is asked, and the part of the text that says it."""


def _caption(passage: Passage, repeated: Counter[str]) -> Found | None:
    said = passage.metadata.get("caption")
    line = said if isinstance(said, str) and said else _line_over_table(passage.text)
    named = _CAPTION.match(line.strip())
    text = named["text"].strip() if named else line.strip()
    return (text, line) if line and word_count(text) >= 3 else None


def _line_over_table(text: str) -> str:
    """The short line right over the first row of a Markdown table."""
    lines = [line for line in text.splitlines() if line.strip()]
    for over, row in itertools.pairwise(lines):
        if row.lstrip().startswith("|"):
            return "" if over.lstrip().startswith("|") or word_count(over) > LEAD_WORDS[1] else over
    return ""


def _summary(passage: Passage, repeated: Counter[str]) -> Found | None:
    lead, rest = _split_lead(passage.text)
    fewest, most = LEAD_WORDS
    able = (
        fewest <= word_count(lead) <= most
        and word_count(rest) >= REST_WORDS
        and not lead.rstrip().endswith((":", "："))
        and not lead.lstrip().startswith(("|", "-", "*", "#"))
        and not _POINTS_BACK.match(lead.strip())
        and repeated[plain_text(lead)] == 1
        and plain_text(lead) not in plain_text(rest)
        and len(content_words(lead)) >= 3
    )
    return (" ".join(lead.split()), lead) if able else None


_OF_PASSAGE: Mapping[str, Callable[[Passage, Counter[str]], Found | None]] = {"caption": _caption, "summary": _summary}


def _split_lead(text: str) -> Found:
    """The first sentence, and what follows it.

    >>> _split_lead("Open a file. The mode is text."), _split_lead("打开文件。模式是文本。")
    (('Open a file.', ' The mode is text.'), ('打开文件。', '模式是文本。'))
    """
    found = _SENTENCE.search(text)
    place = found.start() if found else text.find("\n\n") if "\n\n" in text else len(text)
    return text[:place], text[place:]


def _take_text(passage: Passage, found: Found | None, pairs: StructurePairs, *, kind: str) -> None:
    if found is None:
        return
    query, part = found
    start = passage.text.find(part)
    rest = passage.text.replace(part, "", 1) if start >= 0 else passage.text
    if word_count(rest) < REST_WORDS or plain_text(query).casefold() in plain_text(rest).casefold():
        return
    pairs.drafts.append(Draft(query, (passage.id,), kind, ORIGIN))
    metadata = {**passage.metadata, "asked": part.strip()}
    pairs.changed[passage.id] = replace(passage, text=rest.strip("\n").lstrip(), metadata=metadata)

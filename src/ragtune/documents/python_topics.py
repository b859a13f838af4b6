"""Sections and definitions of the language reference that Python carries for its ``help()``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import groupby

from ragtune.documents.python_units import Unit, paragraphs_of, split_lead

_HEADING = re.compile(r"^(?P<title>\S.*)\n(?P<line>([*=\-~^\"])\3{2,})$", re.MULTILINE)
_BRACKETS = re.compile(r"\(.*\)|\[.*\]")
_SIGNATURE_WORDS = 3


def topic_units(topics: Mapping[str, str] | None = None) -> Iterator[Unit]:
    """Every section and definition of the reference, topic by topic; a text that several topics share comes once.

    Topics that share a text have the same ``group``, so that no split sees the other's sections.
    """
    if topics is None:
        from pydoc_data.topics import topics as own

        topics = own
    found = {topic: list(_sections(topic, text)) for topic, text in sorted(topics.items())}
    groups = _joined_groups({topic: {unit.text for unit in units} for topic, units in found.items()})
    seen: set[str] = set()
    for topic, units in found.items():
        for unit in units:
            if unit.text not in seen:
                seen.add(unit.text)
                yield replace(unit, group=groups[topic])


def _sections(topic: str, text: str) -> Iterator[Unit]:
    """A topic's sections. The heading is part of what is asked, so a passage is titled with the topic's heading."""
    headings = list(_HEADING.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    for number, (heading, end) in enumerate(zip(headings, ends, strict=True)):
        title = heading["title"].replace('"', "")
        prose, definitions = _split_definitions(text[heading.end() : end])
        lead, rest = split_lead(paragraphs_of(prose))
        asked = f"{title}: {lead}" if lead else ""
        parent = headings[0]["title"].replace('"', "") if number else ""
        yield Unit(topic, f"{topic}/{number}", parent, asked, rest, "section", heading=title)
        for place, (signature, body) in enumerate(definitions):
            lead, rest = split_lead(paragraphs_of(body))
            yield Unit(topic, f"{topic}/{number}.{place}", signature, lead, rest, "definition")


def _split_definitions(text: str) -> tuple[str, list[tuple[str, str]]]:
    """A section's own prose, and its definitions: a signature at the margin with an indented text below it."""
    prose: list[str] = []
    definitions: list[tuple[str, list[str]]] = []
    blocks = [block.strip("\n") for block in re.split(r"\n[ \t]*\n", text)]
    for place, block in enumerate(blocks):
        following = blocks[place + 1] if place + 1 < len(blocks) else ""
        if _is_signature(block) and following.startswith("   "):
            definitions.append((" ".join(block.replace('"', "").split()), []))
        elif definitions and block.startswith("   "):
            definitions[-1][1].append("\n".join(line[3:] for line in block.split("\n")))
        else:
            prose.append(block)
    return "\n\n".join(prose), [(signature, "\n\n".join(body)) for signature, body in definitions]


def _is_signature(block: str) -> bool:
    """Whether a block names what the indented text below it defines.

    >>> [_is_signature(line) for line in ("str.find(sub[, start])", "alias [name [command]]", "and this is the form")]
    [True, True, False]
    """
    return bool(block) and all(_is_signature_line(line) for line in block.split("\n"))


def _is_signature_line(line: str) -> bool:
    words = _BRACKETS.sub("", line).split()
    ends_open = line.endswith((".", ":", ";", ",", "?"))
    return not (line.startswith((" ", "*", "-", "[")) or ends_open) and len(words) <= _SIGNATURE_WORDS


def _joined_groups(texts: Mapping[str, set[str]]) -> dict[str, str]:
    """Topic -> the first topic of its group; topics that share a text are of one group."""
    group = {topic: topic for topic in texts}
    holders = sorted((text, topic) for topic, own in texts.items() for text in own)
    for _, same in groupby(holders, key=lambda holder: holder[0]):
        names = {group[topic] for _, topic in same}
        group = {topic: min(names) if name in names else name for topic, name in group.items()}
    return group

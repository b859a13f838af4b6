"""What can be said of a query without any model: length, language, manner, and whether its quote is real."""

from __future__ import annotations

import difflib
import itertools
import re
import unicodedata
from collections.abc import Mapping, Sequence

from ragtune.data.language import CJK, detect_language, units
from ragtune.data.records import Passage
from ragtune.recipe_synthesis import FilterRecipe
from ragtune.synthesis.drafts import Draft, Rejected, Sieved
from ragtune.synthesis.planning import word_count
from ragtune.synthesis.words import content_units, content_words

Finding = tuple[str, float | None]
"""Why a query is cut, and the score that decided."""

COPIED_UNITS, COPIED_SHARE = 8, 0.7
"""A run of this many units, and of this share of the query, that stands in the passage is a copy (assumption)."""
GROUNDED = 0.6
"""The share of a small model's content words that the passage must hold (looked at on 10-K filings: below it the
questions are about something else)."""
STEM = 5
"""Letters that two forms of a word share (assumption)."""
SHORTEST_QUOTE = 4
"""Letters and digits of a quote; a shorter one proves nothing."""

_MENTIONS = re.compile(
    r"\b(?:passage|excerpt|snippet|text above|above text|provided (?:text|document|context|information)"
    r"|given (?:text|document|context|information))\b"
    r"|\b(?:in|by|from|per|to|of|does|do|with) (?:the|this|that) (?:text|document|paragraph|article|table|section"
    r"|context|figure|author)\b"
    r"|\b(?:mentioned|described|stated|listed|discussed|shown) (?:above|below|here|in the (?:text|document|table))\b"
    r"|\bthis (?:text|document|paragraph|article|table|section|question|answer)\b"
    r"|\b(?:text|document) (?:provide|say|mention|state|describe|discuss)",
    re.IGNORECASE,
)
_MENTIONS_CHINESE = re.compile(
    "文中|本文|原文|上文|下文|文章|短文|该段|这段|此段|段落|材料中|根据材料|上述(?:内容|文本|材料|信息)|以上(?:内容|文本|材料)"
    "|本(?:段|节|表)|该(?:文|表)|作者"
)
_CHATTER = re.compile(
    r"^(?:sure|certainly|of course|here (?:is|are)|as an ai|i'm sorry|i cannot|okay)\b|\{\{|```|<\|", re.IGNORECASE
)
_NAME = re.compile(r"\b[A-Z][\w&.-]*[\w&]|\d[\d.,]*\d|\d")


def _length(draft: Draft, passage: str, recipe: FilterRecipe) -> Finding | None:
    words = word_count(draft.text)
    if recipe.min_words <= words <= recipe.max_words:
        return None
    return f"{words:g} words, not {recipe.min_words} to {recipe.max_words}", words


def _chatter(draft: Draft, passage: str, recipe: FilterRecipe) -> Finding | None:
    return ("not a query but talk around one", None) if _CHATTER.search(draft.text) else None


def _repeats(draft: Draft, passage: str, recipe: FilterRecipe) -> Finding | None:
    found = units(draft.text)
    pairs = list(itertools.pairwise(found))
    share = len(set(pairs)) / len(pairs) if pairs else 1.0
    return ("the same words over and over", share) if len(pairs) >= 4 and share < 0.7 else None


def _mentions(draft: Draft, passage: str, recipe: FilterRecipe) -> Finding | None:
    found = _MENTIONS.search(draft.text) or _MENTIONS_CHINESE.search(draft.text)
    return (f"speaks of its source: {found[0]!r}", None) if found else None


def _other_language(draft: Draft, passage: str, recipe: FilterRecipe) -> Finding | None:
    if not re.search(r"[^\W\d_]", draft.text):
        return None
    asked, told = detect_language([draft.text]), detect_language([passage])
    # a Chinese corpus is searched for Latin names and codes too
    foreign = asked != told and not (told == "zh" and draft.style in ("identifier", "keywords"))
    return (f"{asked} query for a {told} passage", None) if foreign else None


def _empty(draft: Draft, passage: str, recipe: FilterRecipe) -> Finding | None:
    return None if content_words(draft.text) else ("asks about nothing in particular", 0.0)


def _copied(draft: Draft, passage: str, recipe: FilterRecipe) -> Finding | None:
    asked, told = units(draft.text), units(passage)
    matcher = difflib.SequenceMatcher(None, asked, told, autojunk=False)
    run = matcher.find_longest_match().size
    share = run / len(asked)
    chinese = word_count(draft.text) <= len(asked) / 2
    longest = COPIED_UNITS * (2 if chinese else 1)
    return (f"copies {run} units in a row", share) if run >= longest and share >= COPIED_SHARE else None


RULES = {
    "length": _length,
    "chatter": _chatter,
    "repeats": _repeats,
    "mentions source": _mentions,
    "language": _other_language,
    "no content": _empty,
    "copied": _copied,
}
"""Name -> rule, cheapest first."""


def apply_rules(drafts: Sequence[Draft], corpus: Mapping[str, Passage], recipe: FilterRecipe) -> Sieved:
    """Cut what any rule finds fault with."""
    kept: list[Draft] = []
    rejected: list[Rejected] = []
    for draft in drafts:
        passage = _told(draft, corpus)
        findings = ((name, rule(draft, passage, recipe)) for name, rule in RULES.items())
        found = next(((name, finding) for name, finding in findings if finding), None)
        if found is None:
            kept.append(draft)
        else:
            name, (reason, score) = found
            rejected.append(Rejected(draft, name, reason, score))
    return kept, rejected


def check_quotes(drafts: Sequence[Draft], corpus: Mapping[str, Passage]) -> Sieved:
    """Cut drafts whose quote does not stand in their passages; white space, punctuation and case aside."""
    kept: list[Draft] = []
    rejected: list[Rejected] = []
    for draft in drafts:
        share = quoted_share(draft.quote, _told(draft, corpus))
        if share == 1.0:
            kept.append(draft)
        else:
            reason = "the quote is not in the passage" if draft.quote else "there is no quote"
            rejected.append(Rejected(draft, "quote", reason, share))
    return kept, rejected


def check_grounds(drafts: Sequence[Draft], corpus: Mapping[str, Passage]) -> Sieved:
    """Cut drafts that speak of what their passage does not: for small models, which invent and give no quote."""
    kept: list[Draft] = []
    rejected: list[Rejected] = []
    for draft in drafts:
        passage = _told(draft, corpus)
        asked, told = content_units(draft.text), set(units(passage))
        stems = {unit[:STEM] for unit in told}
        share = sum(unit[:STEM] in stems for unit in asked) / max(1, len(asked))
        invented = [name for name in _NAME.findall(draft.text)[1:] if not set(units(name)) <= told]
        if invented:
            rejected.append(Rejected(draft, "not grounded", f"names {invented[0]!r}, which is not there", share))
        elif share < GROUNDED:
            rejected.append(Rejected(draft, "not grounded", "most of its words are not in the passage", share))
        elif len(content_words(draft.text)) < 2 and len(asked) < 3:
            rejected.append(Rejected(draft, "not grounded", "one word says too little of what is asked", share))
        else:
            kept.append(draft)
    return kept, rejected


def quoted_share(quote: str, passage: str) -> float:
    r"""How much of a quote stands in a passage: 1 = all of it.

    Its parts between dots may stand apart, in their order. Less than 1 is the share of the longest run that stands
    there; 0 for a quote that is too short to prove anything.

    >>> quoted_share("The fee is 30 … a month", "the  fee is 30 euros\na month.")
    1.0
    >>> quoted_share("全长二万", "全长,二万多公里"), quoted_share("全长三万", "全长,二万多公里")
    (1.0, 0.5)
    """
    told = bare(passage)
    parts = [bare(part) for part in re.split(r"\.{3,}|…+", quote)]
    parts = [part for part in parts if part]
    whole = "".join(parts)
    if len(whole) < SHORTEST_QUOTE * (0.5 if re.search(f"[{CJK}]", whole) else 1):
        return 0.0
    place = 0
    for part in parts:
        found = told.find(part, place)
        if found < 0:
            run = difflib.SequenceMatcher(None, whole, told, autojunk=False).find_longest_match().size
            return min(0.99, run / len(whole))
        place = found + len(part)
    return 1.0


def bare(text: str) -> str:
    """Letters and digits alone, in one form: what a quote and its source share whatever the typography."""
    return "".join(character for character in unicodedata.normalize("NFKC", text).casefold() if character.isalnum())


def _told(draft: Draft, corpus: Mapping[str, Passage]) -> str:
    return "\n".join(corpus[key].content for key in draft.passage_ids)

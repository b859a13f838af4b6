"""Which passages are asked about, and which styles each gets."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import final

from ragtune.data.duplicates import duplicate_groups
from ragtune.data.language import CJK, units
from ragtune.data.records import Dataset, Passage
from ragtune.recipe_synthesis import SynthesisRecipe
from ragtune.run import hash_json
from ragtune.synthesis.prompts import Job, language_of
from ragtune.synthesis.styles import OPENINGS, STYLES

LETTERS = 0.5
"""A text with a smaller share of letters among its visible characters is a list of numbers (assumption)."""
LEADERS = 4
"""Lines that end in dots and a page number: this many make a table of contents (assumption)."""

_CJK = re.compile(f"[{CJK}]")
_LEADER = re.compile(r"[.·… ]{4,}\s*\d+\s*$", re.MULTILINE)


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """Passages to ask about, with the jobs of each; ``skipped`` counts the others by reason."""

    jobs: Mapping[str, tuple[Job, ...]]
    skipped: Counter[str] = field(default_factory=Counter)


def word_count(text: str) -> float:
    """Words; a CJK character counts as half a word.

    >>> word_count("two words"), word_count("退款政策")
    (2.0, 2.0)
    """
    return sum(0.5 if _CJK.match(unit) else 1.0 for unit in units(text))


def make_plan(dataset: Dataset, recipe: SynthesisRecipe) -> Plan:
    """Choose passages, spread evenly over the documents, and deal the styles out by chance and in turn."""
    skipped: Counter[str] = Counter()
    fit = _fit(dataset, recipe, skipped)
    if recipe.max_passages is not None and recipe.max_passages < len(fit):
        skipped["not drawn"] = len(fit) - recipe.max_passages
        fit = _spread(fit, recipe.seed)[: recipe.max_passages]
    return Plan({passage.id: _jobs(passage, recipe) for passage in fit}, skipped)


def drawn_for(passage: Passage, seed: int) -> random.Random:
    """Chance that hangs on the passage alone: what changes elsewhere in the corpus changes nothing here."""
    return random.Random(hash_json([seed, passage.title, passage.text]))


def _jobs(passage: Passage, recipe: SynthesisRecipe) -> tuple[Job, ...]:
    drawn = drawn_for(passage, recipe.seed)
    # a small model writes some styles only; the others are not dealt out
    writable = [style for style in recipe.styles if recipe.uses_json or style in OPENINGS["en"]]
    first = drawn.randrange(len(writable))
    styles = [writable[(first + place) % len(writable)] for place in range(recipe.per_passage)]
    chinese = language_of(passage.text) == "zh"
    bands = [drawn.choice(STYLES[s].characters if chinese else STYLES[s].words) for s in styles]
    return tuple(Job(style, *band) for style, band in zip(styles, bands, strict=True))


def _fit(dataset: Dataset, recipe: SynthesisRecipe, skipped: Counter[str]) -> list[Passage]:
    """Passages that can be asked about, each group of duplicates once."""
    group = duplicate_groups(dataset.corpus)
    held_out = {
        group[passage]
        for split, qrels in dataset.qrels.items()
        if split != "train"
        for grades in qrels.values()
        for passage, grade in grades.items()
        if grade > 0
    }
    fit, seen = [], set()
    for key, passage in dataset.corpus.items():
        reason = _unfit(passage, recipe)
        if group[key] in held_out:
            # a query of train for what dev or test ask for would give their answers away
            reason = "asked for by dev or test"
        elif group[key] in seen:
            reason = "duplicate"
        if reason:
            skipped[reason] += 1
        else:
            seen.add(group[key])
            fit.append(passage)
    return fit


def _unfit(passage: Passage, recipe: SynthesisRecipe) -> str:
    if word_count(passage.text) < recipe.min_passage_words:
        return "short"
    visible = "".join(passage.text.split())
    if sum(character.isalpha() for character in visible) < LETTERS * len(visible):
        return "few letters"
    return "table of contents" if len(_LEADER.findall(passage.text)) >= LEADERS else ""


def _spread(passages: Sequence[Passage], seed: int) -> list[Passage]:
    """An order by chance that takes one passage of each document before a second one of any."""
    place = {passage.id: drawn_for(passage, seed).random() for passage in passages}
    documents: dict[str, list[Passage]] = defaultdict(list)
    for passage in sorted(passages, key=lambda passage: place[passage.id]):
        documents[str(passage.metadata.get("document", passage.id))].append(passage)
    return [passage for passage in chain.from_iterable(zip_longest(*documents.values())) if passage is not None]

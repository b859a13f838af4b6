"""A dataset from what every Python carries: its language reference and its library's docstrings.

The questions come from the documents' own structure: a docstring's summary sentence asks for the rest of it, a
section's heading with its lead sentence for the section, a definition's first sentence for its text. What is asked
is taken out of the passage. Splits are made by module and by topic, so a dev or test question is about a module that
training asked nothing about.
"""

from __future__ import annotations

import platform
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain

from ragtune.data.records import Dataset, DatasetInfo, Passage, Qrels, Query
from ragtune.documents.python_docstrings import docstring_units
from ragtune.documents.python_topics import topic_units
from ragtune.documents.python_units import Unit, chunked, normal

TEST_SHARE = 0.20
DEV_SHARE = 0.11
LARGEST_HELD_OUT_SHARE = 0.05
"""A module with more of the questions than this is trained on: one module must not decide the verdict."""
TRAIN_QUERIES = 3_500
"""Two to three minutes of training for a 22 M parameter model on two cores."""
PASSAGE_WORDS = 12
"""A shorter text that nothing asks for is left out of the corpus."""
_KEY_WORDS = 4


def build_python_dataset(*, seed: int = 0) -> Dataset:
    """The dataset ``python-docs``: thousands of passages and questions, the same for a Python version and a seed."""
    units = _distinct(chain.from_iterable(unit.cut() for unit in chain(docstring_units(), topic_units())))
    asking = _asking(units)
    split_of = _split_groups(Counter(unit.group for unit in units if unit.name in asking), seed=seed)
    kept = _capped([unit for unit in units if unit.name in asking], split_of=split_of, seed=seed)
    corpus: dict[str, Passage] = {}
    queries: dict[str, Query] = {}
    qrels: dict[str, Qrels] = {"train": {}, "dev": {}, "test": {}}
    for unit in units:
        asks = unit.name in kept
        passages = _passages(unit, whole=not asks)
        corpus |= {passage.id: passage for passage in passages}
        if asks:
            query = Query(
                f"q:{unit.name}", unit.query, {"origin": "structure", "style": unit.kind, "group": unit.group}
            )
            queries[query.id] = query
            qrels[split_of[unit.group]][query.id] = {passage.id: 1 for passage in passages}
    info = DatasetInfo(
        name="python-docs",
        language="en",
        licence="PSF-2.0",
        sources=[
            {"name": "Python", "version": platform.python_version(), "parts": ["pydoc_data.topics", "docstrings"]}
        ],
    )
    return Dataset(info=info, corpus=corpus, queries=queries, qrels=qrels)


def _distinct(units: Iterable[Unit]) -> list[Unit]:
    """Each text once, under a name of its own."""
    seen: set[str] = set()
    names: Counter[str] = Counter()
    kept = []
    for unit in units:
        key = normal(unit.text)
        if key and key not in seen:
            seen.add(key)
            names[unit.name] += 1
            again = f"~{names[unit.name]}" if names[unit.name] > 1 else ""
            kept.append(replace(unit, name=unit.name + again))
    return kept


def _asking(units: Sequence[Unit]) -> set[str]:
    """Names of the units whose lead sentence asks for them alone.

    A sentence that stands in several texts, as "Return the name of the file." may do, asks for none of them.
    """
    able = {unit.name: normal(unit.query) for unit in units if unit.can_ask()}
    starts = {_first_words(key) for key in able.values()}
    holders: dict[str, set[str]] = defaultdict(set)
    for text in (normal(unit.text) for unit in units):
        words = text.split()
        for i in range(len(words) - _KEY_WORDS + 1):
            start = " ".join(words[i : i + _KEY_WORDS])
            if start in starts:
                holders[start].add(text)
    return {name for name, key in able.items() if sum(key in text for text in holders[_first_words(key)]) == 1}


def _first_words(text: str) -> str:
    return " ".join(text.split()[:_KEY_WORDS])


def _split_groups(questions: Counter[str], *, seed: int) -> dict[str, str]:
    """Group -> split: shuffled whole groups fill test, then dev; the rest and the largest are for training."""
    total = questions.total()
    groups = sorted(group for group, count in questions.items() if count <= LARGEST_HELD_OUT_SHARE * total)
    random.Random(seed).shuffle(groups)
    split_of = dict.fromkeys(questions, "train")
    held_out = iter(groups)
    for split, share in (("test", TEST_SHARE), ("dev", DEV_SHARE)):
        filled = 0
        for group in held_out:
            split_of[group] = split
            filled += questions[group]
            if filled >= share * total:
                break
    return split_of


def _capped(asking: Sequence[Unit], *, split_of: dict[str, str], seed: int) -> set[str]:
    """Names of the units that ask in the end: all of dev and test, at most ``TRAIN_QUERIES`` of train."""
    train = [unit.name for unit in asking if split_of[unit.group] == "train"]
    spared = random.Random(seed).sample(train, max(0, len(train) - TRAIN_QUERIES))
    return {unit.name for unit in asking} - set(spared)


def _passages(unit: Unit, *, whole: bool) -> list[Passage]:
    """The passages of a unit; ``whole`` keeps the lead sentence, for texts that nothing asks for."""
    if whole and len(unit.text.split()) < PASSAGE_WORDS:
        return []
    texts = chunked([unit.lead, *unit.paragraphs] if whole and unit.lead else unit.paragraphs)
    return [
        Passage(
            id=f"{unit.name}#{number}",
            title=unit.title,
            text=text,
            metadata={"document": unit.name, "group": unit.group, "kind": unit.kind, "chunk": number},
        )
        for number, text in enumerate(texts)
    ]

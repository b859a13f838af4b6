"""Texts with a class: texts of one class are each other's positives."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from ragtune.data.records import Qrels

POSITIVES_A_TEXT = 4
"""How many texts of the same class are written as a text's positives (assumption: enough to learn from; the class of
every text stands in the metadata, so a trainer can count all equal labels as relevant)."""


@final
@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text, known as query and passage by one id, and its class."""

    id: str
    label: str


def link_classes(texts: Sequence[LabelledText], *, seed: int) -> Qrels:
    """Each text with up to four others of its class, chosen by seed and id; a text alone in its class has none.

    >>> link_classes([LabelledText("a", "x"), LabelledText("b", "x"), LabelledText("c", "y")], seed=0)
    {'a': {'b': 1}, 'b': {'a': 1}}
    """
    members: dict[str, dict[str, None]] = {}
    for text in texts:
        members.setdefault(text.label, {})[text.id] = None
    qrels: Qrels = {}
    for ids in map(list, members.values()):
        for text_id in ids:
            drawn = random.Random(f"{seed}:{text_id}").sample(ids, min(POSITIVES_A_TEXT + 1, len(ids)))
            if positives := [other for other in drawn if other != text_id][:POSITIVES_A_TEXT]:
                qrels[text_id] = dict.fromkeys(positives, 1)
    return qrels

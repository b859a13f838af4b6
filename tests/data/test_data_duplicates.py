"""Equal and near texts are found, and nothing else."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragtune.data.duplicates import Groups, canonical_ids, duplicate_groups, text_groups
from ragtune.data.language import units
from ragtune.data.records import Passage

SENTENCE = "net sales of the company rose by two percent in the third quarter because prices fell in most markets"


def corpus_of(*texts: str) -> dict[str, Passage]:
    return {str(place): Passage(str(place), text) for place, text in enumerate(texts)}


def test_canonical_is_the_first_with_equal_content() -> None:
    corpus = corpus_of("b  c", "B c", "b\nc ", "title text") | {"t": Passage("t", "text", title="title")}
    assert canonical_ids(corpus) == {"0": "0", "1": "1", "2": "0", "3": "3", "t": "3"}


def test_groups_are_named_by_their_first_member() -> None:
    groups = Groups("abcdef")
    for one, other in ("fe", "ed", "bd"):
        groups.join(one, other)
    assert groups.as_dict() == {"a": "a", "b": "b", "c": "c", "d": "b", "e": "b", "f": "b"}


@pytest.mark.parametrize("near", [0.5, 0.8, 0.95])
def test_near_texts_are_those_at_the_threshold(near: float) -> None:
    """All pairs agree with Jaccard indices counted the plain way, wherever they are not close to the threshold."""
    rng = random.Random(3)
    texts = {}
    for base in range(12):
        words = [f"{word}{base}" for word in SENTENCE.split() * 4]
        for copy, changes in enumerate((0, 1, 2, 4, 8)):
            changed = list(words)
            for place in rng.sample(range(len(words)), changes):
                changed[place] = f"other{rng.random()}"
            texts[f"{base}-{copy}"] = " ".join(changed)
    shingles = {
        key: {tuple(words[place : place + 5]) for place in range(len(words) - 4)}
        for key, words in ((key, units(text)) for key, text in texts.items())
    }
    groups = text_groups(texts, near=near)
    for one, other in itertools.combinations(texts, 2):
        index = len(shingles[one] & shingles[other]) / len(shingles[one] | shingles[other])
        if index >= max(near, 0.8):
            assert groups[one] == groups[other], (one, other, index)
        if one.split("-")[0] != other.split("-")[0]:
            assert groups[one] != groups[other]


def test_near_chinese_texts() -> None:
    text = "公司在二〇二三年第三季度的净销售额增长了百分之二，主要原因是价格下降以及新产品上市。" * 2
    corpus = corpus_of(text, text.replace("上市。公司", "上市！公司"), text[::-1])
    assert duplicate_groups(corpus) == {"0": "0", "1": "0", "2": "2"}
    assert duplicate_groups(corpus, near=None) == {"0": "0", "1": "1", "2": "2"}


def test_case_and_punctuation_do_not_tell_texts_apart() -> None:
    assert duplicate_groups(corpus_of("What is X?", "what is x", "what is y")) == {"0": "0", "1": "0", "2": "2"}


@given(st.lists(st.text("ab \n", max_size=6), max_size=8))
def test_equal_texts_are_always_together_and_the_names_are_stable(texts: list[str]) -> None:
    corpus = corpus_of(*texts)
    canonical = canonical_ids(corpus)
    groups = duplicate_groups(corpus)
    assert all(groups[key] == groups[first] for key, first in canonical.items())
    assert all(groups[group] == group and int(group) <= int(key) for key, group in groups.items())

"""What is in a dataset: counts, lengths, duplicates, overlap, and what its splits share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any, final

import numpy as np

from ragtune.data.duplicates import NEAR, text_groups
from ragtune.data.language import units
from ragtune.data.records import Dataset, Qrels

TokenCounter = Callable[[Sequence[str]], Sequence[int]]
"""Texts -> their lengths in tokens."""


@final
@dataclasses.dataclass(frozen=True, slots=True)
class Lengths:
    """A distribution of lengths or counts."""

    mean: float
    median: float
    p95: float
    longest: int


@final
@dataclasses.dataclass(frozen=True, slots=True)
class TextStatistics:
    """The passages, or the queries. ``equal`` and ``near`` count texts that repeat an earlier one."""

    count: int
    blank: int
    equal: int
    near: int
    characters: Lengths
    words: Lengths
    tokens: Lengths | None


@final
@dataclasses.dataclass(frozen=True, slots=True)
class SplitStatistics:
    """One split. ``overlap``: mean share of a query's words that its positive holds too."""

    queries: int
    judgements: int
    without_positive: int
    positives_a_query: Lengths
    overlap: float | None


@final
@dataclasses.dataclass(frozen=True, slots=True)
class Leakage:
    """How many queries of ``later`` repeat a query or a positive of ``earlier``; ``near`` counts the equal ones too."""

    earlier: str
    later: str
    equal_queries: int
    near_queries: int
    equal_positives: int
    near_positives: int


@final
@dataclasses.dataclass(frozen=True, slots=True)
class DatasetStatistics:
    """All of it."""

    name: str
    language: str
    passages: TextStatistics
    queries: TextStatistics
    splits: Mapping[str, SplitStatistics]
    leakage: tuple[Leakage, ...]
    candidates: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


@final
@dataclasses.dataclass(frozen=True, slots=True)
class TextGroups:
    """Texts by key, and which of them are equal or nearly equal."""

    texts: Mapping[str, str]
    equal: Mapping[str, str]
    near: Mapping[str, str]


def group(texts: Mapping[str, str], *, near: float | None = NEAR) -> TextGroups:
    """Groups of equal and of near texts."""
    return TextGroups(texts, text_groups(texts, near=None), text_groups(texts, near=near))


def dataset_statistics(
    dataset: Dataset, *, count_tokens: TokenCounter | None = None, near: float | None = NEAR
) -> DatasetStatistics:
    """Statistics of a dataset.

    ``count_tokens`` adds lengths in a model's tokens; ``near`` is the threshold of ``duplicate_groups``.
    """
    passages = group({key: passage.content for key, passage in dataset.corpus.items()}, near=near)
    queries = group({key: query.text for key, query in dataset.queries.items()}, near=near)
    words = {key: set(units(text)) for key, text in queries.texts.items()}
    return DatasetStatistics(
        name=dataset.info.name,
        language=dataset.info.language,
        passages=_texts(passages, count_tokens),
        queries=_texts(queries, count_tokens),
        splits={name: _split(qrels, words, passages.texts) for name, qrels in dataset.qrels.items()},
        leakage=_leakages(dataset, queries, passages),
        candidates=_candidates(dataset),
    )


def _texts(groups: TextGroups, count_tokens: TokenCounter | None) -> TextStatistics:
    texts = list(groups.texts.values())
    return TextStatistics(
        count=len(texts),
        blank=sum(not text.strip() for text in texts),
        equal=len(texts) - len(set(groups.equal.values())),
        near=len(set(groups.equal.values())) - len(set(groups.near.values())),
        characters=_lengths([len(text) for text in texts]),
        words=_lengths([len(units(text)) for text in texts]),
        tokens=_lengths(count_tokens(texts)) if count_tokens else None,
    )


def _lengths(lengths: Sequence[int]) -> Lengths:
    if not lengths:
        return Lengths(0.0, 0.0, 0.0, 0)
    median, p95 = np.percentile(lengths, [50, 95])
    return Lengths(round(float(np.mean(lengths)), 2), float(median), round(float(p95), 2), max(lengths))


def positives(grades: Mapping[str, int]) -> list[str]:
    """The passages with a grade above 0."""
    return [passage for passage, grade in grades.items() if grade > 0]


def _split(qrels: Qrels, words: Mapping[str, set[str]], passages: Mapping[str, str]) -> SplitStatistics:
    relevant = {query_id: positives(grades) for query_id, grades in qrels.items()}
    passage_words = {key: set(units(passages[key])) for key in {key for keys in relevant.values() for key in keys}}
    shares = [
        len(words[query_id] & passage_words[key]) / len(words[query_id])
        for query_id, keys in relevant.items()
        for key in keys
        if words[query_id]
    ]
    return SplitStatistics(
        queries=len(qrels),
        judgements=sum(map(len, qrels.values())),
        without_positive=sum(not keys for keys in relevant.values()),
        positives_a_query=_lengths([len(keys) for keys in relevant.values()]),
        overlap=round(float(np.mean(shares)), 4) if shares else None,
    )


def _leakages(dataset: Dataset, queries: TextGroups, passages: TextGroups) -> tuple[Leakage, ...]:
    """Every pair of splits, one of which is not simply all queries of the other (such as ``all``)."""
    pairs = combinations([name for name, qrels in dataset.qrels.items() if qrels], 2)
    return tuple(
        _leakage(dataset, earlier, later, queries, passages)
        for earlier, later in pairs
        if not set(dataset.qrels[earlier]) <= set(dataset.qrels[later])
    )


def _leakage(dataset: Dataset, earlier: str, later: str, queries: TextGroups, passages: TextGroups) -> Leakage:
    seen, asked = dataset.qrels[earlier], dataset.qrels[later]
    counts = {}
    for kind, query_group, passage_group in (
        ("equal", queries.equal, passages.equal),
        ("near", queries.near, passages.near),
    ):
        seen_queries = {query_group[query_id] for query_id in seen}
        seen_passages = {passage_group[key] for grades in seen.values() for key in positives(grades)}
        counts[f"{kind}_queries"] = sum(query_group[query_id] in seen_queries for query_id in asked)
        counts[f"{kind}_positives"] = sum(
            any(passage_group[key] in seen_passages for key in positives(grades)) for grades in asked.values()
        )
    return Leakage(earlier, later, **counts)


def _candidates(dataset: Dataset) -> dict[str, int]:
    listed = [one for candidates in dataset.candidates.values() for one in candidates]
    return {
        "queries": len(dataset.candidates),
        "candidates": len(listed),
        "negatives": sum(one.relevance is not None and one.relevance <= 0 for one in listed),
        "unknown": sum(one.relevance is None for one in listed),
        "with_teacher": sum(one.teacher is not None for one in listed),
        "not_valid": sum(not one.valid for one in listed),
    }

"""What is usable but odd in a dataset: blank texts, leakage between splits, negatives that equal a positive."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import final

from ragtune.data.duplicates import canonical_ids, plain_text
from ragtune.data.records import Dataset
from ragtune.data.sealing import is_broken, trained_questions
from ragtune.data.statistics import DatasetStatistics, dataset_statistics, positives

EXAMPLES = 5


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of oddity: how often it occurs, ids to look at, and what it means."""

    name: str
    count: int
    examples: tuple[str, ...]
    meaning: str


def check_dataset(dataset: Dataset, statistics: DatasetStatistics | None = None) -> tuple[Finding, ...]:
    """Everything odd about a dataset, in the order of CHECKS; ``statistics`` saves computing them again."""
    statistics = statistics or dataset_statistics(dataset)
    findings = []
    for name, (look, meaning) in CHECKS.items():
        if ids := list(look(dataset)):
            findings.append(Finding(name, len(ids), tuple(ids[:EXAMPLES]), meaning))
    return (*findings, *_leakage(statistics), *_seal(dataset))


def _leakage(statistics: DatasetStatistics) -> Iterator[Finding]:
    for leak in statistics.leakage:
        pair = f"{leak.earlier} -> {leak.later}"
        if leak.near_queries:
            meaning = f"of them {leak.equal_queries} are equal; what {leak.later} measures was seen: ragtune split"
            yield Finding(f"queries shared by splits, {pair}", leak.near_queries, (), meaning)
        if leak.near_positives:
            meaning = f"of them {leak.equal_positives} are equal; {leak.earlier} has the passage with another query"
            yield Finding(f"queries whose positive is shared by splits, {pair}", leak.near_positives, (), meaning)


def _seal(dataset: Dataset) -> Iterator[Finding]:
    if is_broken(dataset):
        meaning = "it is not what was sealed; a run is refused: bring it back, or ragtune seal DATASET --again"
        yield Finding("broken seal of the test split", 1, (), meaning)
    if trained := list(trained_questions(dataset, dataset)):
        meaning = "a run is refused: take them out of train, or ragtune split"
        yield Finding(
            "training queries that ask what the sealed test asks", len(trained), tuple(trained[:EXAMPLES]), meaning
        )


def _blank_passages(dataset: Dataset) -> Iterator[str]:
    yield from (key for key, passage in dataset.corpus.items() if not passage.content)


def _blank_queries(dataset: Dataset) -> Iterator[str]:
    yield from (key for key, query in dataset.queries.items() if not query.text.strip())


def _repeated_passages(dataset: Dataset) -> Iterator[str]:
    yield from (key for key, first in canonical_ids(dataset.corpus).items() if key != first)


def _repeated_queries(dataset: Dataset) -> Iterator[str]:
    seen: dict[str, str] = {}
    for key, query in dataset.queries.items():
        if seen.setdefault(plain_text(query.text), key) != key:
            yield key


def _unjudged(dataset: Dataset) -> Iterator[str]:
    judged = {query_id for qrels in dataset.qrels.values() for query_id in qrels}
    yield from (key for key in dataset.queries if key not in judged and key not in dataset.candidates)


def _without_positive(dataset: Dataset) -> Iterator[str]:
    for split, query_id, grades in _judged(dataset):
        if not positives(grades):
            yield f"{split}:{query_id}"


def _negative_equals_positive(dataset: Dataset) -> Iterator[str]:
    canonical = canonical_ids(dataset.corpus)
    for _, query_id, grades in _judged(dataset):
        relevant = {canonical[key] for key in positives(grades)}
        for candidate in dataset.candidates.get(query_id, []):
            negative = candidate.relevance is None or candidate.relevance <= 0
            if negative and candidate.valid and canonical[candidate.corpus_id] in relevant:
                yield f"{query_id}:{candidate.corpus_id}"


def _query_is_passage(dataset: Dataset) -> Iterator[str]:
    for _, query_id, grades in _judged(dataset):
        text = plain_text(dataset.queries[query_id].text)
        if text and any(plain_text(dataset.corpus[key].content) == text for key in positives(grades)):
            yield query_id


def _judged(dataset: Dataset) -> Iterator[tuple[str, str, Mapping[str, int]]]:
    for split, qrels in dataset.qrels.items():
        for query_id, grades in qrels.items():
            yield split, query_id, grades


CHECKS: Mapping[str, tuple[Callable[[Dataset], Iterator[str]], str]] = {
    "passages without text": (_blank_passages, "nothing can be learned from them; training leaves them out"),
    "queries without text": (_blank_queries, "training leaves them out; evaluation counts them"),
    "passages that repeat another": (_repeated_passages, "they count as one passage in training and evaluation"),
    "queries that repeat another": (_repeated_queries, "a split keeps them together"),
    "queries nobody judged": (_unjudged, "no split has them: training and evaluation do not see them"),
    "judged queries without a positive": (_without_positive, "they cannot be trained on and score 0"),
    "negatives that equal a positive": (_negative_equals_positive, "a false negative; training masks it"),
    "queries that equal their positive": (_query_is_passage, "the pair teaches nothing"),
}

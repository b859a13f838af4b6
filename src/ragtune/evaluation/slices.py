"""Parts of the questions that are looked at apart: by length, by shared words, by whether training saw the document."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType

import numpy as np

from ragtune.data.duplicates import canonical_ids
from ragtune.data.language import CJK, units
from ragtune.data.records import Dataset
from ragtune.evaluation.judged import JudgedSplit
from ragtune.evaluation.resampling import Resampling, Values
from ragtune.evaluation.results import SliceRow
from ragtune.measures import mean_values

Parts = dict[str, str]
"""Query id -> the part it belongs to; parts come in the order in which they are to be shown."""

_CJK_RUN = re.compile(f"[{CJK}]+")
_THIRDS = ("lowest third", "middle third", "highest third")


def terms(text: str) -> set[str]:
    """The words of a text for counting what two texts share; CJK by pairs of neighbouring characters.

    >>> sorted(terms("What is BM25")), sorted(terms("绿茶汤"))
    (['bm25', 'is', 'what'], ['绿茶', '茶汤'])
    """
    pairs = {run[i : i + 2] for run in _CJK_RUN.findall(text) for i in range(max(1, len(run) - 1))}
    return pairs | set(units(_CJK_RUN.sub(" ", text)))


def by_length(judged: JudgedSplit, dataset: Dataset) -> Parts:
    """Thirds by the number of words (CJK: characters) of the question."""
    return _thirds({query.id: len(units(query.text)) for query in judged.queries}, shown=str)


def by_overlap(judged: JudgedSplit, dataset: Dataset) -> Parts:
    """Thirds by the share of the question's words that its relevant passage holds (the best of several)."""
    shares = {}
    for query in judged.queries:
        wanted = terms(query.text)
        held = [terms(judged.passages[pid].content) for pid in judged.relevant(query.id)]
        if wanted and held:
            shares[query.id] = max(len(wanted & words) for words in held) / len(wanted)
    return _thirds(shares, shown=lambda share: f"{share:.0%}")


def by_seen(judged: JudgedSplit, dataset: Dataset) -> Parts:
    """Whether a training question was about the relevant passage, a copy of it, or its document."""
    trained = {pid for grades in dataset.split("train").values() for pid, grade in grades.items() if grade > 0}
    if not trained:
        return {}
    content = canonical_ids(dataset.corpus)
    passages = {content[pid] for pid in trained}
    documents = {_document(dataset, pid) for pid in trained} - {None}
    parts = {}
    for query in judged.queries:
        relevant = judged.relevant(query.id)
        seen = any(content[pid] in passages or _document(dataset, pid) in documents for pid in relevant)
        parts[query.id] = "seen in training" if seen else "unseen"
    return dict(sorted(parts.items(), key=lambda item: item[1], reverse=True))


def by_style(judged: JudgedSplit, dataset: Dataset) -> Parts:
    """The style that the questions' metadata names, where there is one."""
    styles = {query.id: str(query.metadata["style"]) for query in judged.queries if query.metadata.get("style")}
    return dict(sorted(styles.items(), key=lambda item: item[1]))


SLICES: Mapping[str, Callable[[JudgedSplit, Dataset], Parts]] = MappingProxyType(
    {
        "Length of the question (words; Chinese: characters)": by_length,
        "Share of its words that the relevant passage holds": by_overlap,
        "Document of the relevant passage": by_seen,
        "Style of the question": by_style,
    }
)


def slice_rows(
    parts: Parts,
    *,
    title: str,
    before: Values,
    after: Values | None,
    resampling: Resampling,
) -> list[SliceRow]:
    """A row for every part, with the change and its interval where there is an ``after``; none for a single part."""
    if len(set(parts.values())) < 2:
        return []
    rows = []
    for part in dict.fromkeys(parts.values()):
        queries = [query_id for query_id, own in parts.items() if own == part]
        one = {query_id: before[query_id] for query_id in queries}
        if after is None:
            rows.append(SliceRow(slice=title, part=part, n=len(queries), before=mean_values({"": one})[""]))
            continue
        other = {query_id: after[query_id] for query_id in queries}
        found = resampling.change(one, other, measure=title)
        row = {name: found[name] for name in ("before", "after", "delta", "low", "high")}
        rows.append(SliceRow(slice=title, part=part, n=len(queries), **row))
    return rows


def _document(dataset: Dataset, passage_id: str) -> Hashable | None:
    return dataset.corpus[passage_id].metadata.get("document")


def _thirds(values: Mapping[str, float], *, shown: Callable[[float], str]) -> Parts:
    """Three parts of about equal size; equal values stay together, so a part may be larger, or missing."""
    if not values:
        return {}
    first, second = np.quantile(list(values.values()), [1 / 3, 2 / 3], method="lower")
    third = {query_id: int(value > first) + int(value > second) for query_id, value in values.items()}
    labels = {}
    for number in sorted(set(third.values())):
        inside = [value for query_id, value in values.items() if third[query_id] == number]
        low, high = shown(min(inside)), shown(max(inside))
        labels[number] = f"{_THIRDS[number]}: {low}" + (f" to {high}" if high != low else "")
    return {query_id: labels[third[query_id]] for query_id in sorted(third, key=third.__getitem__)}

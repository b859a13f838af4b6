"""Measures as values: ``nDCG@10`` reads the same in Python, in YAML, on the command line and in a log.

Shapes: Q queries, H hits (relevant passages that a run retrieved, all queries in one flat table).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import numpy as np
from numpy.typing import NDArray

from ragtune.errors import InputError, Problem, did_you_mean

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@final
@dataclass(frozen=True, slots=True)
class Hits:
    """Relevant passages at their ranks: one row a passage, the rows of a query together and in the order of rank."""

    query_H: IntArray
    rank_H: IntArray
    gain_H: FloatArray
    nth_H: IntArray

    def total(self, value_H: FloatArray, *, k: int | None, queries: int) -> FloatArray:
        """total_Q: the sum of ``value_H`` over each query's hits down to rank ``k``."""
        counted_H = value_H if k is None else np.where(self.rank_H <= k, value_H, 0.0)
        return np.bincount(self.query_H, weights=counted_H, minlength=queries).astype(np.float64)


@final
@dataclass(frozen=True, slots=True)
class Judged:
    """A run beside its judgements: what was found, the best that could be found, and how much is relevant."""

    found: Hits
    ideal: Hits
    relevant_Q: IntArray

    def count(self, k: int | None) -> FloatArray:
        """hits_Q: relevant passages down to rank ``k``."""
        return self.found.total(np.ones(len(self.found.rank_H)), k=k, queries=len(self.relevant_Q))


def _share(part_Q: FloatArray, whole_Q: FloatArray | IntArray) -> FloatArray:
    """The share, and 0 where there is nothing to divide by (trec_eval: a query without relevant passages is 0)."""
    return np.divide(part_Q, whole_Q, out=np.zeros(len(part_Q)), where=np.asarray(whole_Q) > 0)


def _dcg(hits: Hits, k: int | None, queries: int) -> FloatArray:
    return hits.total(hits.gain_H / np.log2(hits.rank_H + 1.0), k=k, queries=queries)


def _ndcg(judged: Judged, k: int | None) -> FloatArray:
    queries = len(judged.relevant_Q)
    return _share(_dcg(judged.found, k, queries), _dcg(judged.ideal, k, queries))


def _average_precision(judged: Judged, k: int | None) -> FloatArray:
    precision_H = judged.found.nth_H / judged.found.rank_H
    return _share(judged.found.total(precision_H, k=k, queries=len(judged.relevant_Q)), judged.relevant_Q)


def _reciprocal_rank(judged: Judged, k: int | None) -> FloatArray:
    first_H = np.where(judged.found.nth_H == 1, 1.0 / judged.found.rank_H, 0.0)
    return judged.found.total(first_H, k=k, queries=len(judged.relevant_Q))


def _recall(judged: Judged, k: int | None) -> FloatArray:
    return _share(judged.count(k), judged.relevant_Q)


def _precision(judged: Judged, k: int | None) -> FloatArray:
    assert k is not None
    return judged.count(k) / k


def _hit_rate(judged: Judged, k: int | None) -> FloatArray:
    return (judged.count(k) > 0).astype(np.float64)


def _r_precision(judged: Judged, k: int | None) -> FloatArray:
    found = judged.found
    inside_H = (found.rank_H <= judged.relevant_Q[found.query_H]).astype(np.float64)
    return _share(found.total(inside_H, k=None, queries=len(judged.relevant_Q)), judged.relevant_Q)


@final
@dataclass(frozen=True, slots=True)
class MeasureSpec:
    """A row of the table of measures. ``cutoff`` says whether ``@k`` must, may or must not follow the name."""

    function: Callable[[Judged, int | None], FloatArray]
    summary: str
    cutoff: str
    aliases: tuple[str, ...] = ()


MEASURES: Mapping[str, MeasureSpec] = MappingProxyType(
    {
        "nDCG": MeasureSpec(_ndcg, "linear gains discounted by log2(rank + 1), over the best possible", "may"),
        "MAP": MeasureSpec(_average_precision, "precision at each hit, over all that is relevant", "may", ("AP",)),
        "MRR": MeasureSpec(_reciprocal_rank, "1 / rank of the first hit", "may", ("RR",)),
        "Recall": MeasureSpec(_recall, "share of what is relevant that is in the first k", "must", ("R",)),
        "P": MeasureSpec(_precision, "share of the first k that is relevant", "must", ("Precision",)),
        "HitRate": MeasureSpec(
            _hit_rate, "1 when a hit is in the first k", "must", ("Hit", "Hits", "Hit_Rate", "Success")
        ),
        "RPrec": MeasureSpec(
            _r_precision, "precision at R, the number of relevant passages", "no", ("R-Precision", "RPrecision")
        ),
    }
)
_NAMES = {alias.lower(): name for name, spec in MEASURES.items() for alias in (name, *spec.aliases)}
_WRITTEN = re.compile(r"([A-Za-z_-]+)(?:@([1-9][0-9]*))?")
_WRONG_CUTOFF: Mapping[str, tuple[Callable[[int | None], bool], str, str]] = {
    "must": (lambda k: k is None, "needs a cut-off", "write for example '{name}@10'"),
    "may": (lambda k: False, "", ""),
    "no": (lambda k: k is not None, "takes no cut-off", "write '{name}'"),
}


@final
@dataclass(frozen=True, slots=True)
class Measure:
    """A ranking measure with its cut-off; ``k`` None means the whole ranking.

    >>> str(Measure("nDCG", 10)), str(Measure("RPrec"))
    ('nDCG@10', 'RPrec')
    """

    name: str
    k: int | None = None

    def __str__(self) -> str:
        return self.name if self.k is None else f"{self.name}@{self.k}"

    def values(self, judged: Judged) -> FloatArray:
        """value_Q of every query of ``judged``."""
        return MEASURES[self.name].function(judged, self.k)


def parse_measures(texts: Iterable[str | Measure]) -> list[Measure]:
    """The measures written as ``nDCG@10``, ``RPrec``...; one InputError tells of all that cannot be read."""
    parsed = [text if isinstance(text, Measure) else _parse(text) for text in texts]
    problems = [item for item in parsed if isinstance(item, Problem)]
    if problems:
        raise InputError(problems)
    return [item for item in parsed if isinstance(item, Measure)]


def parse_measure(text: str | Measure) -> Measure:
    """The measure that ``text`` names; letter case is free, and common other names are known.

    >>> parse_measure("precision@5"), str(parse_measure("ndcg@10"))
    (Measure(name='P', k=5), 'nDCG@10')
    """
    return parse_measures([text])[0]


def _parse(text: str) -> Measure | Problem:
    written = _WRITTEN.fullmatch(text.strip())
    name = _NAMES.get(written[1].lower()) if written else None
    if written is None or name is None:
        do = did_you_mean(text.partition("@")[0].strip(), list(MEASURES)) + "; a cut-off is written '@10'"
        return Problem(what="unknown measure", where="measures", found=repr(text), do=do)
    k = int(written[2]) if written[2] else None
    is_wrong, what, do = _WRONG_CUTOFF[MEASURES[name].cutoff]
    if is_wrong(k):
        return Problem(what=f"{name} {what}", where="measures", found=repr(text), do=do.format(name=name))
    return Measure(name, k)

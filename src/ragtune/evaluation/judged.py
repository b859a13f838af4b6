"""A split as it is measured: its questions, and the passages and judgements as the protocol counts them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from ragtune.data.duplicates import canonical_ids, duplicate_groups
from ragtune.data.records import Dataset, Passage, Qrels, Query
from ragtune.errors import DataError, Problem, did_you_mean
from ragtune.recipe import Protocol


@final
@dataclass(frozen=True, slots=True)
class JudgedSplit:
    """The questions of a split and what a ranking of them may hold.

    Under ``merged`` passages of equal content are one, known by the id of the first of them; under ``single-id``
    every id stands for itself. ``counted_as`` maps each corpus id to the id that counts for it.
    """

    queries: tuple[Query, ...]
    qrels: Qrels
    passages: dict[str, Passage]
    counted_as: Mapping[str, str]

    def relevant(self, query_id: str) -> list[str]:
        """The relevant passages of a question: best grade first, then by id."""
        grades = self.qrels[query_id]
        return sorted((pid for pid, grade in grades.items() if grade > 0), key=lambda pid: (-grades[pid], pid))


def judged_split(dataset: Dataset, split: str, *, protocol: Protocol = "merged") -> JudgedSplit:
    """The split ``split`` of ``dataset`` under ``protocol``; raises ``DataError`` when it holds no judgement."""
    qrels = dataset.split(split)
    if not qrels:
        filled = [name for name, judgements in dataset.qrels.items() if judgements]
        raise DataError(
            Problem(
                what=f"the split {split!r} holds no judgements, so there is nothing to measure",
                where=f"dataset {dataset.info.name!r}, qrels/{split}.tsv",
                found="no such split" if split not in dataset.qrels else "an empty split",
                do=did_you_mean(split, filled) if filled else "give the dataset qrels (ragtune split makes splits)",
            )
        )
    counted_as = canonical_ids(dataset.corpus) if protocol == "merged" else {pid: pid for pid in dataset.corpus}
    return JudgedSplit(
        queries=tuple(dataset.queries[query_id] for query_id in qrels),
        qrels=_mapped(qrels, counted_as),
        passages={pid: passage for pid, passage in dataset.corpus.items() if counted_as[pid] == pid},
        counted_as=counted_as,
    )


def _mapped(qrels: Qrels, counted_as: Mapping[str, str]) -> Qrels:
    mapped: Qrels = {}
    for query_id, grades in qrels.items():
        row = mapped.setdefault(query_id, {})
        for pid, grade in grades.items():
            counted = counted_as[pid]
            row[counted] = max(grade, row.get(counted, grade))
    return mapped


def sampled(judged: JudgedSplit, *, max_passages: int, seed: int) -> JudgedSplit:
    """The same questions over fewer passages: all that are judged, and others drawn by ``seed`` up to the limit."""
    kept = {pid for grades in judged.qrels.values() for pid in grades}
    others = [pid for pid in judged.passages if pid not in kept]
    room = max(0, max_passages - len(kept))
    kept.update(random.Random(seed).sample(others, min(room, len(others))))
    return JudgedSplit(
        queries=judged.queries,
        qrels=judged.qrels,
        passages={pid: passage for pid, passage in judged.passages.items() if pid in kept},
        counted_as=judged.counted_as,
    )


def clusters(judged: JudgedSplit) -> dict[str, str]:
    """Query id -> the group that it stands or falls with: that of its best relevant passage and the near-duplicates.

    A question with several relevant passages goes with the best graded one (assumption: joining by all of them would
    make a densely judged set one single cluster).
    """
    best = {query.id: relevant[0] for query in judged.queries if (relevant := judged.relevant(query.id))}
    groups = duplicate_groups({pid: judged.passages[pid] for pid in dict.fromkeys(best.values())})
    return {query.id: groups[best[query.id]] if query.id in best else f"query {query.id}" for query in judged.queries}

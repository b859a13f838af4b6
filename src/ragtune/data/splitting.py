"""Splits by duplicate group, never by pair: what is measured was not seen in training under another id."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from ragtune.data.duplicates import NEAR, Groups, near_texts, text_groups
from ragtune.data.records import Dataset, Qrels
from ragtune.data.sealing import seal_test
from ragtune.errors import DataError, Problem, did_you_mean

LEVELS = ("document", "duplicates", "query")
"""What stays together, strictest first. ``query``: only queries with (nearly) equal texts."""

ENOUGH = 0.5
"""A level is used when whole groups fill at least this share of each part that was asked for: a part that is somewhat
small is better than one that was seen in training."""


@final
@dataclass(frozen=True, slots=True)
class Split:
    """A dataset with new splits. ``level`` is one of LEVELS; ``notices`` say where a stricter level failed."""

    dataset: Dataset
    level: str
    notices: tuple[str, ...] = ()


def split_dataset(
    dataset: Dataset,
    *,
    dev: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    source: str = "train",
    near: float | None = NEAR,
    level: str | None = None,
) -> Split:
    """Move whole groups of queries from ``source`` to dev and test.

    A size below 1 is a share of the source's queries, a whole number a count. Queries are in one group when they
    share a positive passage, when their positives are duplicates of each other (``near`` as in ``duplicate_groups``)
    or lie in one document (``metadata["document"]``), or when their own texts are duplicates. Where groups are too
    large to fill a part (a densely judged set is one single group), the next level of LEVELS is used and a notice
    says so; a ``level`` that is given is used or refused. Other splits are untouched. The same seed gives the same
    split. Raises DataError for sizes that cannot be had.
    """
    query_ids = list(dataset.split(source))
    wanted = _wanted({"test": test, "dev": dev}, dataset=dataset, source=source)
    if level is not None and level not in LEVELS:
        do = did_you_mean(level, LEVELS)
        raise DataError(Problem(what="unknown level of grouping", where="level", found=level, do=do))
    links = _Links(dataset, source=source, near=near)
    notices: list[str] = []
    for name in (level,) if level else LEVELS:
        if name == "document" and not links.documents and not level:
            continue
        groups = links.groups(name)
        parts = _fill(groups, wanted, seed=seed)
        strays = _take_strays(dataset, groups, parts, source=source)
        if all(len(parts[part]) >= ENOUGH * count for part, count in wanted.items()):
            notices += [
                f"{part} has {len(parts[part])} queries instead of {count}: groups were not torn apart"
                for part, count in wanted.items()
                if len(parts[part]) < count
            ]
            if strays:
                notices.append(f"{strays} more queries went to test: nearly equal to a question there")
            moved = _moved(dataset, parts, source=source)
            # groups keep (nearly) equal questions together, so what was just made can be sealed
            sealed = seal_test(moved) if "test" in parts and source == "train" else moved
            return Split(sealed, level=name, notices=tuple(notices))
        notices.append(_too_coarse(name, groups, parts, wanted))
    what = "the split cannot be filled with whole groups"
    do = "ask for other shares, or let the level be chosen"
    found = "; ".join(notices) or f"{len(query_ids)} queries"
    raise DataError(Problem(what=what, where=f"qrels/{source}.tsv", found=found, do=do))


def carve_dev(dataset: Dataset, fraction: float = 0.1, *, seed: int = 0, near: float | None = NEAR) -> Split:
    """A dev part taken from train by groups (see ``split_dataset``); every other split stays as it is."""
    return split_dataset(dataset, dev=fraction, test=0, seed=seed, near=near)


def _wanted(parts: Mapping[str, float], *, dataset: Dataset, source: str) -> dict[str, int]:
    """Part -> count of queries; parts of size 0 are left out."""
    total = len(dataset.split(source))
    problems = []
    if not total:
        do = f"name a split that has judgements: {', '.join(dataset.qrels) or 'there is none'}"
        problems.append(Problem(what="nothing to split", where=f"qrels/{source}.tsv", found="no judged query", do=do))
    counts = {part: int(size) if size >= 1 else round(size * total) for part, size in parts.items()}
    for part, size in parts.items():
        if size < 0 or (size >= 1 and size != int(size)) or (total and size and not counts[part]):
            do = f"give a share below 1 (0.1) or a count (300) that is at least one of the {total} queries"
            problems.append(Problem(what=f"no size for {part}", where=part, found=str(size), do=do))
        if size and dataset.split(part):
            what, found = f"the dataset has a {part} split", f"{len(dataset.split(part))} judged queries"
            do = f"set {part} to 0 to keep it, or take qrels/{part}.tsv out"
            problems.append(Problem(what=what, where=f"qrels/{part}.tsv", found=found, do=do))
    if total and sum(counts.values()) >= total and not problems:
        what, found = f"nothing would be left in {source}", f"{sum(counts.values())} of {total} queries"
        problems.append(Problem(what=what, where="dev and test", found=found, do="ask for less"))
    if problems:
        raise DataError(problems)
    return {part: count for part, count in counts.items() if count}


@final
class _Links:
    """What ties the queries of a split to each other."""

    def __init__(self, dataset: Dataset, *, source: str, near: float | None) -> None:
        qrels = dataset.split(source)
        self._same_text = text_groups({key: dataset.queries[key].text for key in qrels}, near=near)
        # Texts with a class count as unlinked by passages: each class would be one group.
        self._positives = {
            key: [passage for passage, grade in grades.items() if grade > 0]
            for key, grades in qrels.items()
            if "label" not in dataset.queries[key].metadata
        }
        judged = {passage for passages in self._positives.values() for passage in passages}
        positives = {key: passage for key, passage in dataset.corpus.items() if key in judged}
        self._same_passage = text_groups({key: passage.content for key, passage in positives.items()}, near=near)
        documents = {key: passage.metadata.get("document") for key, passage in positives.items()}
        self.documents = {key: str(document) for key, document in documents.items() if document is not None}

    def groups(self, level: str) -> list[list[str]]:
        """The queries in groups, in the order of the source."""
        groups = Groups(self._same_text)
        groups.join_equal(self._same_text.__getitem__)
        links = {"query": (), "duplicates": (self._same_passage,), "document": (self._same_passage, self.documents)}
        for link in links[level]:
            first: dict[str, str] = {}
            for query_id, passages in self._positives.items():
                for passage in passages:
                    if passage in link:
                        groups.join(first.setdefault(link[passage], query_id), query_id)
        members: dict[str, list[str]] = {}
        for query_id, group in groups.as_dict().items():
            members.setdefault(group, []).append(query_id)
        return list(members.values())


def _fill(groups: Sequence[list[str]], wanted: Mapping[str, int], *, seed: int) -> dict[str, list[str]]:
    shuffled = list(groups)
    random.Random(seed).shuffle(shuffled)
    parts: dict[str, list[str]] = {part: [] for part in wanted}
    for group in shuffled:
        for part, count in wanted.items():
            if len(parts[part]) + len(group) <= count:
                parts[part] += group
                break
    return parts


def _take_strays(dataset: Dataset, groups: Sequence[list[str]], parts: dict[str, list[str]], *, source: str) -> int:
    """Bring groups into test that hold a near duplicate of its questions; gives how many queries.

    Grouping by MinHash misses a pair now and then, and a sealed test split may have none in training.
    """
    if "test" not in parts or source != "train":
        return 0
    before = len(parts["test"])
    group_of = {query: number for number, group in enumerate(groups) for query in group}
    elsewhere = {query for part in parts.values() for query in part}
    asked = parts["test"]
    while asked:
        rest = {query: dataset.queries[query].text for query in group_of if query not in elsewhere}
        near = near_texts(rest, [dataset.queries[query].text for query in asked])
        asked = [query for number in sorted({group_of[query] for query in near}) for query in groups[number]]
        parts["test"] += asked
        elsewhere |= set(asked)
    return len(parts["test"]) - before


def _moved(dataset: Dataset, parts: Mapping[str, list[str]], *, source: str) -> Dataset:
    goes_to = {query_id: part for part, query_ids in parts.items() for query_id in query_ids}
    qrels: dict[str, Qrels] = {source: {}, **{part: {} for part in ("dev", "test") if part in parts}}
    for query_id, grades in dataset.split(source).items():
        qrels[goes_to.get(query_id, source)][query_id] = dict(grades)
    kept = {split: judged for split, judged in dataset.qrels.items() if split not in qrels}
    return replace(dataset, qrels=qrels | kept)


def _too_coarse(
    level: str, groups: Sequence[list[str]], parts: Mapping[str, list[str]], wanted: Mapping[str, int]
) -> str:
    total, largest = sum(map(len, groups)), max(map(len, groups))
    filled = ", ".join(f"{part} {len(parts[part])} of {count}" for part, count in wanted.items())
    return (
        f"grouped by {level}, the largest of {len(groups)} groups holds {largest} of {total} queries; "
        f"whole groups fill only {filled}"
    )

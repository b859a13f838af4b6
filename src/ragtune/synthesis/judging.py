"""A language model as judge: whether a query stands alone and is answered, and which other passages answer it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from ragtune.data.records import Dataset
from ragtune.synthesis.asking import Asker
from ragtune.synthesis.drafts import Draft, Rejected, Sieved
from ragtune.synthesis.generating import read_or_repair
from ragtune.synthesis.llm import Request
from ragtune.synthesis.pool import Pool
from ragtune.synthesis.prompts import CRITERIA, complete_request, judge_request

REASONS = {
    "self_contained": "cannot be understood alone",
    "clear": "does not say clearly what it asks for",
    "mentioned": "the passage says nothing about it",
    "answered": "the passage does not answer it in full",
}


@final
@dataclass(frozen=True, slots=True)
class Completion:
    """Drafts with complete labels; ``agreed`` counts those whose source the judge marked again."""

    drafts: list[Draft]
    judged: int
    agreed: int
    added: int


def judge_requests(drafts: Sequence[Draft], dataset: Dataset) -> list[Request]:
    """One request a draft."""
    return [
        judge_request(draft.text, "\n\n".join(dataset.corpus[key].content for key in draft.passage_ids))
        for draft in drafts
    ]


def judge(drafts: Sequence[Draft], dataset: Dataset, asker: Asker) -> Sieved:
    """Cut the drafts that fail a yes/no criterion; the score is the share of criteria that hold.

    A draft without a readable verdict is kept: it passed every other filter.
    """
    requests = judge_requests(drafts, dataset)
    replies = asker.ask(requests, label="judge")
    verdicts = read_or_repair(asker, requests, replies, key=CRITERIA[-1], reader=read_verdict, label="judge, repairs")
    kept: list[Draft] = []
    rejected: list[Rejected] = []
    for draft, verdict in zip(drafts, verdicts, strict=True):
        failed = [] if isinstance(verdict, str) else [name for name in CRITERIA if not verdict[name]]
        if failed:
            reason = "; ".join(REASONS[name] for name in failed)
            rejected.append(Rejected(draft, "judge", reason, 1 - len(failed) / len(CRITERIA)))
        else:
            kept.append(draft)
    return kept, rejected


def read_verdict(said: Mapping[str, Any]) -> dict[str, bool]:
    """The criteria; ValueError where one is missing or neither yes nor no."""
    words = {"true": True, "yes": True, "y": True, "是": True, "false": False, "no": False, "n": False, "否": False}
    verdict = {}
    for name in CRITERIA:
        value = said.get(name)
        value = words.get(value.strip().lower()) if isinstance(value, str) else value
        if not isinstance(value, bool):
            raise ValueError(f"{name!r} is neither true nor false")
        verdict[name] = value
    return verdict


def complete(drafts: Sequence[Draft], dataset: Dataset, asker: Asker, pool: Pool, *, k: int) -> Completion:
    """Let the judge mark what else answers each query, among the best of every search.

    The source stands among the passages, not marked: how often the judge finds it says how far it can be trusted.
    """
    found = pool.candidates([draft.as_query() for draft in drafts], k=k)
    shown = [_shown(draft, found[draft.id], pool) for draft in drafts]
    requests = [
        complete_request(draft.text, [dataset.corpus[key].content for key in keys])
        for draft, keys in zip(drafts, shown, strict=True)
    ]
    replies = asker.ask(requests, label="complete labels")
    readings = read_or_repair(
        asker, requests, replies, key="answering", reader=read_numbers, label="complete labels, repairs"
    )
    done: list[Draft] = []
    judged = agreed = added = 0
    for draft, keys, numbers in zip(drafts, shown, readings, strict=True):
        if isinstance(numbers, str):
            done.append(draft)
            continue
        answering = {keys[number - 1] for number in numbers if 1 <= number <= len(keys)}
        grades = {key: int(key in answering) for key in keys if key not in draft.passage_ids}
        judged += 1
        agreed += bool(answering & set(draft.passage_ids))
        added += sum(grades.values())
        done.append(replace(draft, more=grades))
    return Completion(done, judged, agreed, added)


def read_numbers(said: Mapping[str, Any]) -> list[int]:
    """The numbers of passages; ValueError where they are none."""
    rows = said["answering"]
    if not isinstance(rows, list) or not all(isinstance(row, int) for row in rows):
        raise ValueError("'answering' is not a list of numbers")
    return rows


def _shown(draft: Draft, found: Sequence[str], pool: Pool) -> list[str]:
    """What the judge sees: the source, what was doubted, then what was found; of duplicates one."""
    keys = sorted({*draft.passage_ids, *draft.unsure, *draft.negatives, *found})
    groups: dict[str, str] = {}
    for key in (*draft.passage_ids, *keys):
        groups.setdefault(pool.groups[key], key)
    # sorted by id, so that the source's place tells the judge nothing
    return sorted(groups.values())

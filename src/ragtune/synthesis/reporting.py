"""What a run leaves beside its dataset: rejected queries, counts, and which corpus it saw."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ragtune.data.records import Dataset
from ragtune.recipe_synthesis import SynthesisRecipe
from ragtune.run import atomic_write, hash_json, read_json, write_json
from ragtune.synthesis.asking import Say
from ragtune.synthesis.budget import Estimate
from ragtune.synthesis.cache import ReplyCache
from ragtune.synthesis.drafts import Draft, Rejected
from ragtune.synthesis.planning import Plan

REPLIES, REJECTED, REPORT, STATE = "replies.jsonl", "rejected.jsonl", "report.json", "state.json"


def note_corpus(work: Path, dataset: Dataset, cache: ReplyCache, *, say: Say) -> None:
    """Remember the corpus; say where it is another than the last run's, and what the cache holds."""
    seen = {key: hash_json([passage.title, passage.text])[:16] for key, passage in dataset.corpus.items()}
    path = work / STATE
    before = read_json(path) if path.is_file() else None
    if before is not None and before != seen:
        new = sum(before.get(key) != value for key, value in seen.items())
        gone = len(before.keys() - seen.keys())
        say(f"the corpus has changed since the last run: {new:,} passages are new or other, {gone:,} are gone")
    if cache.unreadable:
        say(f"note: {cache.unreadable:,} lines of {cache.path} cannot be read; they are asked for again")
    write_json(path, seen)


def report_of(
    recipe: SynthesisRecipe,
    drafts: Sequence[Draft],
    rejected: Sequence[Rejected],
    *,
    made: int,
    split_of: Mapping[str, str],
    spent: Estimate,
    plan: Plan,
    completion: Mapping[str, int],
    notices: Sequence[str],
    seconds: float,
) -> dict[str, Any]:
    """Counts of everything: by filter, by style, by split; what was spent."""
    return {
        "synthesis": recipe.llm.model or recipe.llm.source,
        "passages_asked": len(plan.jobs),
        "passages_skipped": dict(plan.skipped),
        "made": made,
        "kept": len(drafts),
        "rejected": dict(Counter(item.filter for item in rejected).most_common()),
        "kept_by_style": dict(Counter(draft.style for draft in drafts).most_common()),
        "kept_by_split": dict(Counter(split_of[draft.id] for draft in drafts).most_common()),
        "labels": dict(completion),
        "spent": spent.as_dict(),
        "notices": list(notices),
        "seconds": round(seconds, 1),
        "recipe": recipe.model_dump(mode="json"),
    }


def write_report(work: Path, report: Mapping[str, Any], rejected: Sequence[Rejected]) -> None:
    """Write ``report.json`` and ``rejected.jsonl``."""
    with atomic_write(work / REJECTED) as file:
        for item in rejected:
            file.write(json.dumps(item.as_dict(), ensure_ascii=False) + "\n")
    write_json(work / REPORT, report)

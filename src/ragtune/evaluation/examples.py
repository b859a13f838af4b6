"""Questions whose result changed most, with the texts to judge it by."""

from __future__ import annotations

from collections.abc import Mapping

from ragtune.evaluation.judged import JudgedSplit
from ragtune.evaluation.results import Example, RankedPassage

LISTED = 20
"""How many wins, and how many losses, are listed."""

Ranked = Mapping[str, list[str]]
"""Query id -> passage ids, best first."""
Values = Mapping[str, float]
"""Query id -> value of the primary measure."""


def wins_and_losses(
    judged: JudgedSplit, *, before: tuple[Ranked, Values], after: tuple[Ranked, Values], listed: int = LISTED
) -> tuple[list[Example], list[Example]]:
    """The questions that gained most and those that lost most, the largest change first."""
    change = {query.id: after[1][query.id] - before[1][query.id] for query in judged.queries}
    by_change = sorted(change, key=lambda query_id: (-change[query_id], query_id))
    wins = [query_id for query_id in by_change if change[query_id] > 0][:listed]
    losses = [query_id for query_id in reversed(by_change) if change[query_id] < 0][:listed]
    texts = {query.id: query.text for query in judged.queries}

    def example(query_id: str) -> Example:
        relevant = judged.relevant(query_id)
        return Example(
            query_id=query_id,
            query=texts[query_id],
            relevant_id=relevant[0],
            relevant=judged.passages[relevant[0]].content,
            before=_first(judged, query_id, *before),
            after=_first(judged, query_id, *after),
        )

    return [example(query_id) for query_id in wins], [example(query_id) for query_id in losses]


def _first(judged: JudgedSplit, query_id: str, ranked: Ranked, values: Values) -> RankedPassage:
    order, relevant = ranked[query_id], set(judged.relevant(query_id))
    rank = next((rank for rank, pid in enumerate(order, start=1) if pid in relevant), None)
    first = order[0] if order else ""
    return RankedPassage(
        id=first,
        text=judged.passages[first].content if first else "",
        relevant=first in relevant,
        rank_of_relevant=rank,
        value=values[query_id],
    )

"""The audit of a mining: how many candidates were cut and why, margins, suspected false negatives, examples.

Nobody knows how many mined negatives are in truth relevant. Three things are counted instead, on a sample, each with
what it can and cannot see: whether another retriever puts the negative above the positive, whether the negative holds
the query's answer word for word, and what the verifying model said.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ragtune.data.records import Dataset
from ragtune.recipe_mining import MineRecipe
from ragtune.retrieval.mining.finders import FoundBlock
from ragtune.retrieval.mining.pool import Pool, text_key
from ragtune.retrieval.mining.rules import LEFT, REASONS

BINS = 20
SHORTEST_ANSWER = 4
"""Letters; a shorter answer ("yes", "12") stands in too many passages to mean anything."""


@final
@dataclass(slots=True, eq=False)
class Taken:
    """What was taken for a query: rows of the pool, best first; the last ``filled`` ones were drawn at random.

    Scores are NaN and ranks 0 where there is none. ``verdicts`` is empty where nothing was verified.
    """

    query: str
    positive_rows: NDArray[np.int64]
    positive_scores: NDArray[np.float64]
    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    ranks: NDArray[np.int64]
    sources: list[str]
    filled: int = 0
    verdicts: list[str] = field(default_factory=list)


@final
@dataclass(frozen=True, slots=True)
class Histogram:
    """How many values lie between each two edges."""

    edges: list[float]
    counts: list[int]


@final
@dataclass(frozen=True, slots=True)
class Suspicion:
    """One way of estimating false negatives: ``suspected`` of ``looked_at`` negatives, None where it cannot be told."""

    name: str
    how: str
    looked_at: int
    suspected: int | None

    @property
    def share(self) -> float | None:
        """Suspected share; None where it cannot be told."""
        return None if self.suspected is None or not self.looked_at else self.suspected / self.looked_at


@final
@dataclass(frozen=True, slots=True)
class Audit:
    """What a mining did. ``examples`` come the most doubtful first."""

    queries: int
    left_out: int
    asked: int
    found: int
    cut: dict[str, int]
    left: int
    chosen: int
    filled: int
    short: int
    without: int
    by_source: dict[str, int]
    margins: Histogram | None
    verdicts: dict[str, int]
    suspicions: tuple[Suspicion, ...]
    examples: tuple[dict[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        told = [{**asdict(one), "share": one.share} for one in self.suspicions]
        return {**asdict(self), "reasons": dict(REASONS), "suspicions": told}


@final
class AuditBuilder:
    """Counts while mining goes on; keeps whole only what was sampled."""

    def __init__(
        self, recipe: MineRecipe, *, dataset: Dataset, pool: Pool, queries: Sequence[str], left_out: int
    ) -> None:
        self._recipe, self._dataset, self._pool = recipe, dataset, pool
        self._queries, self._left_out = len(queries), left_out
        size = min(recipe.audit_sample, len(queries))
        drawn = np.random.default_rng(recipe.seed).choice(len(queries), size=size, replace=False)
        self._sample: dict[str, _Sampled] = {}
        self._wanted = {queries[place] for place in drawn}
        self._cut: Counter[str] = Counter()
        self._sources: Counter[str] = Counter()
        self._verdicts: Counter[str] = Counter()
        self._margins = array("d")
        self._left = self._chosen = self._filled = self._short = self._without = 0

    def samples(self, query: str) -> bool:
        """Whether a query is of the sample."""
        return query in self._wanted

    def add(self, taken: Taken, reasons: Sequence[str], *, left: int) -> None:
        """Count a query."""
        self._cut.update(reason for reason in reasons if reason != LEFT)
        self._left += left
        self._filled += taken.filled
        self._chosen += len(taken.rows) - taken.filled
        self._short += len(taken.rows) < self._recipe.negatives
        self._without += len(taken.rows) == 0
        self._sources.update(source for source in taken.sources)
        if len(taken.rows) > taken.filled:
            start = self._start(taken)
            self._margins.extend((start - taken.scores[: len(taken.rows) - taken.filled]).tolist())

    def cross_check(self, taken: Taken, blocks: Sequence[FoundBlock], number: int, *, judged_by_first: bool) -> None:
        """Ask the retrievers whose scores were not the ones that counted."""
        others = blocks[1:] if judged_by_first else blocks
        above = [
            block.scores(number, taken.rows) >= block.scores(number, taken.positive_rows).min(initial=np.inf)
            for block in others
        ]
        votes = np.zeros(len(taken.rows), dtype=np.int64) + sum(above)
        self._sample[taken.query] = _Sampled(taken, votes, len(others), self._holds_answer(taken))

    def verified(self, taken: Taken) -> None:
        """Count what the verifying model said."""
        self._verdicts.update(verdict or "negative" for verdict in taken.verdicts)

    def finish(self, *, verified: bool) -> Audit:
        """The whole audit."""
        return Audit(
            queries=self._queries,
            left_out=self._left_out,
            asked=self._queries * self._recipe.negatives,
            found=sum(self._cut.values()) + self._left,
            cut={reason: self._cut[reason] for reason in REASONS if self._cut[reason]},
            left=self._left,
            chosen=self._chosen,
            filled=self._filled,
            short=self._short,
            without=self._without,
            by_source=dict(self._sources.most_common()),
            margins=_histogram(np.asarray(self._margins)),
            verdicts=dict(self._verdicts.most_common()),
            suspicions=tuple(self._suspicions(verified=verified)),
            examples=tuple(self._examples()),
        )

    def _start(self, taken: Taken) -> float:
        scores = taken.positive_scores
        return float(scores.min() if self._recipe.margin_from == "lowest" else scores.max())

    def _holds_answer(self, taken: Taken) -> NDArray[np.bool_] | None:
        answer = text_key(str(self._dataset.queries[taken.query].metadata.get("answer") or "")).strip(" .。")
        if len(answer) < SHORTEST_ANSWER:
            return None
        texts = (self._pool.passages[row].content for row in taken.rows)
        return np.array([answer in text_key(text) for text in texts], dtype=bool)

    def _suspicions(self, *, verified: bool) -> list[Suspicion]:
        sampled = list(self._sample.values())
        count = sum(len(one.taken.rows) for one in sampled)
        checked = [one for one in sampled if one.voters]
        every = sum(int((one.votes == one.voters).sum()) for one in checked)
        answered = [one.answer for one in sampled if one.answer is not None]
        said = sum(self._verdicts.values())
        doubted = self._verdicts["relevant"] + self._verdicts["doubtful"]
        return [
            Suspicion(
                "another retriever",
                "every retriever whose scores did not decide puts the negative at or above the lowest positive; an "
                "upper estimate where that retriever is weak, blind to what all retrievers overlook",
                count,
                every if checked else None,
            ),
            Suspicion(
                "the answer",
                "the negative holds the query's answer (metadata) word for word; blind to answers in other words",
                sum(len(answer) for answer in answered),
                sum(int(answer.sum()) for answer in answered) if answered else None,
            ),
            Suspicion(
                "the verifier",
                "the verifying model calls the chosen negative relevant or doubtful (all queries, not a sample)",
                said,
                doubted if verified else None,
            ),
        ]

    def _examples(self) -> list[dict[str, Any]]:
        """The sampled queries, the most doubtful first: by signs against their negatives, then by the least margin."""
        ordered = sorted(self._sample.values(), key=lambda one: (-one.signs, one.least_margin, one.taken.query))
        return [self._example(one) for one in ordered]

    def _example(self, one: _Sampled) -> dict[str, Any]:
        taken, pool = one.taken, self._pool
        positives = zip(taken.positive_rows.tolist(), taken.positive_scores.tolist(), strict=True)
        return {
            "query_id": taken.query,
            "query": self._dataset.queries[taken.query].text,
            "positives": [
                {"id": pool.ids[r], "score": _told(s), "text": pool.passages[r].content} for r, s in positives
            ],
            "negatives": [
                {
                    "id": pool.ids[row],
                    "score": _told(float(taken.scores[p])),
                    "rank": int(taken.ranks[p]) or None,
                    "source": taken.sources[p],
                    "signs": one.signs_of(p),
                    "text": pool.passages[row].content,
                }
                for p, row in enumerate(taken.rows.tolist())
            ],
        }


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Sampled:
    taken: Taken
    votes: NDArray[np.int64]
    voters: int
    answer: NDArray[np.bool_] | None

    def signs_of(self, place: int) -> list[str]:
        """What speaks for a negative being relevant."""
        signs = []
        if self.voters and self.votes[place] == self.voters:
            signs.append("other retrievers put it above the positive")
        if self.answer is not None and self.answer[place]:
            signs.append("holds the answer")
        if self.taken.verdicts and self.taken.verdicts[place]:
            signs.append(f"verifier: {self.taken.verdicts[place]}")
        return signs

    @property
    def signs(self) -> int:
        return sum(len(self.signs_of(place)) for place in range(len(self.taken.rows)))

    @property
    def least_margin(self) -> float:
        scored = self.taken.scores[~np.isnan(self.taken.scores)]
        if not len(scored):
            return float("inf")
        return float(self.taken.positive_scores.min() - scored.max())


def _told(score: float) -> float | None:
    return None if np.isnan(score) else score


def _histogram(values: NDArray[np.float64]) -> Histogram | None:
    if not len(values):
        return None
    counts, edges = np.histogram(values, bins=BINS)
    return Histogram([round(float(edge), 6) for edge in edges], counts.tolist())


def summary_lines(audit: Mapping[str, Any]) -> list[str]:
    """The audit in a few lines for the screen, from ``Audit.as_dict``."""
    cut = ", ".join(f"{reason} {count:,}" for reason, count in audit["cut"].items()) or "none"
    lines = [
        f"{audit['queries']:,} queries, {audit['found']:,} candidates found, {audit['left']:,} left after the rules",
        f"cut: {cut}",
        f"taken: {audit['chosen']:,} of {audit['asked']:,} asked for, {audit['filled']:,} more drawn at random; "
        f"{audit['short']:,} queries have fewer than asked, {audit['without']:,} have none",
    ]
    if audit["left_out"]:
        lines.append(f"{audit['left_out']:,} queries without a text or a positive were left out")
    for one in audit["suspicions"]:
        if one["share"] is not None:
            told = f"{one['share']:.1%} of {one['looked_at']:,} negatives"
            lines.append(f"suspected false negatives by {one['name']}: {told}")
    return lines

"""Which rows meet in which step, as a pure function of the seed: every process knows every process's batch.

A batch is planned for the whole world at once. Each distinct text is then encoded by one process, so a passage that
two processes brought is one column and is encoded once, and two processes of B rows are one process of 2 B.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np

from ragtune.recipe import DataRecipe
from ragtune.scoring.targets import OwnCandidate, TargetRow
from ragtune.training.examples import TrainingRow, TrainingSet
from ragtune.training.mining import Miner

# A positive shorter than this many characters is not cut for augmentation
SHUFFLE_MIN_CHARS = 100


@final
@dataclass(frozen=True, slots=True)
class Batch:
    """One step's rows over all processes, with each distinct candidate once.

    ``row_numbers`` are places in the training set, ``candidates`` pool ids in column order. ``changed`` holds the
    text of augmented passages by pool id. ``rank_Q`` is the process that brought each query, ``brought`` the
    processes that brought each candidate.
    """

    row_numbers: list[int]
    rows: list[TargetRow]
    candidates: list[str]
    rank_Q: list[int]
    brought: list[set[int]]
    changed: dict[str, str] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True)
class BatchPlan:
    """Draws every batch of a run. ``batch_size`` is the number of queries over all processes."""

    training_set: TrainingSet
    recipe: DataRecipe
    batch_size: int
    world_size: int
    drop_last: bool
    seed: int
    miner: Miner | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch (the same in each)."""
        return len(self.epoch(0))

    def epoch(self, epoch: int) -> list[list[int]]:
        """Row numbers of each batch of an epoch."""
        rng = np.random.default_rng([self.seed, epoch, 0])
        drawn = [
            _repeated(group, weight, rng)
            for group, weight in zip(self.training_set.groups, self.training_set.weights, strict=True)
        ]
        if self.recipe.batch_from == "mixed":
            together = np.concatenate(drawn)
            return self._cut(together[rng.permutation(len(together))])
        batches = [batch for numbers in drawn for batch in self._cut(numbers)]
        return [batches[i] for i in rng.permutation(len(batches))]

    def _cut(self, numbers: Sequence[int] | np.ndarray) -> list[list[int]]:
        cut = [[int(n) for n in numbers[i : i + self.batch_size]] for i in range(0, len(numbers), self.batch_size)]
        if len(cut) > 1 and self.drop_last and len(cut[-1]) < self.batch_size:
            cut.pop()
        return cut

    def batch(self, row_numbers: list[int], *, epoch: int) -> Batch:
        """The batch of these rows: positives, negatives and augmentation drawn by (seed, epoch, row)."""
        per_rank = math.ceil(len(row_numbers) / self.world_size)
        rows: list[TargetRow] = []
        ranks: list[int] = []
        column: dict[str, set[int]] = {}
        changed: dict[str, str] = {}
        for place, number in enumerate(row_numbers):
            row = self.training_set.rows[number]
            rng = np.random.default_rng([self.seed, epoch, 1, number])
            chosen = self._group(row, rng) + self._mined(number, rng)
            rank = place // per_rank
            for own in chosen:
                column.setdefault(own.passage_id, set()).add(rank)
            changed |= self._shuffled(chosen, rng)
            rows.append(_target_row(row, chosen))
            ranks.append(rank)
        return Batch(
            row_numbers=row_numbers,
            rows=rows,
            candidates=list(column),
            rank_Q=ranks,
            brought=list(column.values()),
            changed=changed,
        )

    def _group(self, row: TrainingRow, rng: np.random.Generator) -> list[OwnCandidate]:
        wanted = self.recipe.positives_per_query
        count = len(row.positives) if wanted == "all" else min(wanted, len(row.positives))
        positives = _drawn(row.positives, count, rng)
        return positives + _drawn(row.negatives, max(0, self.recipe.group_size - len(positives)), rng)

    def _mined(self, number: int, rng: np.random.Generator) -> list[OwnCandidate]:
        return [] if self.miner is None else self.miner.negatives(number, rng)

    def _shuffled(self, chosen: Sequence[OwnCandidate], rng: np.random.Generator) -> dict[str, str]:
        """Positives that are cut in three pieces and put together in another order."""
        changed = {}
        for own in chosen:
            text = self.training_set.passages[int(own.passage_id)]
            if (own.relevance or 0) > 0 and len(text) > SHUFFLE_MIN_CHARS and rng.random() < self.recipe.shuffle_ratio:
                first, second = sorted(rng.integers(1, len(text), size=2))
                pieces = [text[:first], text[first:second], text[second:]]
                changed[own.passage_id] = " ".join(pieces[i] for i in rng.permutation(3))
        return changed


def _repeated(group: Sequence[int], weight: float, rng: np.random.Generator) -> np.ndarray:
    """Each row floor(weight) times, and a drawn share of the rows once more, in drawn order."""
    whole, share = divmod(weight, 1.0)
    order = rng.permutation(np.asarray(group))
    extra = rng.permutation(np.asarray(group))[: round(share * len(group))]
    return np.concatenate([*(rng.permutation(order) for _ in range(int(whole))), extra])


def _drawn(items: Sequence[OwnCandidate], count: int, rng: np.random.Generator) -> list[OwnCandidate]:
    """``count`` of the items without repetition, all of them when there are fewer."""
    if count >= len(items):
        return list(items)
    return [items[i] for i in rng.choice(len(items), size=count, replace=False)]


def _target_row(row: TrainingRow, chosen: Sequence[OwnCandidate]) -> TargetRow:
    return TargetRow(
        query_id=row.query_id,
        own=chosen,
        relevant=row.relevant,
        label=row.label,
        text_id=row.text_id,
        doubtful=row.doubtful,
        in_batch_negatives=row.in_batch_negatives,
    )

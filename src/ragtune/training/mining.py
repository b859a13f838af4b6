"""Hard negatives found by the model that is being trained.

At the beginning of an epoch the training queries search the training passages with the weights as they are. What
ranks high without being known to be relevant becomes a negative, unless it scores so close to the positive that it may
be relevant itself (positive-aware mining; Moreira et al. 2024, arXiv:2407.15831). What was found is written down, so
that a run which is resumed within the epoch goes on with the same negatives.

Letters: R rows, P passages, K ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np

from ragtune.models.base import BiEncoder, Encoded
from ragtune.recipe import MiningRecipe
from ragtune.retrieval.encoded import scores_of, take, top_k_of
from ragtune.run import atomic_write
from ragtune.scoring.targets import OwnCandidate
from ragtune.training.examples import Texts, TrainingRow, TrainingSet

NONE = -1


@final
class Miner:
    """Mines for the epochs of one run; ``folder`` keeps what was found."""

    def __init__(self, recipe: MiningRecipe, *, training_set: TrainingSet, texts: Texts, folder: Path) -> None:
        self.recipe = recipe
        self.training_set = training_set
        self.texts = texts
        self.folder = folder
        self._found: tuple[int, np.ndarray] | None = None

    def mined_in(self, epoch: int) -> int | None:
        """The epoch whose weights found the negatives of ``epoch``; None before the first mining."""
        if epoch < self.recipe.first_epoch:
            return None
        return epoch - (epoch - self.recipe.first_epoch) % self.recipe.every_epochs

    def is_ready(self, epoch: int) -> bool:
        """Whether the negatives of ``epoch`` are at hand, or none are wanted yet."""
        when = self.mined_in(epoch)
        return when is None or (self._found is not None and self._found[0] == when)

    def refresh(self, model: BiEncoder, *, epoch: int, writes: bool) -> None:
        """Make the negatives of ``epoch`` ready: those written down, else those that ``model`` finds now."""
        when = self.mined_in(epoch)
        if when is None or self.is_ready(epoch):
            return
        path = self.folder / f"epoch-{when}.npy"
        if path.is_file():
            self._found = when, np.load(path)
            return
        found_RK = self._search(model)
        if writes:
            with atomic_write(path, binary=True) as file:
                np.save(file, found_RK)
        self._found = when, found_RK

    def negatives(self, number: int, rng: np.random.Generator) -> list[OwnCandidate]:
        """Mined negatives of a row, drawn anew each epoch."""
        if self._found is None:
            return []
        found = self._found[1][number]
        found = found[found != NONE]
        chosen = rng.choice(found, size=min(self.recipe.negatives, len(found)), replace=False)
        return [OwnCandidate(str(place), relevance=0.0) for place in chosen]

    def _search(self, model: BiEncoder) -> np.ndarray:
        """``found_RK``: pool places by rank, NONE where a rank holds nothing that may be a negative."""
        rows = self.training_set.rows
        queries = [self.texts.queries[i] for i in range(len(rows))]
        query_R = model.encode_tokens(queries, kind="query", label="mining: queries")
        passage_P = self._passages(model)
        ids = [str(place) for place in range(len(self.training_set.passages))]
        top = top_k_of(query_R, passage_P, k=self.recipe.depth, ids=ids)
        found_RK = np.full(top.index_Qk.shape, NONE, dtype=np.int64)
        for number, row in enumerate(rows):
            ceiling = self._ceiling(row, take(query_R, [number]), passage_P)
            kept = _may_be_negative(row, top.index_Qk[number], top.score_Qk[number], ceiling)
            found_RK[number, : len(kept)] = kept
        return found_RK

    def _passages(self, model: BiEncoder) -> Encoded:
        if self.texts.frozen_PD is not None:
            return self.texts.frozen_PD.numpy()
        passages = [self.texts.passages[i] for i in range(len(self.training_set.passages))]
        return model.encode_tokens(passages, kind="passage", label="mining: passages")

    def _ceiling(self, row: TrainingRow, query: Encoded, passage_P: Encoded) -> float:
        """The highest score that a negative of this row may have."""
        if not row.positives:
            return float("inf")
        best = float(scores_of(query, take(passage_P, [int(own.passage_id) for own in row.positives])).max())
        return best - abs(best) * self.recipe.margin


def _may_be_negative(
    row: TrainingRow, places: Sequence[int] | np.ndarray, scores: Sequence[float] | np.ndarray, ceiling: float
) -> list[int]:
    known = {own.passage_id for own in (*row.positives, *row.negatives)} | {*row.relevant, *row.doubtful, row.text_id}
    return [
        int(place) for place, score in zip(places, scores, strict=True) if score <= ceiling and str(place) not in known
    ]

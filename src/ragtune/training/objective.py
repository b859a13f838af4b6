"""From scores to the loss of every query: score blocks, prefixes, masks and the weighted sum of losses.

Letters: Q queries, C candidates, D dimensions, N rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from torch import Tensor

from ragtune.errors import Problem, RecipeError
from ragtune.models.base import BiEncoder, Representation, Scorer
from ragtune.recipe import LossRecipe, TrainRecipe
from ragtune.scoring.directions import Direction, direction_problems, directional_loss, score_blocks
from ragtune.scoring.losses import LOSSES, validate_loss_options
from ragtune.scoring.matryoshka import matryoshka_prefixes
from ragtune.scoring.targets import MarginMode, Targets, mask_false_negatives
from ragtune.training.encoding import Scored

PLAIN_DIRECTIONS: tuple[Direction, ...] = ("query_passage",)
DIRECTIONAL_LOSS = "softmax"


@final
@dataclass(frozen=True, slots=True)
class ObjectiveValue:
    """``loss_Q`` of every query, the same for each named part, and the full-length ``score_QC`` with its targets."""

    loss_Q: Tensor
    parts: dict[str, Tensor]
    score_QC: Tensor
    targets: Targets


@final
class Objective:
    """The recipe's losses on a step's scores."""

    def __init__(self, model: Scorer, *, recipe: TrainRecipe) -> None:
        self.model = model
        self.recipe = recipe
        matryoshka = recipe.matryoshka
        dims = [*matryoshka.dims, model.dims] if matryoshka else [model.dims]
        weights = (matryoshka.weights if matryoshka else None) or [1.0] * len(dims)
        self.prefixes: Sequence[tuple[int, float]] = list(zip(dims, weights, strict=True))

    def __call__(self, scored: Scored, targets: Targets, *, progress: float = 1.0) -> ObjectiveValue:
        """The loss of every query, divided by nothing; ``progress`` says how far the run is, 0 to 1."""
        false_negatives = self.recipe.false_negatives
        if false_negatives is not None:
            mode: MarginMode = "relative" if false_negatives.relative else "absolute"
            targets = mask_false_negatives(scored.score_QC, targets, margin=false_negatives.margin, mode=mode)
        parts: dict[str, Tensor] = {}
        total_weight = sum(weight for _, weight in self.prefixes)
        loss_Q = torch.zeros(len(scored.score_QC), device=scored.score_QC.device)
        for dims, weight in self.prefixes:
            cut = scored if dims == self.model.dims else self._prefix(scored, dims)
            for loss in self.recipe.losses:
                value_Q = self._loss(loss, cut, targets)
                parts[f"{loss.name}@{dims}" if len(self.prefixes) > 1 else loss.name] = value_Q
                loss_Q = loss_Q + loss.weight * weight / total_weight * value_Q
        if isinstance(self.model, BiEncoder) and scored.sides is not None:
            for name, value in self.model.penalties(*scored.sides, progress=progress).items():
                parts[name] = value.expand(len(loss_Q))
                loss_Q = loss_Q + value
        return ObjectiveValue(loss_Q=loss_Q, parts=parts, score_QC=scored.score_QC, targets=targets)

    def _prefix(self, scored: Scored, dims: int) -> Scored:
        """The scores of shortened, renormalised rows."""
        assert isinstance(self.model, BiEncoder) and scored.sides is not None
        query, passage = (
            Representation(matryoshka_prefixes(side.rows_ND, [dims])[0], side.lengths_B) for side in scored.sides
        )
        return Scored(self.model.score(query, passage), sides=(query, passage))

    def _loss(self, loss: LossRecipe, scored: Scored, targets: Targets) -> Tensor:
        function = partial(LOSSES[loss.name].function, **loss.options)
        directions = self.recipe.directions
        if directions == PLAIN_DIRECTIONS or loss.name != DIRECTIONAL_LOSS:
            return function(scored.score_QC, targets)
        assert isinstance(self.model, BiEncoder) and scored.sides is not None
        blocks = score_blocks(*scored.sides, targets, directions=directions, similarity=self.model.score)
        return directional_loss(function, blocks, targets, directions=directions, partition=self.recipe.partition)


def check_objective(recipe: TrainRecipe) -> None:
    """Raise ``RecipeError`` with every wrong loss name and option of a recipe."""
    problems: list[Problem] = []
    for index, loss in enumerate(recipe.losses):
        problems += validate_loss_options(loss.name, loss.options, where=f"train.losses.{index} ({loss.name})")
    problems += direction_problems(recipe.directions, recipe.partition, where="train.directions")
    if recipe.directions != PLAIN_DIRECTIONS and all(loss.name != DIRECTIONAL_LOSS for loss in recipe.losses):
        problems.append(
            Problem(
                what=f"train.directions is read by the loss {DIRECTIONAL_LOSS!r} alone",
                where="train.directions",
                found=", ".join(recipe.directions),
                do=f"leave train.directions out, or add the loss {DIRECTIONAL_LOSS!r}",
            )
        )
    known = [LOSSES[loss.name] for loss in recipe.losses if loss.name in LOSSES]
    reads_teacher = any(spec.needs_teacher for spec in known)
    if recipe.distillation and not reads_teacher and not problems:
        problems.append(
            Problem(
                what="train.distillation is set, but no loss reads teacher scores",
                where="train.losses",
                found=", ".join(loss.name for loss in recipe.losses),
                do="add one of " + ", ".join(n for n, spec in LOSSES.items() if spec.needs_teacher),
            )
        )
    if reads_teacher and not recipe.distillation:
        problems.append(
            Problem(
                what="a loss reads teacher scores, but train.distillation is not set",
                where="train.distillation",
                found="false",
                do="set train.distillation=true, so that missing teacher scores are an error",
            )
        )
    if problems:
        raise RecipeError(problems)

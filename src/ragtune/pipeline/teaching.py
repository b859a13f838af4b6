"""Whether the losses of a recipe have anything to learn from the data: found by trying, before training begins.

Each loss is run on the rows of a few batches with made-up scores. A query whose scores get no gradient teaches
nothing; a loss whose gradient never pushes a score down pulls all texts to one point.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch

from ragtune.data.records import Dataset
from ragtune.errors import DataError, Problem
from ragtune.models import FAMILIES
from ragtune.recipe import LossRecipe, Recipe
from ragtune.scoring.losses import LOSSES
from ragtune.scoring.targets import Targets, fill_targets
from ragtune.training.batches import BatchPlan
from ragtune.training.encoding import own_cells
from ragtune.training.examples import Source, TrainingSet, build_training_set

# Queries in a batch that is tried, and how many batches at most
TRIED_QUERIES = 256
TRIED_BATCHES = 8
# A loss that this share of the tried queries teaches nothing is worth a note
WORTH_A_NOTE = 0.1


def check_training_data(recipe: Recipe, datasets: Sequence[Dataset]) -> list[str]:
    """Notes on how recipe and data fit. Raises ``DataError`` where a loss would learn nothing at all."""
    sources = [Source(recipe=r, dataset=d) for r, d in zip(recipe.data.sources, datasets, strict=True)]
    found = build_training_set(sources, recipe=recipe.data, seed=recipe.seed, distillation=recipe.train.distillation)
    return [*_split_notes(recipe, datasets[0]), *_group_notes(recipe, found), *_loss_notes(recipe, found)]


def _split_notes(recipe: Recipe, first: Dataset) -> list[str]:
    seen = ["evaluate.split=train measures what training saw"] if recipe.evaluate.split == "train" else []
    if first.split("dev"):
        return seen
    if recipe.train.patience is not None or recipe.train.evaluate_every_steps is not None:
        raise DataError(
            Problem(
                what="train.patience and train.evaluate_every_steps need a dev split",
                where=recipe.data.sources[0].path,
                found=f"splits: {', '.join(first.qrels) or 'none'}; data.dev_fraction {recipe.data.dev_fraction}",
                do="raise data.dev_fraction, or leave both settings out",
            )
        )
    return [*seen, "no dev split: the last weights are kept, not the best"]


def _group_notes(recipe: Recipe, found: TrainingSet) -> list[str]:
    """Settings about groups that the data cannot fill, and negatives that the settings leave out."""
    data, rows = recipe.data, found.rows
    most = max(len(row.positives) for row in rows)
    wanted = most if data.positives_per_query == "all" else data.positives_per_query
    left_out = sum(bool(row.negatives) and data.group_size <= min(wanted, len(row.positives)) for row in rows)
    notes = []
    if data.group_size > max(1, min(wanted, most)) and not any(row.negatives for row in rows):
        notes.append(f"data.group_size={data.group_size}, but no query has negatives of its own: in-batch ones only")
    if left_out:
        notes.append(
            f"{left_out:,} of {len(rows):,} queries have negatives of their own, which data.group_size="
            f"{data.group_size} leaves out; set it to {min(wanted, most) + 1} or more to use them"
        )
    if wanted > most:
        notes.append(f"data.positives_per_query={wanted}, but no query has more than {most}")
    return notes


@final
@dataclass(slots=True)
class _Tried:
    """What the tried batches gave a loss."""

    queries: int = 0
    taught: int = 0
    pushed_down: bool = False


def _loss_notes(recipe: Recipe, found: TrainingSet) -> list[str]:
    problems, notes = [], []
    batches = list(_targets(recipe, found))
    for index, loss in enumerate(recipe.train.losses):
        tried = _try(loss, batches)
        if not tried.taught:
            problems.append(
                Problem(
                    what=f"the loss {loss.name} can learn nothing from this data",
                    where=f"train.losses.{index}",
                    found=f"no gradient for any of {tried.queries} queries ({_known(recipe, found)})",
                    do="choose another loss, other options of it (scope=batch reads in-batch negatives), a larger "
                    "train.batch_size, or data with negatives, grades or scores",
                )
            )
        elif 1 - tried.taught / tried.queries > WORTH_A_NOTE:
            share = 1 - tried.taught / tried.queries
            notes.append(f"the loss {loss.name} learns nothing from {share:.0%} of the queries")
        if tried.taught and not tried.pushed_down:
            notes.append(
                f"the loss {loss.name} sees nothing but positives and would pull all texts together; give it "
                "negatives, or choose one that reads in-batch negatives (softmax)"
            )
    if problems:
        raise DataError(problems)
    return notes


def _known(recipe: Recipe, found: TrainingSet) -> str:
    negatives = sum(bool(row.negatives) for row in found.rows)
    grades = sorted({float(c.relevance or 0) for row in found.rows for c in (*row.positives, *row.negatives)})
    shown = ", ".join(f"{grade:g}" for grade in grades[:5]) + (" ..." if grades[5:] else "")
    return (
        f"{negatives:,} of {len(found.rows):,} queries have negatives of their own, grades: {shown}, "
        f"data.group_size {recipe.data.group_size}"
    )


def _targets(recipe: Recipe, found: TrainingSet) -> Iterator[Targets]:
    plan = BatchPlan(
        training_set=found,
        recipe=recipe.data,
        batch_size=min(recipe.train.batch_size, TRIED_QUERIES),
        world_size=1,
        drop_last=False,
        seed=recipe.seed,
    )
    for numbers in itertools.islice(plan.epoch(0), TRIED_BATCHES):
        batch = plan.batch(numbers, epoch=0)
        targets = fill_targets(batch.rows, batch.candidates)
        # a model that reads pairs sees a query's own candidates alone
        yield replace(targets, valid_QC=own_cells(targets)) if FAMILIES[recipe.model.family].pairs else targets


def _try(loss: LossRecipe, batches: Sequence[Targets]) -> _Tried:
    """Each batch under random scores and under their opposites: a margin that one satisfies the other breaks."""
    function, tried = LOSSES[loss.name].function, _Tried()
    generator = torch.Generator().manual_seed(0)
    for targets in batches:
        random_QC = torch.rand(targets.relevance_QC.shape, generator=generator) * 2 - 1
        taught_Q = torch.zeros(len(random_QC), dtype=torch.bool)
        for sign in (1, -1):
            score_QC = (sign * random_QC).requires_grad_()
            loss_sum = function(score_QC, targets, **loss.options).sum()
            if loss_sum.requires_grad:
                loss_sum.backward()
            gradient_QC = score_QC.grad if score_QC.grad is not None else torch.zeros_like(score_QC)
            taught_Q |= (gradient_QC != 0).any(dim=1)
            tried.pushed_down |= bool((gradient_QC > 0).any())
        tried.queries += len(taught_Q)
        tried.taught += int(taught_Q.sum())
    return tried

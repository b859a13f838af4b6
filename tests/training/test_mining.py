"""Mined negatives: the best ranked that may be negatives, found by the weights of the moment, the same when resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ragtune.data.records import Dataset
from ragtune.models.dense import DenseModel
from ragtune.recipe import MiningRecipe
from ragtune.training.batches import BatchPlan
from ragtune.training.examples import Texts, TrainingSet
from ragtune.training.mining import NONE, Miner

Build = Callable[..., TrainingSet]
Load = Callable[..., DenseModel]
Data = Callable[..., Dataset]
Given = Callable[[TrainingSet], tuple[DenseModel, Texts]]


@pytest.fixture
def texts(load: Load, texts_of: Callable[..., Texts]) -> Given:
    def made(rows: TrainingSet) -> tuple[DenseModel, Texts]:
        model = load()
        return model, texts_of(model, rows)

    return made


def mined(miner: Miner, number: int) -> list[int]:
    """Every mined negative of a row."""
    found = [int(own.passage_id) for own in miner.negatives(number, np.random.default_rng(0))]
    return sorted(found)


def test_negatives_are_the_best_ranked_that_may_be_negatives(
    tiny_dataset: Data, training_set: Build, texts: Given, tmp_path: Path
) -> None:
    rows = training_set(tiny_dataset())
    model, tokens = texts(rows)
    recipe = MiningRecipe(negatives=100, depth=5, first_epoch=0, margin=0.0)
    miner = Miner(recipe, training_set=rows, texts=tokens, folder=tmp_path)
    miner.refresh(model, epoch=0, writes=True)
    with torch.inference_mode():
        query_RD = model.encode([row.text for row in rows.rows], kind="query")
        passage_PD = model.encode(rows.passages, kind="passage")
    for number, row in enumerate(rows.rows):
        score_P = passage_PD @ query_RD[number]
        known = {int(own.passage_id) for own in (*row.positives, *row.negatives)}
        ceiling = max(score_P[int(own.passage_id)] for own in row.positives)
        wanted = [p for p in np.argsort(-score_P)[:5] if p not in known and score_P[p] <= ceiling]
        assert mined(miner, number) == sorted(int(p) for p in wanted)


def test_a_margin_leaves_close_passages_alone(
    tiny_dataset: Data, training_set: Build, texts: Given, tmp_path: Path
) -> None:
    rows = training_set(tiny_dataset())
    model, tokens = texts(rows)
    counts = []
    for margin in (0.0, 1.0):
        recipe = MiningRecipe(negatives=100, depth=10, first_epoch=0, margin=margin)
        miner = Miner(recipe, training_set=rows, texts=tokens, folder=tmp_path / str(margin))
        miner.refresh(model, epoch=0, writes=False)
        counts.append(sum(len(mined(miner, number)) for number in range(len(rows.rows))))
    assert counts[1] < counts[0]


def test_what_was_found_is_written_and_read_again(
    tiny_dataset: Data, training_set: Build, texts: Given, tmp_path: Path
) -> None:
    rows = training_set(tiny_dataset())
    model, tokens = texts(rows)
    recipe = MiningRecipe(negatives=2, depth=6, first_epoch=1, every_epochs=2, margin=0.0)
    first = Miner(recipe, training_set=rows, texts=tokens, folder=tmp_path)
    assert first.is_ready(0) and not first.is_ready(1)
    first.refresh(model, epoch=1, writes=True)
    assert first.is_ready(2) and not first.is_ready(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    again = Miner(recipe, training_set=rows, texts=tokens, folder=tmp_path)
    again.refresh(model, epoch=2, writes=True)
    assert [mined(again, n) for n in range(len(rows.rows))] == [mined(first, n) for n in range(len(rows.rows))]
    assert (np.load(tmp_path / "epoch-1.npy") != NONE).any()


def test_batches_bring_mined_negatives_once_they_are_mined(
    tiny_dataset: Data,
    training_set: Build,
    plan_of: Callable[..., BatchPlan],
    texts: Given,
    tmp_path: Path,
) -> None:
    rows = training_set(tiny_dataset())
    model, tokens = texts(rows)
    recipe = MiningRecipe(negatives=2, depth=8, first_epoch=0, margin=0.0)
    miner = Miner(recipe, training_set=rows, texts=tokens, folder=tmp_path)
    plan = replace(plan_of(rows, batch_size=4), miner=miner)
    before = plan.batch([0, 1], epoch=0)
    miner.refresh(model, epoch=0, writes=False)
    after = plan.batch([0, 1], epoch=0)
    assert set(before.candidates) < set(after.candidates)
    for number, (old, new) in enumerate(zip(before.rows, after.rows, strict=True)):
        added = {own.passage_id for own in new.own} - {own.passage_id for own in old.own}
        found = miner.negatives(number, np.random.default_rng(0))
        assert len(added) == len(found) <= 2
        assert all(own.relevance == 0 for own in new.own if own.passage_id in added)

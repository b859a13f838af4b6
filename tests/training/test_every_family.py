"""Late interaction and sparse encoders on the one engine: every loss, cached as plain, whatever company or order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ragtune.data.records import Dataset
from ragtune.models import load_model
from ragtune.models.adapting import prepare_for_training
from ragtune.models.base import BiEncoder, Representation, TokenBatch
from ragtune.models.transformer import TransformerEncoder
from ragtune.recipe import ModelRecipe
from ragtune.scoring.losses import LOSSES
from ragtune.scoring.targets import fill_targets
from ragtune.training.batches import Batch, BatchPlan
from ragtune.training.examples import Texts, TrainingSet
from ragtune.training.step import StepResult

RunStep = Callable[..., tuple[StepResult, dict[str, Tensor]]]
FAMILIES: dict[str, dict[str, Any]] = {
    "late, expansion seen": {"family": "late", "late": {"dims": 16}},
    "late, expansion unseen": {"family": "late", "late": {"dims": 16, "attend_to_expansion": False}},
    "sparse": {"family": "sparse"},
}
ONE = ("softmax", "margin_mse")
"""Losses where trying all would say nothing more."""


@pytest.fixture
def family_model(tiny_model: Path, tiny_mlm: Path) -> Callable[..., TransformerEncoder]:
    """``family_model("sparse", padded=True)``: in float64, ready to train."""

    def made(family: str, *, padded: bool = False, **settings: Any) -> TransformerEncoder:
        name = tiny_mlm if family == "sparse" else tiny_model
        recipe = ModelRecipe.model_validate({"name": str(name), **FAMILIES[family], **settings})
        model = load_model(recipe)
        assert isinstance(model, TransformerEncoder) and model.packed
        if padded:
            model.backbone.set_attn_implementation("eager")
            model.packed = False
        return prepare_for_training(model.double(), recipe)

    return made


@pytest.fixture
def rows(tiny_dataset: Callable[..., Dataset], training_set: Callable[..., TrainingSet]) -> TrainingSet:
    return training_set(tiny_dataset(with_candidates=True))


@pytest.fixture
def batch(rows: TrainingSet, plan_of: Callable[..., BatchPlan]) -> Batch:
    plan = plan_of(rows, group_size=3)
    return plan.batch(plan.epoch(0)[0], epoch=0)


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    largest = max(float(g.abs().max()) for g in wanted.values())
    assert largest > 0
    for name, gradient in found.items():
        torch.testing.assert_close(gradient / largest, wanted[name] / largest, rtol=1e-6, atol=1e-9, msg=name)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("family", FAMILIES)
def test_caching_changes_no_gradient(
    family: str, loss: str, family_model: Callable[..., Any], rows: TrainingSet, batch: Batch, run_step: RunStep
) -> None:
    model = family_model(family, dropout=0.2)
    settings = {"losses": loss, "micro_batch_tokens": 128}
    plain, wanted = run_step(model, rows, batch, graph_tokens=10**6, **settings)
    for graph_tokens in (0, 300):
        cached, found = run_step(model, rows, batch, graph_tokens=graph_tokens, **settings)
        assert cached.recomputed_tokens > 0 == plain.recomputed_tokens
        assert_same(found, wanted)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_is_that_of_every_text_in_one_graph(
    family: str, family_model: Callable[..., Any], rows: TrainingSet, batch: Batch, run_step: RunStep,
    texts_of: Callable[..., Texts],
) -> None:  # fmt: skip
    """Each text read alone, without packing; MaxSim and dot written out."""
    _, found = run_step(family_model(family), rows, batch, losses="softmax", micro_batch_tokens=128)
    model = family_model(family, padded=True)
    texts = texts_of(model, rows)
    queries = [one_text(model, texts.queries[n], "query") for n in batch.row_numbers]
    passages = [one_text(model, texts.passages[int(c)], "passage") for c in batch.candidates]
    score_QC = torch.stack([torch.stack([written_out(model, q, p) for p in passages]) for q in queries])
    loss = LOSSES["softmax"].function(score_QC, fill_targets(batch.rows, batch.candidates)).mean()
    sides = (Representation(torch.cat(s), torch.tensor([len(r) for r in s])) for s in (queries, passages))
    (loss + sum(model.penalties(*sides, progress=1.0).values())).backward()
    assert_same(found, {name: p.grad for name, p in model.named_parameters() if p.grad is not None})


def one_text(model: BiEncoder, ids: Any, kind: Any) -> Tensor:
    rows: Tensor = model(TokenBatch.of([ids], device=torch.device("cpu"), kinds=[kind]))
    return rows


def written_out(model: BiEncoder, query: Tensor, passage: Tensor) -> Tensor:
    return (query @ passage.T).max(dim=1).values.sum()


@pytest.mark.parametrize("loss", ONE)
@pytest.mark.parametrize("family", FAMILIES)
def test_order_of_rows_and_columns_means_nothing(
    family: str, loss: str, family_model: Callable[..., Any], rows: TrainingSet, batch: Batch, run_step: RunStep
) -> None:
    order = torch.randperm(len(batch.rows), generator=torch.Generator().manual_seed(1)).tolist()
    columns = torch.randperm(len(batch.candidates), generator=torch.Generator().manual_seed(2)).tolist()
    shuffled = replace(
        batch,
        row_numbers=[batch.row_numbers[i] for i in order],
        rows=[batch.rows[i] for i in order],
        candidates=[batch.candidates[i] for i in columns],
    )
    model = family_model(family)
    assert_same(
        run_step(model, rows, shuffled, losses=loss, micro_batch_tokens=128)[1],
        run_step(model, rows, batch, losses=loss, micro_batch_tokens=128)[1],
    )


def test_company_changes_nothing_for_rows_that_see_only_their_own(
    family_model: Callable[..., Any], rows: TrainingSet, batch: Batch, run_step: RunStep,
    plan_of: Callable[..., BatchPlan],
) -> None:  # fmt: skip
    """PyLate's cached loss gave gradients as many times too large as the batch has rows; here they are the mean."""
    model, settings = family_model("late, expansion seen"), {"losses": {"name": "softmax", "scope": "own"}}
    _, together = run_step(model, rows, batch, graph_tokens=0, **settings)
    plan = plan_of(rows, group_size=3)
    alone = [run_step(model, rows, plan.batch([n], epoch=0), **settings)[1] for n in batch.row_numbers]
    assert_same(together, {name: sum(g[name] for g in alone) / len(alone) for name in together})


@pytest.mark.parametrize("family", FAMILIES)
def test_every_weight_that_is_trained_gets_a_gradient(
    family: str, family_model: Callable[..., Any], rows: TrainingSet, batch: Batch, run_step: RunStep
) -> None:
    model = family_model(family)
    _, found = run_step(model, rows, batch)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert found.keys() == trained
    silent = {name for name, gradient in found.items() if not gradient.abs().max() > 0}
    # softmax is the same when every key moves alike
    assert all(name.endswith("key.bias") for name in silent)


def test_the_flops_penalty_rises_with_the_square_of_the_step(family_model: Callable[..., Any]) -> None:
    model = family_model("sparse")
    weights = Representation.one_each(torch.rand(3, model.dims))
    full = model.penalties(weights, weights, progress=0.33)
    assert full.keys() == {"flops_query", "flops_passage"}
    for name, value in model.penalties(weights, weights, progress=0.165).items():
        torch.testing.assert_close(value, full[name] / 4)
    assert not any(model.penalties(weights, weights, progress=0.0).values())

"""One step's gradient: the same however it is cut, cached, ordered or accompanied, and the same as plain autograd."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModel

from ragtune.data.records import Candidate, Dataset
from ragtune.errors import NonFiniteLossError
from ragtune.models.dense import DenseModel
from ragtune.pipeline.tuning import recompute_layers
from ragtune.scoring.losses import LOSSES
from ragtune.scoring.targets import fill_targets
from ragtune.training.batches import Batch, BatchPlan
from ragtune.training.examples import Texts, TrainingSet
from ragtune.training.step import StepResult

RunStep = Callable[..., tuple[StepResult, dict[str, Tensor]]]
CUTS = {"a graph for all": (4096, 10**6), "recomputed": (64, 0), "a graph for some": (64, 128)}
"""Micro-batch budget and graph budget, in tokens; the tiny batch below has some 400."""


@pytest.fixture
def rows(tiny_dataset: Callable[..., Dataset], training_set: Callable[..., TrainingSet]) -> TrainingSet:
    return training_set(tiny_dataset(with_candidates=True))


@pytest.fixture
def batch(rows: TrainingSet, plan_of: Callable[..., BatchPlan]) -> Batch:
    plan = plan_of(rows, group_size=3)
    return plan.batch(plan.epoch(0)[0], epoch=0)


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor], *, atol: float = 2e-6) -> None:
    """Every gradient by name; the tolerance is relative to the largest one, as sums are taken in another order."""
    assert found.keys() == wanted.keys()
    largest = max(float(g.abs().max()) for g in wanted.values())
    assert largest > 0
    for name, gradient in found.items():
        torch.testing.assert_close(gradient / largest, wanted[name] / largest, rtol=1e-4, atol=atol, msg=name)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("loss", LOSSES)
def test_caching_changes_no_gradient(
    loss: str, dropout: float, load: Callable[..., DenseModel], rows: TrainingSet, batch: Batch, run_step: RunStep
) -> None:
    def run(graph_tokens: int) -> dict[str, Tensor]:
        settings: dict[str, Any] = {"losses": loss, "micro_batch_tokens": 64, "graph_tokens": graph_tokens}
        result, found = run_step(load(dropout=dropout), rows, batch, **settings)
        assert (result.recomputed_tokens > 0) == (graph_tokens < result.tokens)
        return found

    plain = run(10**6)
    assert_same(run(0), plain)
    assert_same(run(150), plain)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("cut", CUTS)
def test_gradient_is_that_of_plain_autograd(
    cut: str,
    padded: bool,
    load: Callable[..., DenseModel],
    tiny_model: Path,
    rows: TrainingSet,
    batch: Batch,
    run_step: RunStep,
    texts_of: Callable[..., Texts],
) -> None:
    model = load(padded=padded)
    budget, graph = CUTS[cut]
    result, found = run_step(
        model,
        rows,
        batch,
        losses={"name": "softmax", "temperature": 0.1},
        micro_batch_tokens=budget,
        graph_tokens=graph,
    )
    loss, wanted = second_version(tiny_model, texts_of(model, rows), batch, temperature=0.1)
    assert result.loss_sum / len(batch.rows) == pytest.approx(loss, abs=1e-5)
    assert_same({name.removeprefix("backbone."): gradient for name, gradient in found.items()}, wanted, atol=1e-5)


def second_version(folder: Path, texts: Texts, batch: Batch, *, temperature: float) -> tuple[float, dict[str, Tensor]]:
    """Transformers' own padded model, mean pooling and cross-entropy over one positive a row, all in one graph."""
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    sequences = [torch.tensor(texts.queries[n].tolist()) for n in batch.row_numbers]
    sequences += [torch.tensor(texts.passages[int(c)].tolist()) for c in batch.candidates]
    ids_BT = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True)
    mask_BT = torch.tensor([[t < len(s) for t in range(ids_BT.shape[1])] for s in sequences])
    state_BTH = model(input_ids=ids_BT, attention_mask=mask_BT.long()).last_hidden_state
    mean_BH = (state_BTH * mask_BT[..., None]).sum(1) / mask_BT.sum(1, keepdim=True)
    vector_BD = F.normalize(mean_BH, dim=-1)
    score_QC = vector_BD[: len(batch.rows)] @ vector_BD[len(batch.rows) :].T / temperature
    place_Q = torch.tensor([batch.candidates.index(row.own[0].passage_id) for row in batch.rows])
    loss = F.cross_entropy(score_QC, place_Q)
    loss.backward()
    return float(loss.detach()), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("loss", ["softmax", "cosent", "margin_mse"])
def test_order_of_rows_and_columns_means_nothing(
    loss: str, load: Callable[..., DenseModel], rows: TrainingSet, batch: Batch, run_step: RunStep
) -> None:
    order = torch.randperm(len(batch.rows), generator=torch.Generator().manual_seed(1)).tolist()
    columns = torch.randperm(len(batch.candidates), generator=torch.Generator().manual_seed(2)).tolist()
    shuffled = replace(
        batch,
        row_numbers=[batch.row_numbers[i] for i in order],
        rows=[batch.rows[i] for i in order],
        candidates=[batch.candidates[i] for i in columns],
    )
    model = load()
    _, found = run_step(model, rows, shuffled, losses=loss, micro_batch_tokens=64)
    _, wanted = run_step(model, rows, batch, losses=loss, micro_batch_tokens=64)
    assert_same(found, wanted)


def test_company_changes_nothing_for_rows_that_see_only_their_own(
    load: Callable[..., DenseModel],
    rows: TrainingSet,
    batch: Batch,
    run_step: RunStep,
    plan_of: Callable[..., BatchPlan],
) -> None:
    """With scope ``own`` the batch's gradient is the mean of its rows' gradients, each in a batch alone."""
    model, settings = load(), {"losses": {"name": "softmax", "scope": "own"}}
    _, together = run_step(model, rows, batch, **settings)
    plan = plan_of(rows, group_size=3)
    alone = [run_step(model, rows, plan.batch([n], epoch=0), **settings)[1] for n in batch.row_numbers]
    assert_same(together, {name: sum(g[name] for g in alone) / len(alone) for name in together})


def test_in_batch_negatives_do_change_it(
    load: Callable[..., DenseModel], rows: TrainingSet, batch: Batch, run_step: RunStep
) -> None:
    model = load()
    _, own = run_step(model, rows, batch, losses={"name": "softmax", "scope": "own"})
    _, wide = run_step(model, rows, batch, losses={"name": "softmax", "scope": "batch"})
    assert any(not torch.allclose(own[name], wide[name], atol=1e-3) for name in own)


def test_gradient_checkpointing_changes_no_gradient(
    load: Callable[..., DenseModel], rows: TrainingSet, batch: Batch, run_step: RunStep
) -> None:
    for dtype, dropout in ((torch.float32, 0.0), (torch.float32, 0.3), (torch.bfloat16, 0.0), (torch.bfloat16, 0.3)):
        plain = run_step(load(dropout=dropout), rows, batch, dtype=dtype)[1]
        model = load(dropout=dropout)
        recompute_layers(model)
        for graph_tokens in (10**6, 0):
            settings = {"gradient_checkpointing": True, "graph_tokens": graph_tokens}
            assert_same(run_step(model, rows, batch, dtype=dtype, **settings)[1], plain)


def test_a_passage_of_two_queries_is_one_column_and_encoded_once(
    load: Callable[..., DenseModel], tiny_dataset: Callable[..., Dataset], training_set: Callable[..., TrainingSet],
    plan_of: Callable[..., BatchPlan], run_step: RunStep, texts_of: Callable[..., Texts],
) -> None:  # fmt: skip
    dataset = tiny_dataset("en")
    for query_id in dataset.qrels["train"]:
        dataset.candidates[query_id] = [Candidate(corpus_id="p5", relevance=0.0)]
    rows = training_set(dataset)
    plan = plan_of(rows, group_size=2, batch_size=100)
    batch = plan.batch(plan.epoch(0)[0], epoch=0)
    assert len(batch.candidates) == len(set(batch.candidates)) == len(rows.rows) + 1
    result, _ = run_step(load(), rows, batch)
    texts = texts_of(load(), rows)
    assert result.tokens == texts.queries.tokens + texts.passages.tokens


def test_losses_add_up_by_weight(
    load: Callable[..., DenseModel], rows: TrainingSet, batch: Batch, run_step: RunStep
) -> None:
    model = load()
    parts = {name: run_step(model, rows, batch, losses=name)[1] for name in ("softmax", "kl_divergence")}
    losses = [{"name": "softmax", "weight": 0.5}, {"name": "kl_divergence", "weight": 3.0}]
    result, both = run_step(model, rows, batch, losses=losses)
    wanted = {name: 0.5 * g + 3.0 * parts["kl_divergence"][name] for name, g in parts["softmax"].items()}
    assert_same(both, wanted)
    assert result.loss_sum == pytest.approx(
        0.5 * result.part_sums["softmax"] + 3 * result.part_sums["kl_divergence"], rel=1e-5
    )


def test_a_loss_that_is_not_finite_names_its_queries(
    load: Callable[..., DenseModel], rows: TrainingSet, batch: Batch, run_step: RunStep
) -> None:
    model = load()
    with torch.no_grad():
        model.token_embedding.weight[int(batch_only_token(model, rows, batch))] = float("nan")
    with pytest.raises(NonFiniteLossError, match=batch.rows[0].query_id):
        run_step(model, rows, batch)


def batch_only_token(model: DenseModel, rows: TrainingSet, batch: Batch) -> int:
    """A token of the batch's first query."""
    return int(model.tokenize([rows.rows[batch.row_numbers[0]].text], kind="query")[0][1])


def test_frozen_passages_get_no_gradient_and_are_not_encoded(
    load: Callable[..., DenseModel], rows: TrainingSet, batch: Batch, texts_of: Callable[..., Texts]
) -> None:
    from ragtune.recipe import TrainRecipe
    from ragtune.training.distributed import World
    from ragtune.training.objective import Objective
    from ragtune.training.precision import Compute
    from ragtune.training.step import Step

    model, recipe = load(), TrainRecipe.model_validate({"losses": {"name": "softmax", "temperature": 0.1}})
    vectors = torch.from_numpy(model.encode(rows.passages, kind="passage"))
    texts = replace(texts_of(model, rows), frozen_PD=vectors)
    step = Step(
        Compute(model, dtype=torch.float32), objective=Objective(model, recipe=recipe), texts=texts, recipe=recipe,
        world=World(),
    )  # fmt: skip
    model.train()
    result = step.run(batch, divisor=len(batch.rows))
    assert result.tokens == sum(len(texts.queries[n]) for n in batch.row_numbers)
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    query_QD = torch.cat([model(one_text(texts.queries[n])) for n in batch.row_numbers])
    score_QC = query_QD @ vectors[[int(c) for c in batch.candidates]].T
    targets = fill_targets(batch.rows, batch.candidates)
    LOSSES["softmax"].function(score_QC, targets, temperature=0.1).mean().backward()
    assert_same(found, {name: p.grad for name, p in model.named_parameters() if p.grad is not None})


def one_text(ids: Any) -> Any:
    from ragtune.models.base import TokenBatch

    return TokenBatch.of([ids], device=torch.device("cpu"))

"""Both ways to ask a model: every query against every candidate, or pair by pair; pairs with a tiny pair model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ragtune.data.records import Candidate, Dataset
from ragtune.models.base import Kind, PairModel, Representation, TextSettings, TokenBatch, TokenIds
from ragtune.models.dense import DenseModel
from ragtune.recipe import TrainRecipe
from ragtune.scoring.losses import LOSSES
from ragtune.scoring.targets import fill_targets
from ragtune.training.batches import Batch, BatchPlan
from ragtune.training.distributed import World
from ragtune.training.encoding import JoinedPairs, TwoSides, own_cells, step_texts
from ragtune.training.examples import Texts, TrainingSet
from ragtune.training.objective import Objective
from ragtune.training.precision import Compute
from ragtune.training.step import Step, StepResult

BREAK = 3
"""The id between the texts of a pair."""


class TinyPairModel(PairModel):
    """A pair's score: one linear layer over the product of both texts' mean embeddings, in float64, with dropout."""

    family: ClassVar[str] = "tiny-pair"

    def __init__(self, tokenizer: DenseModel, *, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(5)
        self._tokenizer = [tokenizer]  # in a list, so that its weights are not this model's
        self.table = nn.Embedding(tokenizer.token_embedding.num_embeddings, 8, dtype=torch.float64)
        self.head = nn.Linear(8, 1, dtype=torch.float64)
        self.dropout = nn.Dropout(dropout)
        self.name, self.packed, self.settings = "tiny", True, dict[Kind, TextSettings]()

    @property
    def device(self) -> torch.device:
        return self.head.weight.device

    @property
    def token_embedding(self) -> nn.Embedding:
        return self.table

    @property
    def matmul_parameters(self) -> int:
        return 8

    @property
    def attention_width(self) -> int:
        return 0

    def tokenize(
        self, texts: Sequence[str], *, kind: Kind, prompts: Sequence[str | None] | None = None, truncate: bool = True
    ) -> list[TokenIds]:
        return self._tokenizer[0].tokenize(texts, kind=kind)

    def tokenizer_fingerprint(self) -> str:
        return "tiny"

    def join(self, query: TokenIds, passage: TokenIds) -> tuple[TokenIds, int]:
        return np.concatenate([query, [BREAK], passage]).astype(np.int32), len(query) + 1

    def forward(self, batch: TokenBatch) -> Tensor:
        assert batch.second_B is not None
        rows = []
        for ids, second in zip(batch.ids_N.split(batch.lengths_B.tolist()), batch.second_B.tolist(), strict=True):
            query_D, passage_D = (self.table(part).mean(dim=0) for part in (ids[: second - 1], ids[second:]))
            rows.append(self.head(self.dropout(query_D * passage_D)))
        return torch.stack(rows)

    def save(self, folder: Path) -> None:
        raise NotImplementedError


@pytest.fixture
def rows(tiny_dataset: Callable[..., Dataset], training_set: Callable[..., TrainingSet]) -> TrainingSet:
    """Ragged groups, and one candidate that is a suspected false negative."""
    dataset = tiny_dataset(with_candidates=True)
    dataset.candidates["q0"] = dataset.candidates["q0"][:1]
    first, *others = dataset.candidates["q1"]
    dataset.candidates["q1"] = [first, *(replace(c, valid=False) for c in others[:1]), *others[1:]]
    dataset.candidates["q2"] += [Candidate(corpus_id="p9", relevance=0.0, teacher=0.2)]
    return training_set(dataset)


@pytest.fixture
def batch(rows: TrainingSet, plan_of: Callable[..., BatchPlan]) -> Batch:
    plan = plan_of(rows, group_size=4)
    return plan.batch(list(range(8)), epoch=0)


@pytest.fixture
def pair_step(
    load: Callable[..., DenseModel], rows: TrainingSet, texts_of: Callable[..., Texts]
) -> Callable[..., tuple[StepResult, dict[str, Tensor]]]:
    """``pair_step(batch, loss, graph_tokens=..., dropout=...)``: the result and every parameter's gradient."""

    def ran(
        batch: Batch, loss: str, *, graph_tokens: int = 10**6, dropout: float = 0.0
    ) -> tuple[StepResult, dict[str, Tensor]]:
        dense = load()
        model = TinyPairModel(dense, dropout=dropout)
        settings = {"losses": loss, "micro_batch_tokens": 64, "graph_tokens": graph_tokens}
        recipe = TrainRecipe.model_validate(settings)
        step = Step(
            Compute(model, dtype=torch.float32),
            objective=Objective(model, recipe=recipe),
            texts=texts_of(dense, rows),
            recipe=recipe,
            world=World(),
        )
        model.train()
        torch.manual_seed(7)
        result = step.run(batch, divisor=len(batch.rows))
        return result, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    return ran


def second_version(model: TinyPairModel, texts: Texts, batch: Batch, loss: str) -> dict[str, Tensor]:
    """Each cell of a row's own candidates scored by itself, all in one graph."""
    targets = fill_targets(batch.rows, batch.candidates)
    score_QC = torch.zeros(targets.valid_QC.shape, dtype=torch.float64)
    own_QC = torch.zeros_like(targets.valid_QC)
    for number, row in enumerate(batch.rows):
        for own in row.own:
            if not own.valid:
                continue
            column = batch.candidates.index(own.passage_id)
            ids, second = model.join(texts.queries[batch.row_numbers[number]], texts.passages[int(own.passage_id)])
            tokens = TokenBatch.of([ids], device=model.device, seconds=[second])
            score_QC[number, column] = model(tokens)[0, 0]
            own_QC[number, column] = True
    LOSSES[loss].function(score_QC, replace(targets, valid_QC=own_QC)).mean().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("loss", LOSSES)
def test_pairs_train_as_if_each_were_scored_alone(
    loss: str, batch: Batch, pair_step: Callable[..., tuple[StepResult, dict[str, Tensor]]],
    load: Callable[..., DenseModel], rows: TrainingSet, texts_of: Callable[..., Texts],
) -> None:  # fmt: skip
    dense = load()
    _, found = pair_step(batch, loss)
    assert_same(found, second_version(TinyPairModel(dense), texts_of(dense, rows), batch, loss))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("loss", LOSSES)
def test_caching_at_the_scores_changes_no_gradient(
    loss: str, dropout: float, batch: Batch, pair_step: Callable[..., tuple[StepResult, dict[str, Tensor]]]
) -> None:
    plain, wanted = pair_step(batch, loss, dropout=dropout)
    for graph_tokens in (0, 150):
        cached, found = pair_step(batch, loss, dropout=dropout, graph_tokens=graph_tokens)
        assert cached.recomputed_tokens > 0 == plain.recomputed_tokens
        assert_same(found, wanted)


def test_only_a_querys_own_candidates_that_count_are_read(
    batch: Batch, pair_step: Callable[..., tuple[StepResult, dict[str, Tensor]]], load: Callable[..., DenseModel],
    rows: TrainingSet, texts_of: Callable[..., Texts],
) -> None:  # fmt: skip
    dense = load()
    texts = texts_of(dense, rows)
    wanted = [
        (batch.row_numbers[number], int(own.passage_id))
        for number, row in enumerate(batch.rows)
        for own in row.own
        if own.valid
    ]
    assert len(wanted) < len(batch.rows) * len(batch.candidates) / 3
    assert len({sum(number == row for row, _ in wanted) for number in batch.row_numbers}) > 2, "groups are ragged"
    result, _ = pair_step(batch, "softmax")
    assert result.tokens == sum(len(texts.queries[q]) + 1 + len(texts.passages[p]) for q, p in wanted)


def test_order_means_nothing_to_pairs(
    batch: Batch, pair_step: Callable[..., tuple[StepResult, dict[str, Tensor]]]
) -> None:
    order, columns = [5, 2, 7, 0, 1, 3, 6, 4], list(reversed(range(len(batch.candidates))))
    shuffled = replace(
        batch,
        row_numbers=[batch.row_numbers[i] for i in order],
        rows=[batch.rows[i] for i in order],
        candidates=[batch.candidates[i] for i in columns],
    )
    assert_same(pair_step(shuffled, "softmax")[1], pair_step(batch, "softmax")[1])


def test_the_model_decides_how_it_is_asked(
    batch: Batch, load: Callable[..., DenseModel], rows: TrainingSet, texts_of: Callable[..., Texts]
) -> None:
    dense = load()
    texts = texts_of(dense, rows)
    assert isinstance(step_texts(dense, texts), TwoSides)
    assert isinstance(step_texts(TinyPairModel(dense), texts), JoinedPairs)
    targets = fill_targets(batch.rows, batch.candidates)
    assert len(step_texts(dense, texts).inputs(batch, targets)) == len(batch.rows) + len(batch.candidates)
    assert len(step_texts(TinyPairModel(dense), texts).inputs(batch, targets)) == int(own_cells(targets).sum())


def test_groups_of_rows_are_chosen_text_by_text() -> None:
    rows_ND = torch.arange(12.0).view(6, 2)
    rep = Representation(rows_ND, torch.tensor([2, 0, 3, 1]))
    assert rep[1:3].rows_ND.tolist() == rows_ND[2:5].tolist()
    assert rep[torch.tensor([3, 1, 0])].rows_ND.tolist() == rows_ND[[5, 0, 1]].tolist()
    token_BTD, mask_BT = rep.padded()
    assert mask_BT.sum(dim=1).tolist() == [2, 0, 3, 1]
    assert torch.equal(token_BTD[mask_BT], rows_ND)
    assert not token_BTD[~mask_BT].any()

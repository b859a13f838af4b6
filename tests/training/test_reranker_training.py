"""Rerankers in the engine: any group, every loss, gradients cached at the scores, adapters, half precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ragtune.data.records import Candidate, Dataset, Passage
from ragtune.models import load_model
from ragtune.models.adapting import prepare_for_training, save_merged
from ragtune.models.reranker import Reranker
from ragtune.recipe import ModelRecipe
from ragtune.scoring.losses import LOSSES
from ragtune.training.batches import BatchPlan
from ragtune.training.examples import TrainingSet
from ragtune.training.step import StepResult

RunStep = Callable[..., tuple[StepResult, dict[str, Tensor]]]
OWN = {"losses": {"name": "softmax", "temperature": 1.0}}


def reranker(folder: Path, **settings: Any) -> Reranker:
    recipe = ModelRecipe.model_validate({"name": str(folder), "family": "reranker", **settings})
    model = load_model(recipe)
    assert isinstance(model, Reranker)
    return prepare_for_training(model, recipe)


@pytest.fixture
def ragged(tiny_dataset: Callable[..., Dataset]) -> Dataset:
    """Groups of one to nine negatives, with a teacher's score for each candidate."""
    dataset = tiny_dataset()
    keys = list(dataset.corpus)
    candidates = {}
    for number, (query, grades) in enumerate(dataset.split("train").items()):
        positive = next(iter(grades))
        others = [key for key in keys if key != positive][number : number + 1 + number % 9]
        candidates[query] = [
            Candidate(positive, relevance=1.0, teacher=3.0),
            *(Candidate(key, relevance=0.0, teacher=-0.1 * i) for i, key in enumerate(others)),
        ]
    return replace(dataset, candidates=candidates)


@pytest.fixture
def batch_of(plan_of: Callable[..., BatchPlan]) -> Callable[..., Any]:
    def made(rows: TrainingSet, *, group_size: int = 16, count: int = 8) -> Any:
        return plan_of(rows, batch_size=count, group_size=group_size).batch(list(range(count)), epoch=0)

    return made


# Groups


def test_ragged_groups_are_used_as_they_are(
    tiny_model: Path, ragged: Dataset, training_set: Any, batch_of: Any, run_step: RunStep
) -> None:
    """No negative is repeated to fill a group, none is added, none of another query is seen."""
    rows = training_set(ragged, group_size=16)
    batch = batch_of(rows)
    sizes = [len({own.passage_id for own in row.own}) for row in batch.rows]
    assert sizes == [2 + number % 9 for number in range(8)]
    result, _ = run_step(reranker(tiny_model), rows, batch, **OWN)
    assert len(result.positive_scores) == 8
    assert len(result.negative_scores) == sum(sizes) - 8


def test_a_group_of_equal_passages_is_one_positive(
    tiny_model: Path, tiny_dataset: Any, training_set: Any, batch_of: Any, run_step: RunStep
) -> None:
    """Copies of the positive among the negatives would pull the score both ways; they are one passage here."""
    dataset = tiny_dataset()
    query, grades = next(iter(dataset.split("train").items()))
    positive = next(iter(grades))
    copies = {f"copy{i}": replace(dataset.corpus[positive], id=f"copy{i}") for i in range(3)}
    negatives = [Candidate(key, relevance=0.0) for key in copies]
    dataset = replace(
        dataset,
        corpus={**dataset.corpus, **copies},
        qrels={"train": {query: grades}},
        candidates={query: negatives},
    )
    rows = training_set(dataset, group_size=4)
    result, gradients = run_step(reranker(tiny_model), rows, batch_of(rows, count=1), **OWN)
    assert (len(result.positive_scores), len(result.negative_scores), result.loss_sum) == (1, 0, 0.0)
    assert all(not gradient.any() for gradient in gradients.values())


def test_pairs_are_sorted_by_length_under_the_token_budget(
    tiny_model: Path, ragged: Dataset, training_set: Any, batch_of: Any, run_step: RunStep
) -> None:
    rows = training_set(ragged, group_size=16)
    model = reranker(tiny_model)
    seen: list[list[int]] = []
    model.register_forward_pre_hook(lambda module, given: seen.append(given[0].lengths_B.tolist()))
    run_step(model, rows, batch_of(rows), micro_batch_tokens=200, **OWN)
    lengths = [length for part in seen for length in part]
    assert lengths == sorted(lengths, reverse=True)
    assert len(seen) > 3 and max(sum(part) for part in seen) <= 200


# Losses and gradients


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_a_reranker_and_caching_changes_nothing(
    tiny_model: Path, ragged: Dataset, training_set: Any, batch_of: Any, run_step: RunStep, loss: str
) -> None:
    rows = training_set(ragged, group_size=16, distillation=True)
    batch = batch_of(rows)
    settings = {"losses": loss, "distillation": LOSSES[loss].needs_teacher, "micro_batch_tokens": 150}
    kept, plain = run_step(reranker(tiny_model, dropout=0.1), rows, batch, graph_tokens=10**6, **settings)
    cut, cached = run_step(reranker(tiny_model, dropout=0.1), rows, batch, graph_tokens=300, **settings)
    assert kept.recomputed_tokens == 0 < cut.recomputed_tokens < cut.tokens
    assert cut.loss_sum == pytest.approx(kept.loss_sum, rel=1e-5)
    assert plain.keys() == cached.keys()
    assert any(gradient.any() for gradient in plain.values())
    for name, gradient in plain.items():
        assert torch.allclose(gradient, cached[name], atol=2e-5, rtol=1e-3), name


def test_a_hundred_negatives_keep_no_more_graphs_than_allowed(
    tiny_model: Path, tiny_dataset: Any, training_set: Any, plan_of: Any, run_step: RunStep
) -> None:
    """1 : 100 pairs of long texts: only what ``graph_tokens`` allows is held for backward."""
    dataset = tiny_dataset()
    query, grades = next(iter(dataset.split("train").items()))
    more = {f"n{i}": Passage(f"n{i}", f"number {i} " + "the moon pulls the sea " * 20) for i in range(100)}
    dataset = replace(
        dataset,
        corpus={**dataset.corpus, **more},
        qrels={"train": {query: grades}},
        candidates={query: [Candidate(key, relevance=0.0) for key in more]},
    )
    rows = training_set(dataset, group_size=101)
    batch = plan_of(rows, batch_size=1, group_size=101).batch([0], epoch=0)
    model = reranker(tiny_model)
    alive: list[int] = []
    held = 0

    def count(module: Any, given: Any, out: Tensor) -> None:
        nonlocal held
        if out.requires_grad:
            held += given[0].tokens
            alive.append(held)

    model.register_forward_hook(count)
    result, _ = run_step(model, rows, batch, graph_tokens=1024, micro_batch_tokens=512, **OWN)
    assert result.queries == 1 and len(result.negative_scores) == 100
    assert alive[1] <= 1024 < result.tokens
    assert result.recomputed_tokens >= result.tokens - 1024


def test_half_precision_gives_nearly_the_same_gradient(
    tiny_model: Path, ragged: Dataset, training_set: Any, batch_of: Any, run_step: RunStep
) -> None:
    rows = training_set(ragged, group_size=16)
    model = reranker(tiny_model)
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    full, plain = run_step(model, rows, batch_of(rows), **OWN)
    less, half = run_step(model, rows, batch_of(rows), dtype=torch.bfloat16, **OWN)
    weight = "network.classifier.weight"
    assert torch.nn.functional.cosine_similarity(plain[weight], half[weight]).item() > 0.99
    # the head is not rounded: hardly any two scores fall together
    assert len(less.negative_scores.unique()) == len(full.negative_scores.unique())


# What is trained


def test_adapters_train_beside_the_whole_head(
    tiny_model: Path, ragged: Dataset, training_set: Any, batch_of: Any, run_step: RunStep, tmp_path: Path
) -> None:
    model = reranker(tiny_model, lora={"rank": 2})
    rows = training_set(ragged, group_size=16)
    _, gradients = run_step(model, rows, batch_of(rows), **OWN)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in name or name.startswith("network.classifier.") for name in trained)
    assert any("pooler" in name for name in trained), "the pooler stands before the classifier"
    assert set(gradients) == trained
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.05)
    model.eval()
    wanted = model.score_pairs(*_pairs(ragged))
    save_merged(model, tmp_path / "saved", recipe=ModelRecipe.model_validate({"lora": {"rank": 2}}))
    again = load_model(ModelRecipe(name=str(tmp_path / "saved"), family="reranker"))
    assert isinstance(again, Reranker)
    assert np.allclose(again.score_pairs(*_pairs(ragged)), wanted, atol=1e-5)


def _pairs(dataset: Dataset) -> tuple[list[Any], list[Any]]:
    return list(dataset.queries.values())[:6], list(dataset.corpus.values())[:6]

"""AdamW's groups and the learning rate over a run."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from ragtune.recipe import TrainRecipe
from ragtune.training.optimizer import AFTER_WARMUP, build_optimizer, learning_rate, set_learning_rate


def rates(total: int, **settings: object) -> list[float]:
    recipe = TrainRecipe.model_validate({"learning_rate": 1.0} | settings)
    return [learning_rate(recipe, step=step, total_steps=total) for step in range(total)]


@pytest.mark.parametrize("schedule", AFTER_WARMUP)
def test_the_rate_rises_to_its_peak_then_follows_the_schedule(schedule: str) -> None:
    found = rates(100, schedule=schedule, warmup_ratio=0.2)
    assert found[:20] == pytest.approx([(step + 1) / 20 for step in range(20)])
    assert found[20] == max(found) == 1.0
    assert all(later <= earlier for earlier, later in itertools.pairwise(found[20:]))
    assert all(rate > 0 for rate in found)


def test_each_schedule_ends_where_it_says() -> None:
    half = {name: rates(100, schedule=name, warmup_ratio=0)[50] for name in AFTER_WARMUP}
    last = {name: rates(100, schedule=name, warmup_ratio=0)[-1] for name in AFTER_WARMUP}
    assert half == pytest.approx({"linear": 0.5, "cosine": 0.5, "constant": 1.0})
    cosine = 0.5 * (1 + math.cos(math.pi * 0.99))
    assert last == pytest.approx({"linear": 0.01, "cosine": cosine, "constant": 1.0})


@pytest.mark.parametrize("warmup", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("total", [1, 2, 7])
def test_short_runs_have_a_rate_at_every_step(total: int, warmup: float) -> None:
    assert all(0 < rate <= 1 for rate in rates(total, warmup_ratio=warmup))


def test_only_matrices_decay_and_only_what_is_trained_is_there() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Embedding(5, 3), nn.Linear(4, 2, bias=False))
    model[3].weight.requires_grad_(False)
    optimizer = build_optimizer(model, recipe=TrainRecipe(weight_decay=0.3))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    wanted = {"0.weight": 0.3, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0, "2.weight": 0.3}
    assert {name: decays.get(id(p)) for name, p in model.named_parameters()} == wanted | {"3.weight": None}


def test_decay_shrinks_a_weight_without_gradient() -> None:
    layer = nn.Linear(2, 2)
    before = layer.weight.detach().clone(), layer.bias.detach().clone()
    optimizer = build_optimizer(layer, recipe=TrainRecipe(weight_decay=0.5))
    set_learning_rate(optimizer, 0.1)
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), before[0] * (1 - 0.1 * 0.5))
    torch.testing.assert_close(layer.bias.detach(), before[1])


def test_every_group_gets_the_rate() -> None:
    optimizer = build_optimizer(nn.Linear(2, 2), recipe=TrainRecipe())
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]

"""The average of weights is their mean, and a run ends with it exactly when dev says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ragtune.models.base import Scorer
from ragtune.training.loop import TrainingJob, train

MakeJob = Callable[..., TrainingJob]


def trained(job: TrainingJob) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in job.model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("averaged", [1, 2, 3])
def test_a_run_ends_with_the_mean_of_its_last_epochs(averaged: int, job_of: MakeJob) -> None:
    seen: list[dict[str, Tensor]] = []

    def look(model: Scorer) -> dict[str, float]:
        seen.append({name: p.detach().clone() for name, p in model.named_parameters()})
        return {"nDCG@10": 0.0}

    job = job_of(epochs=3, average_epochs=averaged, best_metric="none", evaluate=look)
    train(job)
    # untrained, three epochs, and the average itself
    assert len(seen) == 5
    for name, weight in trained(job).items():
        mean = torch.stack([state[name].double() for state in seen[4 - averaged : 4]]).mean(0)
        torch.testing.assert_close(weight.double(), mean, rtol=1e-6, atol=1e-7)
        assert torch.equal(weight, seen[-1][name])


@pytest.mark.parametrize("wins", [True, False])
def test_dev_decides_whether_the_average_is_kept(wins: bool, job_of: MakeJob) -> None:
    states: list[dict[str, Tensor]] = []

    def value(model: Scorer) -> dict[str, float]:
        states.append({name: p.detach().clone() for name, p in model.named_parameters()})
        return {"nDCG@10": [0.1, 0.3, 0.2, 0.4 if wins else 0.25][len(states) - 1]}

    job = job_of(epochs=2, average_epochs=2, evaluate=value)
    outcome = train(job)
    assert outcome.best_value == (0.4 if wins else 0.3)
    assert outcome.evaluations[-1]["averaged"] == 2
    for name, weight in trained(job).items():
        assert torch.equal(weight, states[3 if wins else 1][name])


def test_without_dev_the_average_stays(job_of: MakeJob) -> None:
    plain, averaged = job_of(name="plain", epochs=2), job_of(name="averaged", epochs=2, average_epochs=2)
    train(plain)
    train(averaged)
    assert any(not torch.equal(weight, trained(averaged)[name]) for name, weight in trained(plain).items())

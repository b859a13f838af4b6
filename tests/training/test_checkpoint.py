"""A run that was stopped anywhere ends as if it had not been: the same weights bit by bit, the same log."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ragtune.errors import OutOfSpaceError
from ragtune.models.base import Scorer
from ragtune.training.checkpoint import Checkpoints
from ragtune.training.loop import TrainingJob, TrainingOutcome, train

MakeJob = Callable[..., TrainingJob]

PLAIN: dict[str, Any] = {"epochs": 2, "save_every_steps": 2, "evaluate_every_steps": 2, "log_every_steps": 4}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "dropout and augmentation": {"model": {"dropout": 0.3}, "data": {"group_size": 3, "shuffle_ratio": 1.0}},
    "fp16": {"precision": "fp16"},
    "bf16": {"precision": "bf16"},
    "accumulation": {"batch_size": 4, "accumulation_steps": 2},
    "average of weights": {"average_epochs": 2, "batch_size": 4},
    "adapters and a head": {"model": {"lora": {"rank": 2}, "projection_dims": 8}},
}


class KilledError(Exception):
    """Stands for a kill: nothing after it is done."""


def weights(job: TrainingJob) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in job.model.named_parameters()}


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    for name, weight in wanted.items():
        assert torch.equal(found[name], weight), name


def log_of(job: TrainingJob) -> list[dict[str, Any]]:
    """The log without what a clock or the memory says."""
    told = [json.loads(line) for line in (job.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    clock = {"tokens_per_second", "flops_per_second", "share_of_ceiling", "peak_memory_bytes", "evaluation_seconds"}
    return [{key: value for key, value in line.items() if key not in clock} for line in told]


def measure(model: Scorer) -> dict[str, float]:
    """A dev value that moves with the weights, up and down."""
    return {"nDCG@10": float(model.token_embedding.weight.detach()[:, 0].sum() * 1000) % 1.0}


def run_with_stop(job: TrainingJob, *, evaluations: int) -> TrainingOutcome:
    """Train until dev has been measured so many times, then be killed."""
    left = [evaluations]

    def evaluate(model: Scorer) -> dict[str, float]:
        if left[0] == 0:
            raise KilledError
        left[0] -= 1
        return measure(model)

    return train(replace(job, evaluate=evaluate))


@pytest.mark.parametrize("case", CASES)
def test_a_killed_run_ends_as_an_undisturbed_one(case: str, job_of: MakeJob) -> None:
    """Killed before the first checkpoint, after one, and after two."""
    settings = PLAIN | CASES[case]
    whole = job_of(name="whole", evaluate=measure, **settings)
    outcome = train(whole)
    stopped = job_of(name="stopped", **settings)
    for evaluations in (1, 2, 1):
        with pytest.raises(KilledError):
            run_with_stop(stopped, evaluations=evaluations)
        stopped = job_of(name="stopped", evaluate=measure, **settings)
    resumed = train(stopped)
    assert_same(weights(stopped), weights(whole))
    assert log_of(stopped) == log_of(whole)
    assert (resumed.evaluations, resumed.best_step) == (outcome.evaluations, outcome.best_step)
    assert resumed.tokens == outcome.tokens


@pytest.mark.parametrize("settings", [{}, {"average_epochs": 2}])
def test_resuming_a_finished_run_changes_nothing(settings: dict[str, Any], job_of: MakeJob) -> None:
    job = job_of(evaluate=measure, **PLAIN | settings)
    train(job)
    again = job_of(evaluate=measure, **PLAIN | settings)
    train(again)
    assert_same(weights(again), weights(job))
    assert log_of(again) == log_of(job)


def test_patience_is_counted_over_a_stop(job_of: MakeJob) -> None:
    values = [0.5, 0.4, 0.3, 0.2, 0.1, 0.0]
    settings = PLAIN | {"patience": 3, "epochs": 4, "evaluate_every_steps": 1, "save_every_steps": 1}

    def falling(model: Scorer) -> dict[str, float]:
        return {"nDCG@10": values.pop(0)}

    job = job_of(evaluate=falling, **settings)
    with pytest.raises(KeyboardInterrupt):
        interrupted_at(job, step=2)
    outcome = train(job_of(evaluate=falling, **settings))
    assert (outcome.steps, outcome.best_step, outcome.stopped_early) == (3, 0, True)


def interrupted_at(job: TrainingJob, *, step: int) -> TrainingOutcome:
    """Press Ctrl-C while a step runs."""
    measured: list[int] = []

    def evaluate(model: Scorer) -> dict[str, float]:
        assert job.evaluate is not None
        measured.append(1)
        if len(measured) == step + 1:
            signal.raise_signal(signal.SIGINT)
        return job.evaluate(model)

    return train(replace(job, evaluate=evaluate))


def test_ctrl_c_saves_the_step_and_the_run_goes_on_from_it(job_of: MakeJob) -> None:
    settings = PLAIN | {"evaluate_every_steps": 1, "save_every_steps": 100}
    whole = job_of(name="whole", evaluate=measure, **settings)
    train(whole)
    job = job_of(name="stopped", evaluate=measure, **settings)
    with pytest.raises(KeyboardInterrupt):
        interrupted_at(job, step=3)
    assert [path.name for path in (job.folder / "checkpoints").glob("step-*")] == ["step-3"]
    job = job_of(name="stopped", evaluate=measure, **settings)
    train(job)
    assert_same(weights(job), weights(whole))
    assert log_of(job) == log_of(whole)


def test_half_written_folders_are_passed_over_and_removed(job_of: MakeJob) -> None:
    job = job_of(max_steps=2, **PLAIN)
    train(job)
    folder = job.folder / "checkpoints"
    for name in (".step-9.half", ".best-9.half", ".step-2.old.x"):
        (folder / name).mkdir()
        (folder / name / "weights.safetensors").write_bytes(b"half")
    newest = Checkpoints(folder).newest()
    assert newest is not None and newest.name == "step-2"
    train(job_of(max_steps=2, **PLAIN))
    assert [path.name for path in folder.iterdir()] == ["step-2"]


def test_a_log_line_that_a_kill_cut_is_dropped(job_of: MakeJob) -> None:
    job = job_of(name="whole", **PLAIN)
    train(job)
    wanted = log_of(job)
    with (job.folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 6, "loss": 0.5, "parts": {"softmax": 0.5}')
    train(job_of(name="whole", **PLAIN))
    assert log_of(job) == wanted


def test_best_weights_that_the_checkpoint_counts_on_outlive_better_ones(job_of: MakeJob) -> None:
    """Killed after better weights were kept and before the next checkpoint: both are there."""
    values = [0.1, 0.5, 0.9]

    def evaluate(model: Scorer) -> dict[str, float]:
        if not values:
            raise KilledError
        return {"nDCG@10": values.pop(0)}

    job = job_of(evaluate=evaluate, **PLAIN | {"evaluate_every_steps": 1, "save_every_steps": 1, "epochs": 2})
    checkpoints = Checkpoints(job.folder / "checkpoints")
    with pytest.raises(KilledError):
        train(job)
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["best-2", "step-2"]
    checkpoints.save_best(job.model, step=7)
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["best-2", "best-7", "step-2"]
    checkpoints.save_best(job.model, step=8)
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["best-2", "best-8", "step-2"]


@pytest.mark.parametrize("room", [0, 50_000, 150_000, 300_000])
def test_a_full_disk_is_told_and_the_older_checkpoint_stays_whole(room: int, job_of: MakeJob, small_disk: Path) -> None:
    settings = PLAIN | {"evaluate_every_steps": None, "save_every_steps": 2}
    whole = job_of(name="whole", **settings)
    train(whole)
    job = replace(job_of(name="small", **settings), folder=small_disk / "train")
    filler = small_disk / "filler"

    def fill(numbers: dict[str, float], step: int) -> None:
        """After the first checkpoint (step 2) and the log line of step 4, the disk has ``room`` bytes left."""
        if step == 4 and not filler.exists():
            filler.write_bytes(b"x" * (shutil.disk_usage(small_disk).free - room))

    with pytest.raises(OutOfSpaceError, match="step-4"):
        train(replace(job, mirror=fill))
    left = sorted(path.name for path in (job.folder / "checkpoints").iterdir())
    assert left == ["step-2"]
    filler.unlink()
    again = replace(job_of(name="small", **settings), folder=job.folder)
    train(again)
    assert_same(weights(again), weights(whole))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB; needs the right to mount one."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)

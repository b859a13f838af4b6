"""The real command: killed, interrupted, started by torchrun, and with a loss that is not finite."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ragtune.cli.main import main
from ragtune.data.folder import write_dataset
from ragtune.data.records import Dataset

STEPS = 150
SETTINGS = {
    "model.dropout": 0.1,
    "data.group_size": 3,
    "train.batch_size": 8,
    "train.epochs": STEPS / 3,
    "train.learning_rate": 1e-4,
    "train.save_every_steps": 7,
    "train.evaluate_every_steps": 30,
    "train.log_every_steps": 5,
    "train.losses": "softmax",
    "evaluate.bm25": "false",
    "evaluate.resamples": 10,
    "evaluate.measures": "[nDCG@10]",
}


def command(model: Path, dataset: Path, out: Path, **more: object) -> list[str]:
    given = [f"--set={key}={value}" for key, value in (SETTINGS | more).items()]
    return ["-m", "ragtune", "train", f"--data={dataset}", f"--model={model}", f"--out={out}", *given]


def start(arguments: list[str]) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def step_of(out: Path) -> int:
    found = [int(p.name.partition("-")[2]) for p in (out / "train" / "checkpoints").glob("step-*")]
    return max(found, default=0)


def stopped(arguments: list[str], out: Path, *, after: int, by: signal.Signals) -> tuple[int, str]:
    """Start the command and send it a signal once a checkpoint of a step after ``after`` is there."""
    process = start(arguments)
    deadline = time.monotonic() + 120
    while step_of(out) <= after:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1][-3000:]
        time.sleep(0.002)
    # to the whole group, as a terminal does
    os.killpg(process.pid, by)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def log_of(out: Path) -> list[dict[str, Any]]:
    told = [json.loads(line) for line in (out / "train" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    clock = {"tokens_per_second", "flops_per_second", "share_of_ceiling", "peak_memory_bytes", "evaluation_seconds"}
    return [{key: value for key, value in line.items() if key not in clock} for line in told]


@pytest.fixture
def dataset(tiny_dataset: Callable[..., Dataset], tmp_path: Path) -> Path:
    write_dataset(tiny_dataset(with_candidates=True), tmp_path / "dataset")
    return tmp_path / "dataset"


@pytest.mark.slow
def test_killed_then_interrupted_then_finished(tiny_model: Path, dataset: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "stopped"
    undisturbed = start(command(tiny_model, dataset, whole))
    code, _ = stopped(command(tiny_model, dataset, out), out, after=0, by=signal.SIGKILL)
    assert code == -signal.SIGKILL
    killed_at = step_of(out)
    assert 0 < killed_at < STEPS
    code, said = stopped(command(tiny_model, dataset, out), out, after=killed_at, by=signal.SIGINT)
    assert code == 130, said
    assert "Traceback" not in said and "run the same command again" in said
    assert killed_at < step_of(out) < STEPS

    last = start(command(tiny_model, dataset, out))
    for process in (undisturbed, last):
        printed, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        assert "nDCG@10" in printed
    found, wanted = (load_file(folder / "model" / "model.safetensors") for folder in (out, whole))
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert log_of(out) == log_of(whole)
    assert not (out / "train" / "checkpoints").exists()


@pytest.mark.slow
def test_two_processes_by_torchrun_write_one_run(tiny_model: Path, dataset: Path, tmp_path: Path) -> None:
    """Interrupted once, refused to one process, then finished by two."""
    out = tmp_path / "run"
    alone = command(tiny_model, dataset, out)
    two = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *alone]
    _, said = stopped(two, out, after=0, by=signal.SIGINT)
    assert said.count("run the same command again") == 2
    reached = step_of(out)
    assert 0 < reached < STEPS
    one = start(alone)
    _, said = one.communicate(timeout=60)
    assert one.returncode == 2, said
    assert "another number of processes" in said and "2 then, 1 now" in said and "Traceback" not in said
    assert step_of(out) == reached
    last = start(two)
    printed, said = last.communicate(timeout=120)
    assert last.returncode == 0, said
    assert printed.count("nDCG@10") == 1
    assert (out / "model" / "model.safetensors").is_file()
    lines = [line["step"] for line in log_of(out) if "loss" in line]
    assert lines == sorted(set(lines)) and lines[0] == 5


def test_a_loss_that_is_not_finite_ends_with_code_1_and_names_queries(
    tiny_model: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {"train.learning_rate": 1e30, "train.warmup_ratio": 0, "train.epochs": 5, "train.max_gradient_norm": "null"}
    with pytest.raises(SystemExit) as caught:
        main(command(tiny_model, dataset, tmp_path / "run", **more)[2:])
    said = capsys.readouterr().err
    assert caught.value.code == 1, said
    assert re.search(r"not finite.*\bq\d+", said), said
    assert "Traceback" not in said
    assert not (tmp_path / "run" / "model").exists()

"""Two processes of B rows are one process of 2 B rows; torchrun is started once, for all scenarios."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from ragtune.data.folder import write_dataset
from ragtune.data.records import Candidate, Dataset
from ragtune.errors import RunFolderError
from ragtune.training.distributed import World
from ragtune.training.loop import train

WORKER = Path(__file__).with_name("two_processes.py")

# batch_size is one process's; "alone" is what one process does instead
SCENARIOS: dict[str, dict[str, Any]] = {
    "three steps": {"train": {"batch_size": 4, "epochs": 1}, "alone": {"batch_size": 8}, "data": {"group_size": 3}},
    "uneven last batch": {
        "train": {"batch_size": 4, "epochs": 2},
        "alone": {"batch_size": 8},
        "data": {"group_size": 2},
        "source": {"max_examples": 19},
    },
    "a process without rows": {
        "train": {"batch_size": 4, "epochs": 1, "graph_tokens": 0, "micro_batch_tokens": 40},
        "alone": {"batch_size": 8},
        "data": {"group_size": 2},
        "source": {"max_examples": 17},
    },
    "negatives of the own process": {
        "train": {"batch_size": 4, "epochs": 1, "negatives_across_devices": False},
        "alone": {"batch_size": 4, "accumulation_steps": 2},
        "data": {"group_size": 3},
        "source": {"max_examples": 16},
    },
    "coupled queries, accumulated": {
        "train": {"batch_size": 2, "accumulation_steps": 2, "losses": ["cosent", "kl_divergence"]},
        "alone": {"batch_size": 4, "accumulation_steps": 2},
        "data": {"group_size": 3},
    },
    "best weights": {
        "train": {"batch_size": 4, "epochs": 1, "evaluate_every_steps": 1, "save_every_steps": 2},
        "alone": {"batch_size": 8},
        "data": {},
        "values": [0.1, 0.4, 0.9, 0.2],
    },
    "tracked": {"train": {"batch_size": 4, "max_steps": 2, "trackers": ["tensorboard"]}, "data": {}},
    "dropout": {"train": {"batch_size": 4, "epochs": 1}, "data": {}, "model": {"dropout": 0.3}},
    "bf16": {"train": {"batch_size": 4, "epochs": 1, "precision": "bf16"}, "data": {}},
}
if not importlib.util.find_spec("tensorboard"):
    del SCENARIOS["tracked"]
EQUAL = [name for name, scenario in SCENARIOS.items() if "alone" in scenario]


@pytest.fixture(scope="module")
def worker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("two_processes", WORKER)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def dataset(tiny_dataset: Callable[..., Dataset], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every query has one hard negative in common, so that both processes bring it in every step."""
    made = tiny_dataset(with_candidates=True)
    for query_id, candidates in made.candidates.items():
        candidates[1:] = [
            Candidate(corpus_id=p, relevance=0.0, teacher=0.2) for p in ("p4", "p10") if p[1:] != query_id[1:]
        ]
    folder = tmp_path_factory.mktemp("two") / "dataset"
    write_dataset(made, folder)
    return folder


@pytest.fixture(scope="module")
def together(tiny_model: Path, dataset: Path) -> Path:
    """The results of two processes."""
    results = dataset.parent / "results"
    results.mkdir()
    plan = dataset.parent / "plan.json"
    plan.write_text(json.dumps(SCENARIOS), encoding="utf-8")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    done = subprocess.run(
        [*launch, WORKER, tiny_model, dataset, results, plan],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return results


def weights(path: Path) -> dict[str, Tensor]:
    return load_file(path)


def logged(folder: Path, key: str) -> list[float]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line[key] for line in lines if key in line]


@pytest.mark.parametrize("name", EQUAL)
def test_two_processes_are_one_of_twice_the_rows(
    name: str, together: Path, worker: ModuleType, tiny_model: Path, dataset: Path, tmp_path: Path
) -> None:
    scenario = SCENARIOS[name]
    alone = {**scenario, "train": scenario["train"] | scenario["alone"]}
    job = worker.job_of(alone, world=World(), model=tiny_model, dataset=dataset, folder=tmp_path)
    outcome = train(job)
    said = json.loads((together / f"{name}.json").read_text(encoding="utf-8"))
    assert (said["steps"], said["best_step"]) == (outcome.steps, outcome.best_step)
    if "accumulation_steps" not in scenario["alone"]:
        assert said["tokens"] == outcome.tokens
    assert logged(together / name, "loss") == pytest.approx(logged(tmp_path, "loss"), abs=2e-4)
    # Adam hides the scale of a gradient, the logged norm does not
    assert logged(together / name, "gradient_norm") == pytest.approx(logged(tmp_path, "gradient_norm"), rel=2e-3)
    found, before = weights(together / f"{name}-0.safetensors"), weights(tiny_model / "model.safetensors")
    moved = max(float((found[f"backbone.{key}"] - value).abs().max()) for key, value in before.items())
    for key, weight in job.model.named_parameters():
        torch.testing.assert_close(found[key], weight.detach(), rtol=0, atol=0.01 * moved, msg=key)


@pytest.mark.parametrize("name", SCENARIOS)
def test_both_processes_hold_the_same_weights(name: str, together: Path) -> None:
    first, second = (weights(together / f"{name}-{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_one_process_writes_the_log_and_the_checkpoints(together: Path) -> None:
    folder = together / "best weights"
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 1, 2, 2, 3, 3]
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["best-2", "step-3"]


@pytest.mark.skipif("tracked" not in SCENARIOS, reason="tensorboard is not installed")
def test_one_process_writes_to_the_trackers(together: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = (together / "tracked" / "trackers" / "tracked").glob("events.out.tfevents.*")
    events = EventAccumulator(str(file)).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2]
    assert [event.value for event in events.Scalars("loss")] == pytest.approx(logged(together / "tracked", "loss"))


def test_another_number_of_processes_is_refused(
    together: Path, worker: ModuleType, tiny_model: Path, dataset: Path
) -> None:
    scenario = SCENARIOS["best weights"]
    folder = together / "best weights"
    before = sorted(folder.rglob("*"))
    job = worker.job_of(scenario, world=World(), model=tiny_model, dataset=dataset, folder=folder)
    with pytest.raises(RunFolderError, match="2 then, 1 now"):
        train(job)
    assert sorted(folder.rglob("*")) == before


def test_a_world_of_one_needs_no_others() -> None:
    world = World()
    tensor = torch.ones(2)
    assert world.sum_(tensor) is tensor
    assert world.totals([3, 4]) == [3, 4]
    assert (world.any(True), world.any(False), world.same_everywhere(0.1)) == (True, False, 0.1)
    with world.first_alone():
        world.wait()

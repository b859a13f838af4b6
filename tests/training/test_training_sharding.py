"""Sharded weights: two processes that hold half of each weight train as one process does that holds them all."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from ragtune.data.folder import write_dataset
from ragtune.data.records import Dataset
from ragtune.errors import RecipeError
from ragtune.models import load_model
from ragtune.recipe import ModelRecipe, TrainRecipe
from ragtune.run import read_json
from ragtune.training.distributed import World
from ragtune.training.world import check_launch

WORKER = Path(__file__).with_name("sharding_worker.py")
# 64 tokens cut a step of some 290 into 5 micro-batches, so that the second process has one less than the first; the
# graphs of the first two are kept
CUT = {"micro_batch_tokens": 64, "graph_tokens": 128}
SAME: dict[str, dict[str, Any]] = {
    "one graph": {},
    "some graphs kept": {"train": CUT},
    "no graph kept, frozen layer": {"train": {**CUT, "graph_tokens": 0}, "model": {"freeze": {"first_layers": 1}}},
    "layers recomputed, adapters": {"train": {**CUT, "gradient_checkpointing": True}, "model": {"lora": {"rank": 4}}},
    "bf16, accumulated, projection": {
        "train": {**CUT, "precision": "bf16", "accumulation_steps": 2},
        "model": {"projection_dims": 9},
    },
    "decoder in bf16": {"train": {**CUT, "precision": "bf16"}, "decoder": True},
    "measured": {"train": {**CUT, "best_metric": "dev", "evaluate_every_steps": 1}, "measured": True},
}
DROPOUT = {"dropout": 0.3}
SITTINGS: list[dict[str, Any]] = [
    {"name": "undisturbed", "train": {**CUT, "max_steps": 4}, "model": DROPOUT},
    {"name": "first sitting", "train": {**CUT, "max_steps": 2}, "model": DROPOUT, "folder": "sittings"},
    {"name": "second sitting", "train": {**CUT, "max_steps": 4}, "model": DROPOUT, "folder": "sittings"},
]


@pytest.fixture(scope="module")
def decoder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama on the tiny model's tokenizer."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaModel

    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=128,
            pad_token_id=0,
        )
        LlamaModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def cases(tiny_model: Path, decoder: Path) -> list[dict[str, Any]]:
    made = [{"name": name, **copy.deepcopy(case)} for name, case in SAME.items()]
    for case in made + (sittings := copy.deepcopy(SITTINGS)):
        base = {"name": str(decoder), "pooling": "last_token"} if case.get("decoder") else {"name": str(tiny_model)}
        case["model"] = base | case.get("model", {})
    return made + sittings


@pytest.fixture(scope="module")
def alone(cases: list[dict[str, Any]], folder_of: Callable[[str], Path]) -> Path:
    """What one process makes of the cases without sharding."""
    folder = folder_of("alone")
    for case in cases:
        if case["name"] in SAME:
            worker().run_case(folder, case, World())
    return folder


@pytest.fixture(scope="module")
def sharded(cases: list[dict[str, Any]], folder_of: Callable[[str], Path], tiny_model: Path) -> Path:
    """What two processes make of the same cases with sharding, and of a whole recipe before them."""
    folder = folder_of("sharded")
    recipe = {
        "run": str(folder / "whole run"),
        "data": str(folder / "data"),
        "model": {"name": str(tiny_model)},
        "train": {"fsdp": True, "batch_size": 4, "max_steps": 2, "learning_rate": 1e-2},
        "evaluate": {"bm25": False, "resamples": 10},
    }
    given = copy.deepcopy(cases)
    for case in given:
        case.setdefault("train", {})["fsdp"] = True
    held = {"name": "held", "held": True, "model": {"name": str(tiny_model)}, "train": {"fsdp": True}}
    (folder / "cases.json").write_text(json.dumps([{"run": recipe}, held, *given]), encoding="utf-8")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    done = subprocess.run(
        [*launch, WORKER, folder],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def folder_of(tiny_dataset: Callable[..., Dataset], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    def made(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        write_dataset(tiny_dataset(with_candidates=True), folder / "data")
        return folder

    return made


def worker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sharding_worker", WORKER)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def result(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / name / "result.pt")
    return found


def logged(found: dict[str, Any], key: str) -> list[float]:
    return [line[key] for line in found["log"] if key in line]


@pytest.mark.parametrize("name", SAME)
def test_losses_norms_and_weights_are_those_of_one_process(name: str, alone: Path, sharded: Path) -> None:
    found, wanted = result(sharded, name), result(alone, name)
    assert logged(found, "loss") == pytest.approx(logged(wanted, "loss"), abs=1e-4)
    assert logged(found, "gradient_norm") == pytest.approx(logged(wanted, "gradient_norm"), rel=1e-4)
    assert found["weights"].keys() == wanted["weights"].keys()
    for key, weight in wanted["weights"].items():
        # three steps of AdamW at 0.01 move a weight by some 0.03
        torch.testing.assert_close(found["weights"][key], weight, rtol=0, atol=2e-4, msg=key)


def test_the_cut_leaves_a_process_without_a_micro_batch(alone: Path) -> None:
    """Else the cases above would not show that a process with fewer keeps step."""
    some, none = result(alone, "some graphs kept"), result(alone, "no graph kept, frozen layer")
    assert all(0 < share < 1 for share in logged(some, "recomputed_share"))
    assert logged(none, "recomputed_share") == [1.0, 1.0, 1.0]


def test_dev_sees_the_present_weights_and_the_best_are_put_back(alone: Path, sharded: Path) -> None:
    found, wanted = result(sharded, "measured"), result(alone, "measured")
    cosines = logged(found, "dev_cosine")
    assert cosines == pytest.approx(logged(wanted, "dev_cosine"), abs=1e-4)
    assert len({round(cosine, 3) for cosine in cosines}) == 4
    assert found["best_step"] == 1
    last = result(sharded, "some graphs kept")["weights"]
    assert any(not torch.allclose(weight, last[key], atol=1e-3) for key, weight in found["weights"].items())


def test_a_run_in_two_sittings_ends_as_an_undisturbed_one(sharded: Path) -> None:
    through, rest = result(sharded, "undisturbed"), result(sharded, "second sitting")
    assert logged(rest, "loss") == logged(through, "loss")
    assert all(torch.equal(weight, rest["weights"][key]) for key, weight in through["weights"].items())


def test_a_checkpoint_holds_whole_weights_and_moments(sharded: Path, tiny_model: Path) -> None:
    (checkpoint,) = (sharded / "some graphs kept" / "checkpoints").glob("step-*")
    state = torch.load(checkpoint / "optimizer.pt")["optimizer"]["state"]
    shapes = sorted(tuple(values["exp_avg"].shape) for values in state.values())
    trained = [
        p for name, p in load_model(ModelRecipe(name=str(tiny_model))).named_parameters() if "pooler" not in name
    ]
    assert shapes == sorted(tuple(p.shape) for p in trained)
    assert all(type(value) is Tensor for values in state.values() for value in values.values())


def test_each_process_holds_half(sharded: Path) -> None:
    first, second = (result(sharded, f"held-{rank}") for rank in (0, 1))
    for held in (first, second):
        assert held["trained"] < 0.55 * held["total"]
        # one number a weight is left of the model beside it
        assert held["beside"] < 100
    assert first["trained"] + second["trained"] >= first["total"]


def test_a_whole_run_saves_the_whole_model(sharded: Path, tiny_model: Path) -> None:
    folder = sharded / "whole run"
    assert read_json(folder / "train" / "manifest.json")["results"]["steps"] == 2
    tuned, base = (load_model(ModelRecipe(name=str(path))) for path in (folder / "model", tiny_model))
    after = dict(tuned.named_parameters())
    for key, weight in base.named_parameters():
        assert after[key].shape == weight.shape
    assert "nDCG@10" in (folder / "metrics.json").read_text(encoding="utf-8")


def problems(**train: Any) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        check_launch(TrainRecipe.model_validate(train))
    return [str(problem) for problem in caught.value.problems]


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("WORLD_SIZE", "ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"):
        monkeypatch.delenv(name, raising=False)
    yield


def test_one_process_has_nothing_to_share(monkeypatch: pytest.MonkeyPatch) -> None:
    (said,) = problems(fsdp=True)
    assert "train.fsdp" in said and "1 process" in said and "torchrun --nproc-per-node 2" in said
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_launch(TrainRecipe(fsdp=True))


def test_deepspeed_is_refused_with_a_way_out() -> None:
    (said,) = problems(deepspeed="zero3.json")
    assert "not supported" in said and "zero3.json" in said and "train.fsdp=true" in said


@pytest.mark.parametrize("option", ["fsdp", "deepspeed"])
def test_what_the_launcher_was_told_in_vain_is_said(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{option.upper()}", "true")
    (said,) = problems()
    assert f"--use_{option}" in said and "train.fsdp=true" in said


def test_everything_wrong_with_a_launch_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert len(problems(fsdp=True, deepspeed="zero3.json")) == 3

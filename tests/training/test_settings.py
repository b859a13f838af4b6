"""Every setting of FlagEmbedding's embedder fine-tuning, under its name here, changes what it says.

``CASES`` holds each row of docs/flagembedding-settings.md that one run against another can show; ``ELSEWHERE`` names
the test of each other row.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ragtune.data.records import Dataset, Passage
from ragtune.errors import DataError, ModelError, RecipeError
from ragtune.models import load_model
from ragtune.pipeline.tuning import tune
from ragtune.recipe import ModelRecipe, Recipe, TrainRecipe
from ragtune.training import telemetry
from ragtune.training.world import Launched, check_launch

HERE = Path(__file__).resolve().parent
Settings = dict[str, dict[str, Any]]
STEPS = 2


@final
@dataclass(frozen=True)
class Tuned:
    """A finished run: what it reported, its log and the saved model."""

    results: dict[str, Any]
    folder: Path
    said: str

    @property
    def log(self) -> list[dict[str, Any]]:
        """Log lines of steps."""
        lines = (self.folder / "train" / "log.jsonl").read_text(encoding="utf-8").splitlines()
        return [record for record in map(json.loads, lines) if "loss" in record]

    @property
    def weights(self) -> dict[str, Tensor]:
        """The saved model's weights."""
        return load_file(self.folder / "model" / "model.safetensors")

    def saved(self, name: str) -> Any:
        """One JSON file of the saved model."""
        return json.loads((self.folder / "model" / name).read_text(encoding="utf-8"))


def long_dataset(make: Callable[..., Dataset]) -> Dataset:
    """Passages of more than a hundred characters, so that augmentation finds something to cut."""
    dataset = make(with_candidates=True)
    for key, passage in dataset.corpus.items():
        dataset.corpus[key] = Passage(id=key, title=passage.title, text=" ".join([passage.text] * 6))
    del dataset.qrels["dev"]
    return dataset


@pytest.fixture(scope="module")
def tuned(
    tiny_model: Path, tiny_dataset: Callable[..., Dataset], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Settings], Tuned]:
    """``tuned({"train": {"epochs": 2}})``: a run of two steps with these settings; equal settings run once."""
    known: dict[str, Tuned] = {}

    def run(settings: Settings) -> Tuned:
        key = json.dumps(settings, sort_keys=True, default=str)
        if key not in known:
            known[key] = _run(settings, model=tiny_model, make=tiny_dataset, folder=tmp_path_factory.mktemp("run"))
        return known[key]

    return run


def _run(settings: Settings, *, model: Path, make: Callable[..., Dataset], folder: Path) -> Tuned:
    train = {"batch_size": 8, "epochs": 1, "max_steps": STEPS, "log_every_steps": 1, "precision": "fp32"}
    recipe = Recipe.model_validate(
        {
            "run": folder,
            "data": {"sources": ["first"], **settings.get("data", {})},
            "model": {"name": str(model), **settings.get("model", {})},
            "train": {**train, **settings.get("train", {})},
            "seed": 5,
        }
    )
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telemetry, "CEILING_SIZE", 64)
        launched = Launched(recipe.train, folder=folder)
        datasets = [long_dataset(make) for _ in recipe.data.sources]
        results = tune(recipe, datasets, folder=folder, launched=launched, say=lines.append)
    return Tuned(results=results, folder=folder, said="\n".join(lines))


@pytest.fixture(scope="module")
def folders(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Variants of the tiny model: other weights, another config, another tokenizer, one that cannot be packed."""
    root = tmp_path_factory.mktemp("variants")
    made = {name: root / name for name in ("weights", "config", "tokenizer", "padded")}
    for folder in made.values():
        shutil.copytree(tiny_model, folder)
    weights = load_file(tiny_model / "model.safetensors")
    save_file({k: v * 1.5 for k, v in weights.items()}, made["weights"] / "model.safetensors", {"format": "pt"})
    config = json.loads((tiny_model / "config.json").read_text(encoding="utf-8"))
    (made["config"] / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}), encoding="utf-8")
    settings = made["tokenizer"] / "tokenizer_config.json"
    told = json.loads(settings.read_text(encoding="utf-8"))
    settings.write_text(json.dumps(told | {"do_lower_case": False}), encoding="utf-8")
    _write_mpnet(made["padded"], vocabulary=config["vocab_size"])
    return made


def _write_mpnet(folder: Path, *, vocabulary: int) -> None:
    from transformers import MPNetConfig, MPNetModel

    (folder / "model.safetensors").unlink()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = MPNetConfig(
            vocab_size=vocabulary, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
            max_position_embeddings=150,
        )  # fmt: skip
        MPNetModel(config).eval().save_pretrained(folder)


def moved(a: Tuned, b: Tuned) -> bool:
    """Whether two runs ended with other weights."""
    first, second = a.weights, b.weights
    return first.keys() != second.keys() or any(not torch.equal(first[name], second[name]) for name in first)


def tokens(run: Tuned) -> int:
    return int(run.results["tokens"])


def steps(run: Tuned) -> int:
    return int(run.results["steps"])


def first(run: Tuned, key: str) -> Any:
    return run.log[0][key]


@final
@dataclass(frozen=True)
class Case:
    """Two settings of one key and what must hold between the run with the one and the run with the other."""

    changed: Settings
    shows: Callable[[Tuned, Tuned], bool]
    plain: Settings | None = None


def where(part: str, **settings: Any) -> Settings:
    return {part: settings}


KD = {"losses": ["kl_divergence"], "distillation": True}
TWO = {"sources": ["first", "second"]}

CASES: dict[str, Case] = {
    "model_name_or_path": Case(
        where("model", name="@weights"),
        lambda a, b: moved(a, b) and b.saved("ragtune.json")["base_model"].endswith("weights"),
    ),
    "config_name": Case(
        where("model", config="@config"),
        lambda a, b: (
            (a.saved("config.json")["num_hidden_layers"], b.saved("config.json")["num_hidden_layers"]) == (2, 1)
        ),
    ),
    "tokenizer_name": Case(
        where("model", tokenizer="@tokenizer"),
        lambda a, b: (
            moved(a, b) and [r.saved("tokenizer_config.json")["do_lower_case"] for r in (a, b)] == [True, False]
        ),
    ),
    "train_data": Case(
        where("data", **TWO),
        lambda a, b: b.results["training_queries"] == 2 * a.results["training_queries"],
    ),
    "train_group_size": Case(where("data", group_size=3), lambda a, b: tokens(b) > 1.5 * tokens(a)),
    "query_max_len": Case(
        where("model", query_max_tokens=4),
        lambda a, b: tokens(a) > tokens(b) and b.saved("ragtune.json")["query_max_tokens"] == 4,
    ),
    "passage_max_len": Case(
        where("model", passage_max_tokens=9),
        lambda a, b: tokens(a) > 2 * tokens(b) and b.saved("ragtune.json")["passage_max_tokens"] == 9,
    ),
    "pad_to_multiple_of": Case(
        {"model": {"name": "@padded"}, "train": {"pad_to_multiple_of": 64}},
        lambda a, b: 0 < first(a, "padding_share") < first(b, "padding_share"),
        plain={"model": {"name": "@padded"}},
    ),
    "max_example_num_per_dataset": Case(
        where("data", sources=[{"path": "first", "max_examples": 5}]),
        lambda a, b: b.results["training_queries"] == 5 < a.results["training_queries"],
    ),
    "query_instruction_for_retrieval": Case(
        where("model", query_prompt="cat: "),
        # three more tokens for each of the sixteen queries of two steps of eight
        lambda a, b: (
            tokens(b) - tokens(a) == STEPS * 8 * 2
            and b.saved("config_sentence_transformers.json")["prompts"]["query"] == "cat: "
        ),
    ),
    "query_instruction_format": Case(
        where("model", query_prompt="cat", query_prompt_format="{}: {}"),
        lambda a, b: tokens(b) - tokens(a) == STEPS * 8,
        plain=where("model", query_prompt="cat", query_prompt_format="{} {}"),
    ),
    "passage_instruction_for_retrieval": Case(
        where("model", passage_prompt="cat: "),
        lambda a, b: (
            tokens(b) - tokens(a) == STEPS * 8 * 2
            and b.saved("config_sentence_transformers.json")["prompts"]["document"] == "cat: "
        ),
    ),
    "passage_instruction_format": Case(
        where("model", passage_prompt="cat", passage_prompt_format="{}: {}"),
        lambda a, b: tokens(b) - tokens(a) == STEPS * 8,
        plain=where("model", passage_prompt="cat", passage_prompt_format="{} {}"),
    ),
    "knowledge_distillation": Case(
        {"data": {"group_size": 3}, "train": KD},
        lambda a, b: moved(a, b) and first(b, "parts").keys() == {"kl_divergence"},
        plain=where("data", group_size=3),
    ),
    "kd_loss_type": Case(
        {"data": {"group_size": 3}, "train": KD | {"losses": ["m3_distillation"]}},
        lambda a, b: moved(a, b) and first(b, "parts").keys() == {"m3_distillation"},
        plain={"data": {"group_size": 3}, "train": KD},
    ),
    "shuffle_ratio": Case(
        where("data", shuffle_ratio=1.0),
        lambda a, b: moved(a, b) and first(a, "loss") != first(b, "loss"),
    ),
    "same_dataset_within_batch": Case(
        where("data", **TWO, batch_from="one_dataset"), moved, plain=where("data", **TWO)
    ),
    "small_threshold": Case(
        where("data", **TWO, batch_from="one_dataset", small_threshold=100),
        lambda a, b: "merged for data.small_threshold=100" in b.said and moved(a, b),
        plain=where("data", **TWO, batch_from="one_dataset"),
    ),
    "drop_threshold": Case(
        where("data", sources=["first", {"path": "small", "max_examples": 3}], small_threshold=5, drop_threshold=5),
        lambda a, b: "left out" in b.said and a.results["training_queries"] == b.results["training_queries"] + 3,
        plain=where("data", sources=["first", {"path": "small", "max_examples": 3}], small_threshold=5),
    ),
    "temperature": Case(
        where("train", losses={"name": "softmax", "temperature": 1.0}),
        lambda a, b: moved(a, b) and first(a, "loss") != first(b, "loss"),
    ),
    "fix_position_embedding": Case(
        where("model", freeze={"position_embeddings": True}),
        lambda a, b: moved(a, b) and untouched(b, "position_embeddings") and not untouched(a, "position_embeddings"),
    ),
    "sentence_pooling_method": Case(
        where("model", pooling="cls"),
        lambda a, b: moved(a, b) and b.saved("1_Pooling/config.json") != a.saved("1_Pooling/config.json"),
    ),
    "normalize_embeddings": Case(
        where("model", normalize=False),
        lambda a, b: len(a.saved("modules.json")) == 3 and len(b.saved("modules.json")) == 2 and moved(a, b),
    ),
    "sub_batch_size": Case(
        {"model": {"name": "@padded"}, "train": {"micro_batch_tokens": 64}},
        lambda a, b: first(a, "padding_share") > first(b, "padding_share") and tokens(a) == tokens(b),
        plain={"model": {"name": "@padded"}},
    ),
    "learning_rate": Case(
        where("train", learning_rate=1e-4),
        lambda a, b: first(b, "learning_rate") == pytest.approx(2 * first(a, "learning_rate")) and moved(a, b),
    ),
    "fp16": Case(
        where("train", precision="fp16"),
        lambda a, b: (a.results["precision"], b.results["precision"]) == ("float32", "float16"),
    ),
    "bf16": Case(where("train", precision="bf16"), lambda a, b: b.results["precision"] == "bfloat16" and moved(a, b)),
    "num_train_epochs": Case(
        where("train", epochs=2, max_steps=None),
        lambda a, b: (steps(a), steps(b)) == (3, 6),
        plain=where("train", max_steps=None),
    ),
    "per_device_train_batch_size": Case(
        where("train", batch_size=4, max_steps=None),
        lambda a, b: (steps(a), steps(b)) == (3, 5),
        plain=where("train", max_steps=None),
    ),
    "dataloader_drop_last": Case(
        where("train", drop_last=True, max_steps=None),
        lambda a, b: (steps(a), steps(b)) == (3, 2),
        plain=where("train", max_steps=None),
    ),
    "warmup_ratio": Case(
        where("train", warmup_ratio=1.0),
        lambda a, b: first(b, "learning_rate") == pytest.approx(0.5 * first(a, "learning_rate")),
        plain=where("train", warmup_ratio=0.0),
    ),
    "logging_steps": Case(
        where("train", log_every_steps=2, max_steps=None),
        lambda a, b: ([line["step"] for line in a.log], [line["step"] for line in b.log]) == ([1, 2, 3], [2, 3]),
        plain=where("train", max_steps=None),
    ),
    "report_to": Case(
        where("train", trackers=["tensorboard"]),
        lambda a, b: not event_files(a) and bool(event_files(b)),
    ),
    "output_dir": Case(
        where("data", group_size=2), lambda a, b: a.folder != b.folder and (b.folder / "model").is_dir()
    ),
}

ELSEWHERE: dict[str, str] = {
    "cache_dir": "test_settings.py::test_downloads_are_kept_in_cache_dir",
    "trust_remote_code": "test_settings.py::test_code_of_a_model_runs_only_when_trusted",
    "token": "test_settings.py::test_the_token_is_never_written",
    "cache_path": "test_settings.py::test_tokenised_texts_are_kept_in_the_run",
    "negatives_cross_device": "test_distributed.py::test_two_processes_are_one_of_twice_the_rows",
    "gradient_checkpointing": "test_settings.py::test_gradient_checkpointing_computes_layers_twice",
    "deepspeed": "test_settings.py::test_deepspeed_is_refused",
    "save_steps": "test_checkpoint.py::test_best_weights_that_the_checkpoint_counts_on_outlive_better_ones",
    "overwrite_output_dir": "test_settings.py::test_overwrite_moves_the_other_run_aside",
}


def untouched(run: Tuned, part: str) -> bool:
    """Whether the run left these weights as the base model has them."""
    base = load_file(Path(run.saved("ragtune.json")["base_model"]) / "model.safetensors")
    return all(torch.equal(value, base[name]) for name, value in run.weights.items() if part in name)


def event_files(run: Tuned) -> list[Path]:
    return [path for path in run.folder.rglob("events.out.tfevents.*") if path.stat().st_size]


def filled_in(settings: Settings, folders: dict[str, Path]) -> Settings:
    """``@name`` stands for the folder of a variant of the model."""
    return {
        part: {k: str(folders[v[1:]]) if isinstance(v, str) and v.startswith("@") else v for k, v in values.items()}
        for part, values in settings.items()
    }


@pytest.mark.parametrize("setting", CASES)
def test_setting_changes_what_it_says(
    setting: str, tuned: Callable[[Settings], Tuned], folders: dict[str, Path]
) -> None:
    if setting == "report_to":
        pytest.importorskip("tensorboard")
    case = CASES[setting]
    assert case.shows(tuned(filled_in(case.plain or {}, folders)), tuned(filled_in(case.changed, folders)))


def test_every_row_of_the_page_is_shown_here(repository: Path) -> None:
    page = (repository / "docs" / "flagembedding-settings.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`[^|]+) \|[^|]*\| `[\w.\[\]]+` \|", page, re.MULTILINE)
    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == {*CASES, *ELSEWHERE}
    assert not CASES.keys() & ELSEWHERE.keys()
    for test in ELSEWHERE.values():
        file, _, function = test.partition("::")
        assert f"def {function}(" in (HERE / file).read_text(encoding="utf-8"), test


def test_equal_settings_give_equal_weights(tuned: Callable[[Settings], Tuned]) -> None:
    """So that a difference above is the setting's doing."""
    assert not moved(tuned({}), tuned(where("train", log_every_steps=2)))


@pytest.mark.parametrize("loss", ["kl_divergence", "m3_distillation", "margin_mse"])
def test_distillation_pulls_scores_to_the_teacher(
    loss: str, tuned: Callable[[Settings], Tuned], tiny_dataset: Callable[..., Dataset]
) -> None:
    settings = {"losses": [{"name": loss}], "distillation": True, "max_steps": 30, "epochs": 10, "learning_rate": 1e-3}
    run = tuned({"data": {"group_size": 3}, "train": settings})
    losses = [line["loss"] for line in run.log]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_distillation_without_teacher_names_source_and_query(
    tiny_model: Path, tiny_dataset: Callable[..., Dataset], tmp_path: Path
) -> None:
    settings: Settings = {"train": KD}
    with pytest.raises(DataError, match=r"first[\s\S]*20 of 20 queries without one, first 'q0'"):
        _run(settings, model=tiny_model, make=lambda **_: tiny_dataset(), folder=tmp_path)


def test_a_row_may_have_its_own_prompt(
    tiny_model: Path, tiny_dataset: Callable[..., Dataset], tmp_path: Path, tuned: Callable[[Settings], Tuned]
) -> None:
    def prompted(**settings: Any) -> Dataset:
        dataset = tiny_dataset(**settings)
        for query_id in dataset.qrels["train"]:
            query = dataset.queries[query_id]
            dataset.queries[query_id] = type(query)(id=query.id, text=query.text, metadata={"prompt": "cat: "})
        return dataset

    run = _run({"model": {"query_prompt": "cats cats cats cats "}}, model=tiny_model, make=prompted, folder=tmp_path)
    assert tokens(run) - tokens(tuned({})) == STEPS * 8 * 2


def test_frozen_passage_side_leaves_stored_vectors_right(
    tiny_model: Path, tiny_dataset: Callable[..., Dataset], tmp_path: Path, tuned: Callable[[Settings], Tuned]
) -> None:
    run = _run({"model": {"freeze": {"passage_side": True}}}, model=tiny_model, make=tiny_dataset, folder=tmp_path)
    plain = tuned({})
    assert tokens(run) < 0.5 * tokens(plain)
    assert moved(run, plain)
    assert run.saved("ragtune.json")["passage_model"] == str(tiny_model)


def test_downloads_are_kept_in_cache_dir(tiny_model: Path, tmp_path: Path) -> None:
    """A hub cache laid out by hand serves the name without a network; the default one knows nothing of it."""
    folder = tmp_path / "cache" / "models--ragtune-tests--tiny"
    shutil.copytree(tiny_model, folder / "snapshots" / ("a" * 40))
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("a" * 40, encoding="utf-8")
    model = load_model(ModelRecipe(name="ragtune-tests/tiny", cache_dir=tmp_path / "cache"))
    assert model.dims == 32
    with pytest.raises(ModelError, match="ragtune-tests/tiny"):
        load_model(ModelRecipe(name="ragtune-tests/tiny"))


CODE = """
from transformers import BertConfig, BertModel

class TinyConfig(BertConfig):
    model_type = "ragtune-own"

class TinyModel(BertModel):
    config_class = TinyConfig
"""


def test_code_of_a_model_runs_only_when_trusted(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    folder = tmp_path / "own-code"
    shutil.copytree(tiny_model, folder)
    (folder / "own.py").write_text(CODE, encoding="utf-8")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "ragtune-own", "auto_map": {"AutoConfig": "own.TinyConfig", "AutoModel": "own.TinyModel"}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelError, match="trust_remote_code"):
        load_model(ModelRecipe(name=str(folder)))
    trusted = load_model(ModelRecipe(name=str(folder), trust_remote_code=True))
    assert type(trusted.backbone).__name__ == "TinyModel"


def test_the_token_is_never_written(tiny_model: Path, tiny_dataset: Callable[..., Dataset], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    settings = {"model": {"token": "hf_verysecret"}, "train": {"trackers": ["tensorboard"]}}
    run = _run(settings, model=tiny_model, make=tiny_dataset, folder=tmp_path)
    files = [path for path in run.folder.rglob("*") if path.is_file()]
    assert event_files(run)
    assert not [path for path in files if b"hf_verysecret" in path.read_bytes()]
    assert "hf_verysecret" not in run.said


def test_tokenised_texts_are_kept_in_the_run(
    tiny_model: Path, tiny_dataset: Callable[..., Dataset], tmp_path: Path
) -> None:
    stamps = []
    for _ in range(2):
        _run({}, model=tiny_model, make=tiny_dataset, folder=tmp_path)
        files = (tmp_path / "train" / "tokens").rglob("*.npy")
        stamps.append({path: path.stat().st_mtime_ns for path in files})
    assert stamps[0] == stamps[1] and len(stamps[0]) == 4


def test_gradient_checkpointing_computes_layers_twice(
    tiny_model: Path, tiny_dataset: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And ends with the same weights."""
    from transformers.models.bert.modeling_bert import BertIntermediate

    calls: list[int] = []
    before = BertIntermediate.forward
    monkeypatch.setattr(BertIntermediate, "forward", lambda self, *a, **k: calls.append(1) or before(self, *a, **k))
    runs, counts = [], []
    for name, wanted in (("plain", False), ("again", True)):
        calls.clear()
        (tmp_path / name).mkdir()
        settings = {"train": {"gradient_checkpointing": wanted, "precision": "bf16"}}
        runs.append(_run(settings, model=tiny_model, make=tiny_dataset, folder=tmp_path / name))
        counts.append(len(calls))
    assert counts[1] - counts[0] == STEPS * 2 > 0
    assert not moved(*runs)


def test_deepspeed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"train\.deepspeed"):
        check_launch(TrainRecipe(deepspeed=tmp_path / "ds.json"))


def test_overwrite_moves_the_other_run_aside(
    tiny_model: Path, tiny_dataset: Callable[..., Dataset], tmp_path: Path
) -> None:
    from ragtune.pipeline import run_recipe

    def recipe(epochs: float, *, overwrite: bool) -> Recipe:
        return Recipe.model_validate(
            {
                "run": tmp_path / "run",
                "data": "given",
                "model": {"name": str(tiny_model)},
                "train": {"epochs": epochs, "precision": "fp32"},
                "evaluate": {"bm25": False, "resamples": 10, "measures": ["nDCG@10"]},
                "overwrite": overwrite,
            }
        )

    run_recipe(recipe(1, overwrite=False), datasets=[tiny_dataset()])
    with pytest.raises(ValueError, match="already holds something else"):
        run_recipe(recipe(2, overwrite=False), datasets=[tiny_dataset()])
    result = run_recipe(recipe(2, overwrite=True), datasets=[tiny_dataset()])
    assert "nDCG@10" in result.verdict
    assert (tmp_path / "run.previous-1" / "model").is_dir() and (tmp_path / "run" / "model").is_dir()

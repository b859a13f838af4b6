"""Loading: every form of folder and every setting; what cannot be read is refused with one clear error."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ragtune.errors import ModelError
from ragtune.models import load_model
from ragtune.models.builtin import BUILTIN, model_folder, verified
from ragtune.models.dense import DenseModel
from ragtune.recipe import ModelRecipe


def loaded(folder: Path | str, **settings: Any) -> DenseModel:
    model = load_model(ModelRecipe(name=str(folder), **settings))
    assert isinstance(model, DenseModel)
    return model


def refused(folder: Path | str, **settings: Any) -> str:
    with pytest.raises(ModelError) as caught:
        loaded(folder, **settings)
    (problem,) = caught.value.problems
    assert all((problem.what, problem.where, problem.found, problem.do))
    return str(problem)


def copy_of(folder: Path, to: Path, **files: Any) -> Path:
    """A copy with some files replaced: a string is written as it is, None deletes, anything else is JSON."""
    shutil.copytree(folder, to)
    for name, value in files.items():
        path = to / name.replace("__", "/").replace("_json", ".json")
        path.parent.mkdir(exist_ok=True)
        if value is None:
            path.unlink()
        else:
            path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return to


# Forms of folders


def test_bare_encoders_and_decoders_have_defaults(zoo: Callable[..., Path]) -> None:
    encoder, decoder = loaded(zoo("bert")), loaded(zoo("llama"))
    assert (encoder.head.pooling, encoder.head.normalize) == ("mean", True)
    assert (decoder.head.pooling, decoder.head.normalize) == ("last_token", True)
    assert decoder.backbone.config.use_cache is False
    changed = loaded(zoo("llama"), pooling="cls", normalize=False)
    assert (changed.head.pooling, changed.head.normalize) == ("cls", False)


def test_a_language_models_backbone_is_taken(zoo: Callable[..., Path], texts: list[str]) -> None:
    model = loaded(zoo("bert", "BertForMaskedLM"))
    assert type(model.backbone).__name__ == "BertModel"
    assert type(loaded(zoo("llama", "LlamaForCausalLM")).backbone).__name__ == "LlamaModel"
    assert np.isfinite(model.encode(texts, kind="query")).all()


def test_modules_may_lie_in_folders_of_their_own(tiny_model: Path, tmp_path: Path, texts: list[str]) -> None:
    """The oldest form: the backbone in 0_Transformer, weights of heads as pickled tensors."""
    folder = tmp_path / "old"
    shutil.copytree(tiny_model, folder / "0_Transformer", ignore=shutil.ignore_patterns("modules.json", "?_*"))
    shutil.copytree(tiny_model / "1_Pooling", folder / "1_Pooling")
    (folder / "2_Dense").mkdir()
    torch.manual_seed(0)
    linear = torch.nn.Linear(32, 5)
    torch.save({f"linear.{k}": v for k, v in linear.state_dict().items()}, folder / "2_Dense" / "pytorch_model.bin")
    dense = {
        "in_features": 32,
        "out_features": 5,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    }
    (folder / "2_Dense" / "config.json").write_text(json.dumps(dense))
    kinds = [("0_Transformer", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense")]
    modules = [
        {"idx": i, "name": str(i), "path": p, "type": f"sentence_transformers.models.{k}"}
        for i, (p, k) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    model = loaded(folder)
    assert (model.dims, model.head.normalize, model.settings["query"].max_tokens) == (5, False, 128)
    pooled = torch.from_numpy(loaded(tiny_model, normalize=False).encode(texts, kind="query"))
    np.testing.assert_allclose(model.encode(texts, kind="query"), linear(pooled).tanh().detach(), atol=1e-6)
    peer = __import__("sentence_transformers").SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(model.encode(texts, kind="query"), peer.encode(texts), atol=1e-6)


def test_old_lower_casing_is_done(tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = json.loads((tiny_model / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["normalizer"]["lowercase"] = False
    settings = json.loads((tiny_model / "tokenizer_config.json").read_text())
    files = {"tokenizer_json": tokenizer, "tokenizer_config_json": settings | {"do_lower_case": False}}
    cased = copy_of(tiny_model, tmp_path / "cased", **files)
    lower = {"sentence_bert_config_json": {"max_seq_length": 64, "do_lower_case": True}}
    folder = copy_of(cased, tmp_path / "lower", **lower)
    expected = loaded(cased).tokenize(["the cat sleeps"], kind="query")[0]
    assert loaded(folder).tokenize(["The CAT sleeps"], kind="query")[0].tolist() == expected.tolist()
    assert loaded(cased).tokenize(["The CAT sleeps"], kind="query")[0].tolist() != expected.tolist()
    loaded(folder).save(tmp_path / "saved")
    again = loaded(tmp_path / "saved")
    assert again.tokenize(["The CAT sleeps"], kind="query")[0].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("prompts", "default", "expected"),
    [
        ({}, None, ("", "")),
        ({"query": "q: ", "document": "d: "}, None, ("q: ", "d: ")),
        ({"query": "q: ", "passage": "p: "}, None, ("q: ", "p: ")),
        ({"web_search_query": "w: "}, None, ("w: ", "")),
        ({"query": "q: "}, "query", ("q: ", "q: ")),
        ({"清": "清："}, "清", ("清：", "清：")),
    ],
)
def test_prompts_of_the_folder_are_used(
    tiny_model: Path, tmp_path: Path, prompts: dict[str, str], default: str | None, expected: tuple[str, str]
) -> None:
    files = {"config_sentence_transformers_json": {"prompts": prompts, "default_prompt_name": default}}
    folder = copy_of(tiny_model, tmp_path / "m", **files)
    model = loaded(folder)
    assert (model.settings["query"].prompt, model.settings["passage"].prompt) == expected
    assert loaded(folder, query_prompt="").settings["query"].prompt == ""
    assert loaded(folder, passage_prompt="mine ").settings["passage"].prompt == "mine "


# Settings


def test_limits(tiny_model: Path, zoo: Callable[..., Path], tmp_path: Path) -> None:
    model = loaded(tiny_model, query_max_tokens=7)
    assert (model.settings["query"].max_tokens, model.settings["passage"].max_tokens) == (7, 128)
    assert "set it to 128 or less" in refused(tiny_model, passage_max_tokens=129)
    config = json.loads((zoo("roberta") / "tokenizer_config.json").read_text())
    files = {"tokenizer_config_json": config | {"model_max_length": 10**30}}
    unlimited = copy_of(zoo("roberta"), tmp_path / "unlimited", **files)
    # 262 rows, of which the first two are no positions
    assert loaded(unlimited).settings["passage"].max_tokens == 260
    assert np.isfinite(loaded(unlimited).encode(["cat " * 999], kind="passage")).all()
    long = {"sentence_bert_config_json": {"max_seq_length": 4096}}
    assert loaded(copy_of(tiny_model, tmp_path / "long", **long)).settings["query"].max_tokens == 128


@pytest.mark.parametrize("limit", [1, 2])
def test_a_limit_without_room_for_text_is_refused(tiny_model: Path, limit: int) -> None:
    assert "query_max_tokens" in refused(tiny_model, query_max_tokens=limit)


def test_another_config_and_another_tokenizer(tiny_model: Path, zoo: Callable[..., Path], tmp_path: Path) -> None:
    config = json.loads((tiny_model / "config.json").read_text())
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps(config | {"hidden_act": "relu"}))
    text = ["a cat sleeps"]
    model, changed = loaded(tiny_model), loaded(tiny_model, config=str(other))
    assert changed.backbone.config.hidden_act == "relu"
    assert np.abs(model.encode(text, kind="query") - changed.encode(text, kind="query")).max() > 1e-6
    swapped = loaded(tiny_model, tokenizer=str(zoo("roberta")))
    assert swapped.tokenize(text, kind="query")[0][0] == 0 != model.tokenize(text, kind="query")[0][0]
    large = str(model_folder(ModelRecipe()))
    assert "30522 tokens for an embedding table of 520 rows" in refused(tiny_model, tokenizer=large)


def test_a_models_own_code_runs_only_when_trusted(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "code"))
    config = json.loads((tiny_model / "config.json").read_text())
    own = config | {
        "model_type": "tiny-own",
        "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"},
    }
    code = (
        "from transformers import BertConfig, BertModel\n"
        "class OwnConfig(BertConfig):\n    model_type = 'tiny-own'\n"
        "class OwnModel(BertModel):\n    config_class = OwnConfig\n"
    )
    files = {"config_json": own}
    folder = copy_of(tiny_model, tmp_path / "own", **files)
    (folder / "own.py").write_text(code)
    assert "trust_remote_code=true" in refused(folder)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    model = loaded(folder, trust_remote_code=True)
    assert type(model.backbone).__name__ == "OwnModel"
    assert np.isfinite(model.encode(["a cat"], kind="query")).all()


# The hub: its cache's layout is made by hand, no network


def hub_cache(root: Path, *, name: str, revisions: dict[str, Path]) -> Path:
    repo = root / ("models--" + name.replace("/", "--"))
    for number, (revision, folder) in enumerate(revisions.items()):
        commit = f"{number + 1}" * 40
        shutil.copytree(folder, repo / "snapshots" / commit)
        (repo / "refs").mkdir(exist_ok=True)
        (repo / "refs" / revision).write_text(commit)
    return root


def test_a_hub_name_revision_and_cache_are_used(tiny_model: Path, zoo: Callable[..., Path], tmp_path: Path) -> None:
    cache = hub_cache(tmp_path / "hub", name="someone/model", revisions={"main": tiny_model, "v2": zoo("roberta")})
    first, second = (loaded("someone/model", cache_dir=cache, revision=revision) for revision in (None, "v2"))
    assert (first.backbone.config.model_type, second.backbone.config.model_type) == ("bert", "roberta")
    assert first.name == "someone/model"
    assert "someone/model" in refused("someone/model")
    assert "someone/model" in refused("someone/model", cache_dir=cache, revision="v3")


def test_the_token_goes_to_the_hub_and_nowhere_else(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def snapshot_download(name: str, **options: Any) -> str:
        asked.append({"name": name, **options})
        return str(tiny_model)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    model = loaded("someone/model", token="hf_secret", revision="v9", cache_dir=tmp_path)
    (options,) = asked
    assert {key: options[key] for key in ("name", "token", "revision", "cache_dir")} == {
        "name": "someone/model",
        "token": "hf_secret",
        "revision": "v9",
        "cache_dir": tmp_path,
    }
    model.save(tmp_path / "saved")
    assert not [p for p in (tmp_path / "saved").rglob("*") if p.is_file() and b"hf_secret" in p.read_bytes()]
    assert "hf_secret" not in repr(ModelRecipe(token="hf_secret"))


@pytest.mark.parametrize(
    "name", ["nosuch-model", "no/such", "bad name!", "a--b/c", "-x", "../no", "/no/such", "~/no/x", ""]
)
def test_a_name_that_leads_nowhere_is_refused(name: str, tmp_path: Path) -> None:
    refused(name, cache_dir=tmp_path)


def test_a_file_is_no_folder(tiny_model: Path) -> None:
    assert "a file" in refused(tiny_model / "config.json")


# Folders that are broken

BROKEN = {
    "no config": {"config_json": None},
    "empty config": {"config_json": ""},
    "config is a list": {"config_json": []},
    "config of an unknown model": {"config_json": {"model_type": "no-such-model"}},
    "config says nothing": {"config_json": {}},
    "config of another size": {"config_json": {"model_type": "bert", "hidden_size": 48}},
    "config of another model": {"config_json": {"model_type": "distilbert"}},
    "config is nonsense": {"config_json": {"model_type": "bert", "hidden_size": "wide"}},
    "no weights": {"model.safetensors": None},
    "weights are text": {"model.safetensors": "not weights"},
    "weights are empty": {"model.safetensors": ""},
    "no tokenizer": {"tokenizer_json": None, "tokenizer_config_json": None},
    "tokenizer is broken": {"tokenizer_json": '{"version": "1.0"'},
    "tokenizer is something else": {"tokenizer_json": {"a": 1}},
    "modules is no JSON": {"modules_json": "["},
    "modules is a number": {"modules_json": 7},
    "a module without a type": {"modules_json": [{"path": ""}]},
    "modules is empty": {"modules_json": []},
    "pooling by maximum": {"1_Pooling__config_json": {"pooling_mode_max_tokens": True}},
    "pooling twice": {"1_Pooling__config_json": {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}},
    "pooling says nothing": {"1_Pooling__config_json": {}},
    "pooling without the prompt": {
        "1_Pooling__config_json": {"pooling_mode_mean_tokens": True, "include_prompt": False}
    },
    "ragtune.json is broken": {"ragtune_json": "{"},
    "ragtune.json of another family": {"ragtune_json": {"family": "colbert"}},
    "broken UTF-8 stands for nothing": {"config_sentence_transformers_json": "{"},
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_folder_is_refused(tiny_model: Path, tmp_path: Path, what: str) -> None:
    text = refused(copy_of(tiny_model, tmp_path / "broken", **BROKEN[what]))
    assert str(tmp_path) in text


def test_cut_off_weights_and_broken_utf8_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    cut = copy_of(tiny_model, tmp_path / "cut")
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    refused(cut)
    broken = copy_of(tiny_model, tmp_path / "utf8")
    (broken / "modules.json").write_bytes(b'[{"path": "\xff\xfe"}]')
    refused(broken)


def test_weights_that_lack_a_layer_are_refused_not_filled_with_chance(tiny_model: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = copy_of(tiny_model, tmp_path / "lacking")
    state = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in state.items() if "layer.1." not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    assert "not complete" in refused(folder)
    # the names of the oldest checkpoints, bert-base-uncased among them
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    renamed = {
        next((name.replace(new, was) for new, was in old.items() if name.endswith(new)), name): value
        for name, value in state.items()
    }
    assert renamed.keys() != state.keys()
    save_file(
        {f"bert.{name}": value for name, value in renamed.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    expected = loaded(tiny_model).encode(["a cat"], kind="query")
    assert np.array_equal(loaded(folder).encode(["a cat"], kind="query"), expected)
    # a pooler is never used, and many published encoders have none
    kept = {name: value for name, value in state.items() if not name.startswith("pooler.")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    assert np.array_equal(loaded(folder).encode(["a cat"], kind="query"), expected)


def test_a_dense_module_of_an_unknown_activation_or_shape_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    loaded(tiny_model, projection_dims=8).save(tmp_path / "good")
    config = json.loads((tmp_path / "good" / "2_Dense" / "config.json").read_text())
    odd = {"2_Dense__config_json": config | {"activation_function": "my.Own"}}
    assert "my.Own" in refused(copy_of(tmp_path / "good", tmp_path / "odd", **odd))
    wide = {"2_Dense__config_json": config | {"out_features": 9}}
    refused(copy_of(tmp_path / "good", tmp_path / "wide", **wide))
    refused(copy_of(tmp_path / "good", tmp_path / "none", **{"2_Dense__model.safetensors": None}))


# Models of other families

FOREIGN = {
    "sparse": ["sentence_transformers.sparse_encoder.models.MLMTransformer", "sentence_transformers.models.Pooling"],
    "late interaction": ["sentence_transformers.models.Transformer", "pylate.models.Dense.Dense"],
    "no pooling": ["sentence_transformers.models.Transformer"],
    "static": ["sentence_transformers.models.StaticEmbedding"],
    "pictures": ["sentence_transformers.models.CLIPModel"],
}


@pytest.mark.parametrize("what", FOREIGN)
def test_modules_of_another_family_are_refused(tiny_model: Path, tmp_path: Path, what: str) -> None:
    paths = ["", "1_Pooling"]
    modules = [{"path": path, "type": kind} for path, kind in zip(paths, FOREIGN[what], strict=False)]
    assert "family 'dense'" in refused(copy_of(tiny_model, tmp_path / "m", **{"modules_json": modules}))


@pytest.mark.parametrize("declared", ["SparseEncoder", "CrossEncoder", "ColBERT"])
def test_a_declared_other_family_is_refused(tiny_model: Path, tmp_path: Path, declared: str) -> None:
    files: dict[str, Any] = {"config_sentence_transformers_json": {"model_type": declared}}
    assert declared in refused(copy_of(tiny_model, tmp_path / "with-modules", **files))
    assert declared in refused(copy_of(tiny_model, tmp_path / "without", **files, modules_json=None))


@pytest.mark.parametrize("architecture", ["BertForSequenceClassification", "BertForTokenClassification"])
def test_a_classifier_is_refused(zoo: Callable[..., Path], architecture: str) -> None:
    assert architecture in refused(zoo("bert", architecture))


def test_an_encoder_with_a_decoder_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    files = {"config_json": {"model_type": "t5", "d_model": 8}, "modules_json": None}
    assert "t5" in refused(copy_of(tiny_model, tmp_path / "t5", **files))


# The built-in model


def test_the_builtin_model_is_the_published_one_and_loads() -> None:
    model = loaded("builtin:minilm")
    assert (model.dims, model.head.pooling, model.head.normalize, model.packed) == (384, "mean", True, True)
    near, far = (
        model.encode(["a cat", "a kitten", "tax law"], kind="query")[0]
        @ model.encode(["a kitten", "tax law"], kind="passage").T
    )
    assert near > far + 0.3


def test_other_weights_under_the_builtin_name_are_refused(tmp_path: Path) -> None:
    folder = copy_of(model_folder(ModelRecipe()), tmp_path / "m")
    sha256 = BUILTIN["builtin:minilm"].sha256
    assert verified(folder, sha256=sha256) == folder
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(ModelError, match="not the published ones"):
        verified(folder, sha256=sha256)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no file"):
        verified(folder, sha256=sha256)


def test_an_unknown_builtin_name_gets_a_suggestion() -> None:
    assert "did you mean 'builtin:minilm'" in refused("builtin:minilml")

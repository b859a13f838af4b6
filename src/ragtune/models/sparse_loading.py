"""Loading a sparse encoder: a SparseEncoder folder, or any masked-language model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ragtune.errors import ModelError, Problem
from ragtune.models.base import KINDS
from ragtune.models.builtin import model_folder
from ragtune.models.dense_loading import backbone_config, pack, text_settings
from ragtune.models.folders import DenseFolder, reading
from ragtune.models.pretrained import access, check_complete, length_limit, load_tokenizer, quiet, set_dropout
from ragtune.models.sparse import MlmHead, SparseModel, SparseReading
from ragtune.recipe import ModelRecipe
from ragtune.run import read_json


def load_sparse(recipe: ModelRecipe) -> SparseModel:
    """Load a sparse encoder. Raises ``ModelError`` when it is missing, unreadable or without a masked-language head."""
    folder = model_folder(recipe)
    said = _read(folder)
    config = backbone_config(recipe, said)
    tokenizer = load_tokenizer(recipe, recipe.tokenizer or said.backbone, rows=getattr(config, "vocab_size", None))
    network = _network(recipe, said.backbone, config)
    backbone = network.base_model
    bounds = tokenizer.num_special_tokens_to_add() + 1, length_limit(backbone, tokenizer)
    settings = {kind: text_settings(recipe, said, kind=kind, bounds=bounds) for kind in KINDS}
    if recipe.dropout is not None:
        set_dropout(network, recipe.dropout)
    asked, own = recipe.sparse, said.ragtune
    model = SparseModel(
        name=recipe.name,
        backbone=backbone,
        head=MlmHead(network),
        tokenizer=tokenizer,
        settings=settings,
        reading=SparseReading(
            terms={
                "query": asked.query_terms or own.get("query_terms"),
                "passage": asked.passage_terms or own.get("passage_terms"),
            },
            flops={"query": asked.query_flops, "passage": asked.passage_flops},
            warmup=asked.flops_warmup,
        ),
    )
    model.notes = {key: own[key] for key in ("base_model",) if key in own}
    model.packed = pack(model)
    return model.eval()


def _read(folder: Path) -> DenseFolder:
    with reading(folder):
        found = DenseFolder(backbone=folder)
        if (folder / "ragtune.json").is_file():
            found.ragtune = dict(read_json(folder / "ragtune.json"))
        if (folder / "modules.json").is_file():
            _read_modules(found, folder)
    return found


def _read_modules(found: DenseFolder, folder: Path) -> None:
    config = read_json(folder / "config_sentence_transformers.json")
    kinds = {str(m["type"]).rpartition(".")[2]: folder / m["path"] for m in read_json(folder / "modules.json")}
    known = set(kinds) in ({"Transformer", "SpladePooling"}, {"MLMTransformer", "SpladePooling"})
    pooling = read_json(kinds["SpladePooling"] / "config.json") if known else {}
    shape = pooling.get("pooling_strategy", "max"), pooling.get("activation_function", "relu")
    if config.get("model_type") != "SparseEncoder" or not known or shape != ("max", "relu"):
        raise _wrong(folder, found=f"modules {', '.join(kinds)} {' '.join(shape) if known else ''}".strip())
    found.backbone = kinds.get("Transformer") or kinds["MLMTransformer"]
    transformer = found.backbone / "sentence_bert_config.json"
    limits = read_json(transformer) if transformer.is_file() else {}
    found.max_tokens, found.lowercase = limits.get("max_seq_length"), bool(limits.get("do_lower_case"))
    prompts = config.get("prompts") or {}
    found.query_prompt, found.passage_prompt = prompts.get("query"), prompts.get("document")
    terms = config.get("max_active_dims")
    for kind in KINDS:
        found.ragtune.setdefault(f"{kind}_terms", terms)


def _network(recipe: ModelRecipe, folder: Path, config: Any) -> Any:
    from transformers import AutoModelForMaskedLM

    with quiet(), reading(folder):
        network, loaded = AutoModelForMaskedLM.from_pretrained(
            folder, config=config, dtype=torch.float32, output_loading_info=True, **access(recipe)
        )
        try:
            check_complete(folder, missing=loaded["missing_keys"])
        except ModelError as error:
            raise _wrong(folder, found=error.problems[0].found) from error
    network.config.use_cache = False
    return network


def _wrong(folder: Path, *, found: str) -> ModelError:
    return ModelError(
        Problem(
            what="the model folder is not of the family 'sparse'",
            where=str(folder),
            found=found,
            do="give a SparseEncoder of a max-pooled masked-language model, or a masked-language model with its head",
        )
    )

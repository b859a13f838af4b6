"""Loading a dense model: a sentence-transformers folder, or any bare Hugging Face encoder or decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ragtune.errors import ModelError, Problem
from ragtune.models import packing
from ragtune.models.base import KINDS, Kind, TextSettings, TokenBatch
from ragtune.models.builtin import model_folder
from ragtune.models.dense import DenseHead, DenseModel
from ragtune.models.folders import DenseFolder, read_folder
from ragtune.recipe import ModelRecipe, Pooling

# A head over the backbone says that the weights were tuned for another family
OTHER_FAMILIES = {
    "ForSequenceClassification": "a classifier or reranker",
    "ForTokenClassification": "a token classifier",
    "ForQuestionAnswering": "a span reader",
}


def load_dense(recipe: ModelRecipe) -> DenseModel:
    """Load a dense model. Raises ``ModelError`` when the folder is missing, unreadable or of another family."""
    folder = model_folder(recipe)
    said = read_folder(folder)
    config = _config(recipe, said)
    tokenizer = _tokenizer(recipe, said)
    backbone = _backbone(recipe, said, config)
    head = DenseHead(pooling=_pooling(recipe, said, config), normalize=_normalize(recipe, said))
    heads = list(said.heads)
    if recipe.projection_dims is not None:
        width = heads[-1][0].out_features if heads else config.hidden_size  # type: ignore[index]
        heads.append(nn.Sequential(nn.Linear(width, recipe.projection_dims, bias=False), nn.Identity()))
    settings = {kind: _settings(recipe, said, kind=kind, limit=_limit(config, tokenizer)) for kind in KINDS}
    if recipe.dropout is not None:
        _set_dropout(backbone, recipe.dropout)
    model = DenseModel(
        name=recipe.name, backbone=backbone, tokenizer=tokenizer, head=head, settings=settings, heads=heads
    )
    model.notes = {key: said.ragtune[key] for key in ("base_model", "passage_model") if key in said.ragtune}
    model.packed = _pack(model)
    return model.eval()


def _unreadable(where: object, error: Exception) -> ModelError:
    return ModelError(
        Problem(
            what="the model cannot be read",
            where=str(where),
            found=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
            do="check that the folder holds config.json, the weights and the tokenizer's files",
        )
    )


def _config(recipe: ModelRecipe, said: DenseFolder) -> Any:
    from transformers import AutoConfig

    source = recipe.config or said.backbone
    try:
        config = AutoConfig.from_pretrained(
            source, trust_remote_code=recipe.trust_remote_code, cache_dir=recipe.cache_dir
        )
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(source, error) from error
    for architecture in config.architectures or ():
        for ending, what in OTHER_FAMILIES.items():
            if architecture.endswith(ending):
                raise ModelError(
                    Problem(
                        what="the model folder is not of the family 'dense'",
                        where=str(source),
                        found=f"{architecture}: {what}",
                        do="give an embedding model or a bare encoder",
                    )
                )
    return config


def _tokenizer(recipe: ModelRecipe, said: DenseFolder) -> Any:
    from transformers import AutoTokenizer

    source = recipe.tokenizer or said.backbone
    try:
        return AutoTokenizer.from_pretrained(
            source, trust_remote_code=recipe.trust_remote_code, cache_dir=recipe.cache_dir, token=recipe.token
        )
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(source, error) from error


def _backbone(recipe: ModelRecipe, said: DenseFolder, config: Any) -> Any:
    from transformers import AutoModel
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        backbone = AutoModel.from_pretrained(
            said.backbone,
            config=config,
            dtype=torch.float32,
            attn_implementation="sdpa",
            trust_remote_code=recipe.trust_remote_code,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _unreadable(said.backbone, error) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    backbone.config.use_cache = False
    return backbone


def _is_decoder(config: Any) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as MASKED

    return config.model_type in CAUSAL and config.model_type not in MASKED


def _pooling(recipe: ModelRecipe, said: DenseFolder, config: Any) -> Pooling:
    return recipe.pooling or said.pooling or ("last_token" if _is_decoder(config) else "mean")


def _normalize(recipe: ModelRecipe, said: DenseFolder) -> bool:
    if recipe.normalize is not None:
        return recipe.normalize
    return True if said.normalize is None else said.normalize


def _limit(config: Any, tokenizer: Any) -> int:
    """Longest input in tokens that the position table and the tokenizer allow."""
    positions = getattr(config, "max_position_embeddings", None) or 10**6
    if config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        positions -= config.pad_token_id + 1
    return int(min(positions, tokenizer.model_max_length if tokenizer.model_max_length < 10**6 else positions))


def _settings(recipe: ModelRecipe, said: DenseFolder, *, kind: Kind, limit: int) -> TextSettings:
    own = said.ragtune
    asked = {"query": recipe.query_max_tokens, "passage": recipe.passage_max_tokens}[kind]
    if asked is not None and asked > limit:
        raise ModelError(
            Problem(
                what=f"model.{kind}_max_tokens is more than the model reads",
                where=recipe.name,
                found=str(asked),
                do=f"set it to {limit} or less",
            )
        )
    max_tokens = asked or own.get(f"{kind}_max_tokens") or min(said.max_tokens or limit, limit)
    prompt = {"query": recipe.query_prompt, "passage": recipe.passage_prompt}[kind]
    if prompt is None:
        folder_prompt = {"query": said.query_prompt, "passage": said.passage_prompt}[kind]
        prompt = own.get(f"{kind}_prompt", folder_prompt) or ""
    format_ = {"query": recipe.query_prompt_format, "passage": recipe.passage_prompt_format}[kind]
    if format_ == "{}{}":
        format_ = own.get(f"{kind}_prompt_format", format_)
    return TextSettings(prompt=prompt, format=format_, max_tokens=max_tokens)


def _set_dropout(backbone: nn.Module, share: float) -> None:
    for module in backbone.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = share  # type: ignore[assignment]


def _pack(model: DenseModel) -> bool:
    """Switch to packed attention where three sequences give the same vectors as with padding; say whether it did.

    The probe, not a list of architectures, decides: a model with attention windows, biases or positions of its own
    fails it and keeps padding.
    """
    if not getattr(model.backbone, "_supports_attention_backend", False):
        return False
    packing.register()
    ids = torch.arange(5, 5 + 29) % model.backbone.config.vocab_size
    batch = TokenBatch(ids_N=ids, lengths_B=torch.tensor([17, 9, 3]))
    model.eval()
    with torch.inference_mode():
        padded = model(batch)
        model.backbone.set_attn_implementation(packing.NAME)
        model.packed = True
        try:
            same = torch.allclose(model(batch), padded, rtol=1e-3, atol=1e-4)
        except (TypeError, ValueError, RuntimeError, AssertionError):
            same = False
    if not same:
        model.backbone.set_attn_implementation("sdpa")
        model.packed = False
    return same


def save_folder_of(path: str | Path) -> Path:
    """The model folder of a run, or the folder itself."""
    folder = Path(path)
    return folder / "model" if (folder / "model" / "modules.json").is_file() else folder

"""Loading a dense model: a sentence-transformers folder, or any bare Hugging Face encoder or decoder."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ragtune.errors import ModelError, Problem, RecipeError
from ragtune.models import packing
from ragtune.models.base import KINDS, Kind, TextSettings, TokenBatch
from ragtune.models.builtin import model_folder
from ragtune.models.dense import DenseHead, DenseModel
from ragtune.models.folders import DenseFolder, read_folder, reading, wrong_family
from ragtune.models.pretrained import (
    access,
    check_complete,
    is_decoder,
    length_limit,
    load_tokenizer,
    quiet,
    set_dropout,
)
from ragtune.models.transformer import TransformerEncoder
from ragtune.recipe import ModelRecipe, Pooling
from ragtune.run import read_json

# The probe of packing stays short; wider windows (4,096 in Mistral) have the same code
PROBED_WINDOW = 256
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
    if said.adapter is not None:
        said.backbone = adapter_base(recipe, said, said.adapter)
    config = backbone_config(recipe, said)
    own = said.adapter is not None and (said.adapter / "tokenizer_config.json").is_file()
    source = recipe.tokenizer or (said.adapter if said.adapter is not None and own else said.backbone)
    tokenizer = load_tokenizer(recipe, source, rows=getattr(config, "vocab_size", None))
    backbone = load_backbone(recipe, said, config)
    head = DenseHead(pooling=_pooling(recipe, said, config), normalize=_normalize(recipe, said))
    heads = list(said.heads)
    if recipe.projection_dims is not None:
        width = heads[-1][0].out_features if heads else config.hidden_size  # type: ignore[index]
        heads.append(_new_head(recipe, width))
    bounds = tokenizer.num_special_tokens_to_add() + 1, length_limit(backbone, tokenizer)
    settings = {kind: text_settings(recipe, said, kind=kind, bounds=bounds) for kind in KINDS}
    if recipe.dropout is not None:
        set_dropout(backbone, recipe.dropout)
    model = DenseModel(
        name=recipe.name, backbone=backbone, tokenizer=tokenizer, head=head, settings=settings, heads=heads
    )
    model.notes = {key: said.ragtune[key] for key in ("base_model", "passage_model") if key in said.ragtune}
    model.packed = pack(model)
    return model.eval()


def _new_head(recipe: ModelRecipe, width: int) -> nn.Sequential:
    """A projection head; its weights are random until the axes are known. Raises ``RecipeError`` for too many axes."""
    dims = recipe.projection_dims
    assert dims is not None
    if recipe.projection_init == "principal_axes" and dims > width:
        raise RecipeError(
            Problem(
                what="principal axes are at most as many as the vectors' dimensions",
                where="model.projection_dims",
                found=f"{dims}, while {recipe.name} gives {width}",
                do=f"set model.projection_dims to {width} or less",
            )
        )
    return nn.Sequential(nn.Linear(width, dims, bias=False), nn.Identity())


def adapter_base(recipe: ModelRecipe, said: DenseFolder, adapter: Path) -> Path:
    """The backbone's folder that an adapter was trained on."""
    with reading(adapter):
        config = read_json(adapter / "adapter_config.json")
        own = str(said.ragtune.get("base_model", ""))
        name = own if own.startswith("builtin:") else str(config["base_model_name_or_path"])
        base = recipe.model_copy(update={"name": name, "revision": config.get("revision")})
    return read_folder(model_folder(base)).backbone


def backbone_config(recipe: ModelRecipe, said: DenseFolder) -> Any:
    """The backbone's configuration. Raises ``ModelError`` for a model of another family."""
    from transformers import AutoConfig

    source = recipe.config or said.backbone
    with reading(source):
        config = AutoConfig.from_pretrained(source, **access(recipe))
    for architecture in config.architectures or ():
        for ending, what in OTHER_FAMILIES.items():
            if architecture.endswith(ending):
                raise wrong_family(source, found=f"{architecture}: {what}")
    if getattr(config, "is_encoder_decoder", False):
        raise wrong_family(source, found=f"{config.model_type}: an encoder with a decoder")
    return config


def load_backbone(recipe: ModelRecipe, said: DenseFolder, config: Any) -> Any:
    """The network that gives token states, in fp32, an adapter merged into it."""
    from transformers import AutoModel

    with quiet(), reading(said.backbone):
        backbone, loaded = AutoModel.from_pretrained(
            said.backbone, config=config, dtype=torch.float32, output_loading_info=True, **access(recipe)
        )
        check_complete(said.backbone, missing=loaded["missing_keys"])
        if said.adapter is not None:
            backbone = _merged(backbone, said.adapter)
    backbone.config.use_cache = False
    return backbone


def _merged(backbone: Any, adapter: Path) -> Any:
    from peft import PeftModel

    with warnings.catch_warnings():
        # PEFT 0.21 asks by the name that transformers 5.23 has renamed
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        return PeftModel.from_pretrained(backbone, adapter).merge_and_unload()


def _pooling(recipe: ModelRecipe, said: DenseFolder, config: Any) -> Pooling:
    return recipe.pooling or said.pooling or ("last_token" if is_decoder(config) else "mean")


def _normalize(recipe: ModelRecipe, said: DenseFolder) -> bool:
    if recipe.normalize is not None:
        return recipe.normalize
    return True if said.normalize is None else said.normalize


def text_settings(recipe: ModelRecipe, said: DenseFolder, *, kind: Kind, bounds: tuple[int, int]) -> TextSettings:
    """How a kind of text is read: the recipe before ``ragtune.json`` before the folder; lengths within ``bounds``."""
    own = said.ragtune
    least, limit = bounds
    asked = {"query": recipe.query_max_tokens, "passage": recipe.passage_max_tokens}[kind]
    if asked is not None and not least <= asked <= limit:
        few = asked < least
        raise ModelError(
            Problem(
                what=f"model.{kind}_max_tokens "
                + ("leaves no room for text" if few else "is more than the model reads"),
                where=recipe.name,
                found=str(asked),
                do=f"set it to {least} or more" if few else f"set it to {limit} or less",
            )
        )
    max_tokens = asked or min(own.get(f"{kind}_max_tokens") or said.max_tokens or limit, limit)
    prompt = {"query": recipe.query_prompt, "passage": recipe.passage_prompt}[kind]
    if prompt is None:
        folder_prompt = {"query": said.query_prompt, "passage": said.passage_prompt}[kind]
        prompt = own.get(f"{kind}_prompt", folder_prompt) or ""
    format_ = {"query": recipe.query_prompt_format, "passage": recipe.passage_prompt_format}[kind]
    if format_ == "{}{}":
        format_ = own.get(f"{kind}_prompt_format", format_)
    return TextSettings(prompt=prompt, format=format_, max_tokens=max_tokens, lowercase=said.lowercase)


def pack(model: TransformerEncoder) -> bool:
    """Switch to packed attention where three sequences give the same vectors as with padding; say whether it did.

    The probe, not a list of architectures, decides: a model with biases or positions of its own fails it and keeps
    padding. Its longest sequence exceeds an attention window of usual width.
    """
    if not getattr(model.backbone, "_supports_attention_backend", False):
        return False
    packing.register()
    plain = model.backbone.config._attn_implementation
    window = getattr(model.backbone.config, "sliding_window", None) or 0
    longest = min(
        max(17, 2 * window + 3 if window <= PROBED_WINDOW else 0), length_limit(model.backbone, model.tokenizer)
    )
    ids = torch.arange(5, 5 + longest + 12) % model.backbone.config.vocab_size
    batch = TokenBatch(ids_N=ids, lengths_B=torch.tensor([longest, 9, 3]))
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
        model.backbone.set_attn_implementation(plain)
        model.packed = False
    return same


def save_folder_of(path: str | Path) -> Path:
    """The model folder of a run, or the folder itself."""
    folder = Path(path)
    return folder / "model" if (folder / "model" / "modules.json").is_file() else folder

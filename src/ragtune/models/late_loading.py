"""Loading a late-interaction model, or beginning one with a new head on any encoder."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ragtune.models.base import KINDS
from ragtune.models.builtin import model_folder
from ragtune.models.dense_loading import adapter_base, backbone_config, load_backbone, pack, text_settings
from ragtune.models.late import Expansion, LateModel, LateReading, Projection
from ragtune.models.late_files import PUNCTUATION, LateFolder, read_late
from ragtune.models.pretrained import length_limit, load_tokenizer, set_dropout
from ragtune.recipe import ModelRecipe

NEW_EXPANSION = 32
"""Query tokens of a new head, as in ColBERT."""
HEAD_SEED = 13


def load_late(recipe: ModelRecipe) -> LateModel:
    """Load a late-interaction model. Raises ``ModelError`` when it is missing, unreadable or of another kind."""
    found = read_late(model_folder(recipe))
    said = found.base
    if said.adapter is not None:
        said.backbone = adapter_base(recipe, said, said.adapter)
    config = backbone_config(recipe, said)
    tokenizer = load_tokenizer(recipe, recipe.tokenizer or said.backbone, rows=getattr(config, "vocab_size", None))
    if found.fresh and recipe.late.markers:
        _give_markers(found, tokenizer)
    _as_one_token(tokenizer, found.markers)
    backbone = load_backbone(recipe, said, config)
    bounds = tokenizer.num_special_tokens_to_add() + 1, length_limit(backbone, tokenizer)
    settings = {kind: text_settings(recipe, said, kind=kind, bounds=bounds) for kind in KINDS}
    if recipe.dropout is not None:
        set_dropout(backbone, recipe.dropout)
    model = LateModel(
        name=recipe.name,
        backbone=backbone,
        tokenizer=tokenizer,
        settings=settings,
        reading=_reading(recipe, found, tokenizer, longest=settings["query"].max_tokens),
        projections=_projections(recipe, found, width=config.hidden_size),
    )
    model.notes = {key: said.ragtune[key] for key in ("base_model",) if key in said.ragtune}
    model.packed = pack(model)
    return model.eval()


def _give_markers(found: LateFolder, tokenizer: Any) -> None:
    """Two unused tokens of the vocabulary stand before queries and passages."""
    vocabulary = tokenizer.get_vocab()
    unused = sorted((token for token in vocabulary if re.fullmatch(r"\[unused\d+\]", token)), key=vocabulary.get)
    if len(unused) >= 2:
        found.markers = (unused[0], unused[1])
        found.base.query_prompt, found.base.passage_prompt = (f"{marker} " for marker in found.markers)


def _as_one_token(tokenizer: Any, markers: tuple[str, ...]) -> None:
    """Known markers that the tokenizer would take apart become special tokens, read whole."""
    from tokenizers import AddedToken

    known = tokenizer.get_vocab()
    for marker in markers:
        whole = next((part for part in (marker, marker.strip()) if part in known), None)
        if whole is not None and tokenizer.tokenize(whole) != [whole]:
            tokenizer.add_tokens([AddedToken(whole, normalized=False, special=True)], special_tokens=True)


def _reading(recipe: ModelRecipe, found: LateFolder, tokenizer: Any, *, longest: int) -> LateReading:
    asked = recipe.late
    said = found.expansion
    if found.fresh:
        said = {"length": NEW_EXPANSION, "attend": True, "token": None}
    if asked.expansion_tokens is not None:
        said = {"attend": True, "token": None} | (said or {}) | {"length": asked.expansion_tokens}
    expansion = None if said is None or not said["length"] else _expansion(said, tokenizer, longest=longest)
    if expansion is not None and asked.attend_to_expansion is not None:
        expansion = replace(expansion, attend=asked.attend_to_expansion)
    words = found.skipped_words
    skip = found.fresh if asked.skip_punctuation is None else asked.skip_punctuation
    if skip and not words:
        words = PUNCTUATION
    if asked.skip_punctuation is False:
        words = ()
    skipped = _single_tokens(words, tokenizer)
    return LateReading(
        expansion=expansion,
        skipped=tuple(skipped.values()),
        skipped_words=tuple(skipped),
        normalize=found.normalize if recipe.normalize is None else recipe.normalize,
        pool_factor=max(asked.pool_factor, found.pool_factor),
    )


def _expansion(said: dict[str, Any], tokenizer: Any, *, longest: int) -> Expansion:
    """Filling by the mask token, or by the end of text where a decoder has no mask."""
    fallback = tokenizer.mask_token_id if tokenizer.mask_token_id is not None else tokenizer.eos_token_id
    token = tokenizer.convert_tokens_to_ids(said["token"]) if said.get("token") else fallback
    tail = 0
    for token_id in reversed(tokenizer("a")["input_ids"]):
        if token_id != token:
            break
        tail += 1
    return Expansion(length=min(said["length"], longest), attend=said["attend"], token_id=int(token), own_tail=tail)


def _single_tokens(words: tuple[str, ...], tokenizer: Any) -> dict[str, int]:
    """The words that are one token each; an unknown one would make every unknown token count for nothing."""
    ids = {word: tokenizer.convert_tokens_to_ids(word) for word in words}
    unknown = tokenizer.unk_token_id
    return {w: i for w, i in ids.items() if i is not None and (i != unknown or w == tokenizer.unk_token)}


def _projections(recipe: ModelRecipe, found: LateFolder, *, width: int) -> list[Projection]:
    """Those of the folder, or a new one whose rows are orthonormal, so that it nearly keeps similarities."""
    dims = recipe.late.dims
    if not found.fresh or dims is None:
        return found.projections
    linear = nn.Linear(width, dims, bias=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(HEAD_SEED)
        nn.init.orthogonal_(linear.weight)
    return [Projection(linear, nn.Identity())]

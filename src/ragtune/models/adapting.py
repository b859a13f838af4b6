"""What of a model is trained: low-rank adapters, frozen parts, and the two-sided model of a frozen passage side."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, final

import numpy as np
from torch import nn

from ragtune.errors import Problem, RecipeError
from ragtune.models.base import Kind
from ragtune.models.builtin import published_name
from ragtune.models.dense import DenseModel
from ragtune.models.reranker import Reranker
from ragtune.models.transformer import TransformerEncoder
from ragtune.recipe import FreezeRecipe, LoraRecipe, ModelRecipe
from ragtune.run import atomic_folder


class Tunable(Protocol):
    """A model over one transformers backbone."""

    @property
    def backbone(self) -> Any:
        """The network that gives token states."""

    @property
    def token_embedding(self) -> nn.Embedding:
        """The token embedding table."""

    @property
    def idle(self) -> list[nn.Parameter]:
        """Weights that nothing passes, such as BERT's pooler where states are pooled in another way."""

    def replace_backbone(self, backbone: nn.Module) -> None:
        """Put another backbone in its place."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Every weight."""


AnyTunable = TypeVar("AnyTunable", bound=Tunable)


def prepare_for_training(model: AnyTunable, recipe: ModelRecipe) -> AnyTunable:
    """Add adapters and freeze what the recipe says. Raises ``RecipeError`` for a part that the model does not have."""
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    if recipe.lora is not None:
        _add_adapters(model, recipe.lora)
    for parameter in model.idle:
        parameter.requires_grad_(False)
    _freeze(model, recipe.freeze)
    if not any(p.requires_grad for p in model.parameters()):
        raise RecipeError(
            Problem(what="nothing is left to train", where="model.freeze", found="all weights frozen", do="freeze less")
        )
    return model


def _add_adapters(model: Tunable, recipe: LoraRecipe) -> None:
    from peft import LoraConfig, get_peft_model

    targets = list(recipe.targets) or _linear_layers(model.backbone)
    # BERT's pooler has a layer of the encoder's names
    idle = {id(parameter) for parameter in model.idle}
    layers = [(name, layer) for name, layer in model.backbone.named_modules() if isinstance(layer, nn.Linear)]
    unread = [name for name, layer in layers if id(layer.weight) in idle and name.endswith(tuple(targets))]
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=targets,
        exclude_modules=unread or None,
    )
    try:
        with warnings.catch_warnings():
            # PEFT asks for gradient checkpointing under a name that later releases of transformers 5 replaced
            warnings.simplefilter("ignore", FutureWarning)
            model.replace_backbone(get_peft_model(model.backbone, config))
    except ValueError as error:
        raise RecipeError(
            Problem(
                what="model.lora.targets name no layers of this model",
                where="model.lora.targets",
                found=", ".join(recipe.targets),
                do="choose among " + ", ".join(_linear_layers(model.backbone)),
            )
        ) from error


def _linear_layers(backbone: nn.Module) -> list[str]:
    linears = (name for name, module in backbone.named_modules() if isinstance(module, nn.Linear))
    names = {name.rpartition(".")[2] for name in linears if not name.startswith("pooler.")}
    return sorted(names)


def _freeze(model: Tunable, recipe: FreezeRecipe) -> None:
    if recipe.position_embeddings:
        _freeze_named(model, r"position_embeddings|wpe\b", part="position_embeddings")
    if recipe.token_embeddings or recipe.first_layers:
        model.token_embedding.weight.requires_grad_(False)
    if recipe.first_layers:
        _freeze_named(model, r"(^|\.)(embeddings|embeddings_project|embed_tokens|wte|wpe)\.", part="first_layers")
        layers = _layer_numbers(model)
        if recipe.first_layers > len(layers):
            raise RecipeError(
                Problem(
                    what="model.freeze.first_layers is more than the model has",
                    where="model.freeze.first_layers",
                    found=str(recipe.first_layers),
                    do=f"freeze at most {len(layers)}",
                )
            )
        for name, parameter in model.backbone.named_parameters():
            number = _layer_number(name)
            if number is not None and number < recipe.first_layers:
                parameter.requires_grad_(False)


def _freeze_named(model: Tunable, pattern: str, *, part: str) -> None:
    found = [p for name, p in model.backbone.named_parameters() if re.search(pattern, name)]
    if not found:
        raise RecipeError(
            Problem(
                what=f"the model has nothing that model.freeze.{part} could freeze",
                where=f"model.freeze.{part}",
                found=f"a {model.backbone.config.model_type} model without such weights",
                do=f"leave model.freeze.{part} out",
            )
        )
    for parameter in found:
        parameter.requires_grad_(False)


def _layer_number(name: str) -> int | None:
    match = re.search(r"(?:^|\.)(?:layers?|h|block)\.(\d+)\.", name)
    return int(match.group(1)) if match else None


def _layer_numbers(model: Tunable) -> set[int]:
    return {n for name, _ in model.backbone.named_parameters() if (n := _layer_number(name)) is not None}


def save_merged(model: Reranker, folder: Path, *, recipe: ModelRecipe) -> None:
    """Save a trained reranker, adapters merged into the weights."""
    if recipe.lora is not None:
        model.replace_backbone(model.backbone.merge_and_unload())
    model.save(folder)


def save_trained(model: TransformerEncoder, folder: Path, *, recipe: ModelRecipe) -> None:
    """Save a trained model; adapters are merged into the weights, or saved alone, as the recipe says."""
    if recipe.lora is None or recipe.lora.merge:
        if recipe.lora is not None:
            model.backbone = model.backbone.merge_and_unload()
        model.save(folder)
        return
    adapter = model.backbone.active_peft_config
    adapter.base_model_name_or_path = published_name(recipe, local=model.backbone.name_or_path)
    adapter.revision = recipe.revision
    with atomic_folder(folder) as aside:
        # the embedding table is never an adapter's; PEFT would ask the hub whether it has grown
        model.backbone.save_pretrained(aside, save_embedding_layers=False)
        model.write_around(aside)


@final
class TwoSided:
    """Queries by one model, passages by another: what a frozen passage side leaves behind."""

    def __init__(self, *, query: DenseModel, passage: DenseModel) -> None:
        self.name = query.name
        self._sides: dict[Kind, DenseModel] = {"query": query, "passage": passage}

    def encode(
        self, texts: Sequence[str], *, kind: Kind, label: str = "", prompts: Sequence[str | None] | None = None
    ) -> np.ndarray:
        """``vector_BD`` of the side that ``kind`` names."""
        return self._sides[kind].encode(texts, kind=kind, label=label, prompts=prompts)

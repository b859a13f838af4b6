"""Recipe parts of single model families, and the defaults that differ from one family to another.

Importable without torch, like `ragtune.recipe`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self, final

from pydantic import BaseModel, field_validator, model_validator

from ragtune.recipe_part import Part, Positive

Activation = Literal["sigmoid", "identity"]


@final
class PairRecipe(Part):
    """How a reranker reads query and passage together, and what it scores them by."""

    max_tokens: Positive | None = None
    """Longest pair in tokens, special tokens included; none = the model's own limit. The query is cut by its own
    limit first (``query_max_tokens``, none = half of this), the passage takes the rest."""
    template: str | None = None
    """A language model's prompt with {query} and {passage}; none = what the folder says, else a question that is
    answered by yes or no."""
    yes_answer: str | None = None
    """A language model scores by this token's logit; none = what the folder says, else " yes"."""
    no_answer: str | None = None
    """Its logit is taken off; "" = yes alone, none = what the folder says, else " no"."""
    activation: Activation | None = None
    """What sentence-transformers applies to a score; none = what the folder says, else sigmoid. Training, ranking and
    teacher scores use the score before it: a sigmoid makes ties of high scores."""

    @field_validator("template")
    @classmethod
    def _two_places(cls, value: str | None) -> str | None:
        if value is None:
            return None
        first, second = value.find("{query}"), value.find("{passage}")
        if value.count("{query}") != 1 or value.count("{passage}") != 1 or first > second:
            raise ValueError("needs {query} and then {passage}, once each")
        return value.replace("\\n", "\n")


@final
class RerankRecipe(Part):
    """Where the passages come from that a reranker puts in order, in evaluation and on dev while training."""

    first_stage: str | None = None
    """Finds the passages: bm25, or a dense model by name. none = builtin:minilm for a reranker's run, else the model
    that is measured."""
    models: tuple[str, ...] = ()
    """Rerankers to measure behind an embedder, by folder, run or hub name; a reranker's own run needs none."""
    depth: Positive = 100
    """How many of the first stage's passages are put in order; the rest keep their order behind them."""
    dev_depth: Positive = 30
    """The same on dev while training."""
    dev_queries: Positive = 200
    """Dev queries that are measured while training; the first ones, when there are more."""
    given: bool = True
    """On dev while training, candidates that the dataset holds for a query join those of the first stage."""


@final
class VectorFiles(Part):
    """Vectors that exist already: a matrix in ``.npy`` and the id of each row, one a line."""

    vectors: Path
    """A ``.npy`` file with one row a text."""
    ids: Path
    """A text file with one id a line, in the order of the rows."""


@final
class AdapterRecipe(Part):
    """A transform of query vectors that is learned while every passage vector stays what it is."""

    kind: Literal["linear", "low_rank", "mlp"] = "linear"
    """linear: a matrix that begins as the identity; low_rank: identity plus a product of two thin matrices; mlp: a
    small network beside the vector (residual)."""
    rank: Positive = 64
    """Width of the thin matrices (low_rank) or of the hidden layer (mlp)."""
    query_vectors: VectorFiles | None = None
    """Query vectors that exist already, with query ids; none = the model encodes the queries."""
    passage_vectors: VectorFiles | None = None
    """Passage vectors that exist already, with passage ids; none = the model encodes the passages."""
    full_run: Path | None = None
    """A run that tuned the whole model on the same data: the run says what share of its gain the adapter reaches."""

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.query_vectors is None) != (self.passage_vectors is None):
            raise ValueError("give query_vectors and passage_vectors, or neither: one model must have made both")
        return self


TEMPERED = ("softmax", "circle", "cosent", "kl_divergence", "m3_distillation")
"""Losses whose default temperature suits cosines."""

TEMPERATURES: Mapping[str, float] = MappingProxyType({"reranker": 1.0, "late": 1.0, "sparse": 1.0})
"""A logit, a sum over tokens and a product of term weights need no temperature: sentence-transformers' cross-encoders,
multi-vector and sparse encoders use none."""

DEFAULTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "reranker": {
            "data": {"group_size": 16},
            "train": {"batch_size": 16, "learning_rate": 5e-5, "losses": [{"name": "softmax"}]},
        },
        "late": {"train": {"learning_rate": 1e-4, "losses": [{"name": "softmax"}]}},
        "sparse": {"train": {"losses": [{"name": "softmax"}]}},
        # a matrix that begins as the identity must not be drawn to zero
        "adapter": {
            "data": {},
            "train": {
                "batch_size": 256,
                "learning_rate": 1e-3,
                "epochs": 20,
                "weight_decay": 0.0,
                "precision": "fp32",
            },
        },
    }
)
"""Family -> part -> settings that stand where the recipe says nothing."""


def with_family_defaults(values: Any) -> Any:
    """A recipe's raw values with the defaults of its family; what is set stays."""
    if not isinstance(values, dict):
        return values
    family = _plain(values.get("model")).get("family", "dense")
    if not isinstance(family, str) or family not in DEFAULTS:
        return values
    filled = dict(values)
    for part, settings in DEFAULTS[family].items():
        given = filled.get(part)
        if isinstance(given, str | Path):
            given = {"sources": [{"path": str(given)}]}
        if given is None or isinstance(given, dict | BaseModel):
            filled[part] = {**settings, **_plain(given)}
    losses = filled["train"].get("losses") if isinstance(filled["train"], dict) else None
    if family in TEMPERATURES and losses is not None:
        items = losses if isinstance(losses, list | tuple) else [losses]
        filled["train"]["losses"] = [_tempered(loss, TEMPERATURES[family]) for loss in items]
    return filled


def _plain(part: Any) -> dict[str, Any]:
    if isinstance(part, BaseModel):
        return part.model_dump(exclude_unset=True)
    return dict(part) if isinstance(part, dict) else {}


def _tempered(loss: Any, temperature: float) -> Any:
    if isinstance(loss, BaseModel):
        loss = loss.model_dump(exclude_unset=True)
    loss = {"name": loss} if isinstance(loss, str) else loss
    if isinstance(loss, dict) and loss.get("name", "softmax") in TEMPERED and "temperature" not in loss:
        return {**loss, "temperature": temperature}
    return loss

"""The family table: a new family is one file and one row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

from ragtune.models.adapter_loading import load_adapter
from ragtune.models.base import Scorer
from ragtune.models.dense_loading import load_dense
from ragtune.models.late_loading import load_late
from ragtune.models.reranker_loading import load_reranker
from ragtune.models.sparse_loading import load_sparse
from ragtune.recipe import ModelRecipe


@final
@dataclass(frozen=True, slots=True)
class FamilySpec:
    """One model family. ``pairs``: it reads query and passage together and gives a score, not a representation."""

    load: Callable[[ModelRecipe], Scorer]
    summary: str
    pairs: bool = False


FAMILIES: Mapping[str, FamilySpec] = MappingProxyType(
    {
        "dense": FamilySpec(load=load_dense, summary="bi-encoder: one vector a text, dot of vectors"),
        "late": FamilySpec(load=load_late, summary="late interaction: one vector a token, MaxSim"),
        "sparse": FamilySpec(load=load_sparse, summary="a weight for every term of the vocabulary, an inverted index"),
        "reranker": FamilySpec(load=load_reranker, summary="query and passage read together, one score", pairs=True),
        "adapter": FamilySpec(load=load_adapter, summary="a learned transform of query vectors; passages stay"),
    }
)


def load_model(recipe: ModelRecipe) -> Scorer:
    """Load the model that a recipe names. Raises ``ModelError`` when it cannot be read or is of another family."""
    return FAMILIES[recipe.family].load(recipe)

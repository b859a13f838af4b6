"""Making a query adapter of a recipe: over a model that is never trained, or over vectors that exist already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

import numpy as np

from ragtune.data.records import Dataset
from ragtune.errors import InputError, ModelError, Problem
from ragtune.models.adapter import AdapterModel, QueryTransform, Vectors
from ragtune.models.base import Kind
from ragtune.models.dense_loading import load_dense
from ragtune.recipe import ModelRecipe
from ragtune.recipe_families import VectorFiles

# A vector whose length is this near to 1 counts as normalised (fp16 keeps three decimals)
UNIT_TOLERANCE = 1e-2


def load_adapter(recipe: ModelRecipe) -> AdapterModel:
    """An untrained adapter over the recipe's model. Raises ``ModelError`` when that cannot be read."""
    base = load_dense(recipe.model_copy(update={"family": "dense"}))
    for parameter in base.parameters():
        parameter.requires_grad_(False)
    transform = QueryTransform(recipe.adapter.kind, dims=base.dims, rank=recipe.adapter.rank)
    return AdapterModel(name=recipe.name, source=base, transform=transform, normalize=base.head.normalize)


@final
class StoredVectors:
    """Vectors from files, found by a dataset's texts. A prompt of a query's own is in its vector already."""

    def __init__(self, vectors: Mapping[Kind, Mapping[str, Vectors]]) -> None:
        self._vectors = vectors

    @property
    def dims(self) -> int:
        """Length of a vector."""
        return len(next(iter(self._vectors["passage"].values())))

    @property
    def normalized(self) -> bool:
        """Whether every passage's vector has length 1."""
        length_N = np.linalg.norm(np.stack(list(self._vectors["passage"].values())), axis=1)
        return bool(np.abs(length_N - 1).max() < UNIT_TOLERANCE)

    def encode(
        self, texts: Sequence[str], *, kind: Kind, label: str = "", prompts: Sequence[str | None] | None = None
    ) -> Vectors:
        """The stored vectors. Raises ``InputError`` for a text that is none of the dataset's."""
        known = self._vectors[kind]
        unknown = [text for text in texts if text not in known]
        if unknown:
            found, do = repr(unknown[0])[:120], "give the files a row for every query and passage of the dataset"
            raise InputError(Problem(f"{len(unknown)} texts have no stored vector", f"the {kind} vectors", found, do))
        return np.stack([known[text] for text in texts]) if texts else np.empty((0, self.dims), np.float32)


def stored_vectors(recipe: ModelRecipe, datasets: Sequence[Dataset]) -> StoredVectors:
    """The vectors of a recipe's files for the texts of datasets. Raises ``InputError`` for files that do not fit."""
    files = recipe.adapter
    assert files.query_vectors is not None and files.passage_vectors is not None
    query = read_vector_files(files.query_vectors, where="model.adapter.query_vectors")
    passage = read_vector_files(files.passage_vectors, where="model.adapter.passage_vectors")
    texts: dict[Kind, dict[str, str]] = {"query": {}, "passage": {}}
    for dataset in datasets:
        judged = {query_id for split in dataset.qrels.values() for query_id in split}
        texts["query"] |= {key: dataset.queries[key].text for key in judged}
        texts["passage"] |= {key: item.content for key, item in dataset.corpus.items()}
    found: dict[Kind, dict[str, Vectors]] = {}
    problems = []
    sides: tuple[tuple[Kind, dict[str, Vectors]], ...] = (("query", query), ("passage", passage))
    for kind, vectors in sides:
        missing = [key for key in texts[kind] if key not in vectors]
        if missing:
            what = f"{len(missing)} of {len(texts[kind])} {kind} ids have no vector"
            do = "add their rows; ids are those of corpus.jsonl and queries.jsonl"
            problems.append(Problem(what, f"model.adapter.{kind}_vectors", f"first {missing[0]!r}", do))
        found[kind] = {text: vectors[key] for key, text in texts[kind].items() if key in vectors}
    sizes = {len(next(iter(vectors.values()))) for _, vectors in sides if vectors}
    if len(sizes) > 1:
        what, do = "queries and passages have vectors of different length", "take both from one model"
        problems.append(Problem(what, "model.adapter", ", ".join(map(str, sorted(sizes))), do))
    if problems:
        raise InputError(problems)
    return StoredVectors(found)


def read_vector_files(files: VectorFiles, *, where: str) -> dict[str, Vectors]:
    """Vectors by id. Raises ``ModelError`` where matrix and ids do not fit each other."""
    try:
        matrix_ND = np.load(Path(files.vectors).expanduser(), allow_pickle=False)
        ids = Path(files.ids).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        what, do = "the vectors cannot be read", "give a .npy matrix and a text file with one id a line"
        raise ModelError(Problem(what, where, f"{type(error).__name__}: {error}"[:200], do)) from error
    wrong = {
        f"an array of {matrix_ND.ndim} dimensions": matrix_ND.ndim != 2,
        f"values of type {matrix_ND.dtype}": matrix_ND.dtype.kind != "f",
        f"{len(matrix_ND)} rows and {len(ids)} ids": len(matrix_ND) != len(ids),
        "an id twice": len(set(ids)) < len(ids),
    }
    found = next((text for text, is_wrong in wrong.items() if is_wrong), None)
    if found is None and not np.isfinite(matrix_ND).all():
        found = "NaN or infinite values"
    if found is not None:
        raise ModelError(Problem("these are no vectors by id", where, found, "one finite row a line of ids, floats"))
    return dict(zip(ids, matrix_ND.astype(np.float32), strict=True))


def adapter_over(source: StoredVectors, recipe: ModelRecipe) -> AdapterModel:
    """An untrained adapter over stored vectors."""
    transform = QueryTransform(recipe.adapter.kind, dims=source.dims, rank=recipe.adapter.rank)
    return AdapterModel(name="stored vectors", source=source, transform=transform, normalize=source.normalized)

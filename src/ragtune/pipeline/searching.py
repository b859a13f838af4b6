"""Search over a dataset folder: the command's work. Passage vectors are kept between calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

import numpy as np

from ragtune.data.folder import dataset_hash
from ragtune.data.folder_reading import read_dataset
from ragtune.data.records import Dataset, Passage, Query
from ragtune.errors import InputError, Problem, WorkError, did_you_mean
from ragtune.models.adapting import TwoSided
from ragtune.models.builtin import model_folder
from ragtune.models.dense import DenseModel
from ragtune.pipeline.loading import from_anywhere, loaded, with_passage_side
from ragtune.recipe import ModelRecipe
from ragtune.retrieval.bm25 import BM25Retriever
from ragtune.retrieval.dense import DenseRetriever
from ragtune.retrieval.encoded import EncodedRetriever
from ragtune.retrieval.fusion import fuse
from ragtune.retrieval.search import Ranking, search
from ragtune.retrieval.vectors import VectorStore
from ragtune.run import atomic_write, hash_folder, hash_json

# Each list that is fused is this many times as deep as what is shown
FUSED_DEPTH = 10


@final
@dataclass(frozen=True, slots=True)
class Hit:
    """One passage found."""

    rank: int
    score: float
    passage: Passage

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "rank": self.rank,
            "score": self.score,
            "id": self.passage.id,
            "title": self.passage.title,
            "text": self.passage.text,
            "metadata": dict(self.passage.metadata),
        }


def search_dataset(folder: Path, text: str, *, model: str, retriever: str, k: int) -> list[Hit]:
    """The ``k`` best passages of a dataset folder. Raises ``InputError`` for an unknown retriever or a blank query."""
    if retriever not in RETRIEVERS:
        raise InputError(
            Problem("unknown retriever", "--retriever", retriever, did_you_mean(retriever, list(RETRIEVERS)))
        )
    if not text.strip():
        raise InputError(Problem("the query is empty", "QUERY", repr(text), "write a question"))
    dataset = read_dataset(folder)
    ranking = RETRIEVERS[retriever](dataset, Query("query", text), model, k)
    return [
        Hit(rank=rank, score=score, passage=dataset.corpus[passage_id])
        for rank, (passage_id, score) in enumerate(zip(ranking.passage_ids[0], ranking.scores[0], strict=True), 1)
    ]


def _dense(dataset: Dataset, query: Query, model: str, k: int) -> Ranking:
    recipe = from_anywhere(ModelRecipe(), model)
    encoder = with_passage_side(loaded(recipe))
    if not isinstance(encoder, DenseModel | TwoSided):
        return search(EncodedRetriever.build(dataset.corpus, encoder), [query], k=k)
    passage_ND = cached_vectors(dataset, recipe, encoder)
    store = VectorStore.build(passage_ND, list(dataset.corpus))
    return search(DenseRetriever(store, encoder), [query], k=k)


def _bm25(dataset: Dataset, query: Query, model: str, k: int) -> Ranking:
    return search(BM25Retriever(dataset.corpus, language=dataset.info.language), [query], k=k)


def _fused(dataset: Dataset, query: Query, model: str, k: int) -> Ranking:
    return fuse([part(dataset, query, model, FUSED_DEPTH * k) for part in (_dense, _bm25)], top=k)


RETRIEVERS: Mapping[str, Callable[[Dataset, Query, str, int], Ranking]] = MappingProxyType(
    {"dense": _dense, "bm25": _bm25, "fused": _fused}
)


def cached_vectors(dataset: Dataset, recipe: ModelRecipe, encoder: Any) -> np.ndarray:
    """Passage vectors, kept in the user's cache under a hash of the corpus and the model."""
    key = hash_json({"data": dataset_hash(dataset), "model": hash_folder(model_folder(recipe))})
    path = cache_folder() / "vectors" / f"{key[:32]}.npy"
    if not path.is_file():
        texts = [passage.content for passage in dataset.corpus.values()]
        vector_ND = encoder.encode(texts, kind="passage")
        try:
            with atomic_write(path, binary=True) as file:
                np.save(file, vector_ND)
        except OSError as error:
            raise WorkError(
                f"passage vectors cannot be kept in {path.parent}: {error.strerror}; "
                "set RAGTUNE_CACHE to a folder that can be written"
            ) from error
    found: np.ndarray = np.load(path, mmap_mode="r")
    return found


def cache_folder() -> Path:
    """``$RAGTUNE_CACHE``, else ``~/.cache/ragtune``."""
    return Path(os.environ.get("RAGTUNE_CACHE") or Path.home() / ".cache" / "ragtune")

"""The vectors of a judged split: every distinct text encoded once. Shapes: Q queries, N passages, D dimensions."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal, final

import numpy as np
import numpy.typing as npt

from ragtune.evaluation.judged import JudgedSplit
from ragtune.recipe import Storage
from ragtune.retrieval.dense import Encoder
from ragtune.retrieval.search import Ranking
from ragtune.retrieval.vectors import VectorStore

Vectors = npt.NDArray[np.float32]
Kind = Literal["query", "passage"]
Input = tuple[str, str | None]
"""A text and its own prompt."""


@final
@dataclass(frozen=True, slots=True)
class EncodedSplit:
    """The vectors of a split's queries and passages, row by row with their ids."""

    query_ids: list[str]
    passage_ids: list[str]
    query_QD: Vectors
    passage_ND: Vectors
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def dims(self) -> int:
        """Length of a full vector."""
        return int(self.passage_ND.shape[1])

    def search(self, *, k: int, dims: int | None = None, storage: Storage = "fp32") -> Found:
        """The k best passages of every query, with the vectors cut to ``dims`` and kept as ``storage``."""
        store = VectorStore.build(self.passage_ND, self.passage_ids, storage=storage, dims=dims)
        found = store.search(self.query_QD, k=k)
        ids = np.array(self.passage_ids, dtype=object)
        ranking = Ranking(self.query_ids, ids[found.index_Qk].tolist(), found.score_Qk.tolist())
        return Found(ranking=ranking, bytes_per_passage=store.bytes_per_vector)


@final
@dataclass(frozen=True, slots=True)
class Found:
    """A ranking, and what keeping a passage's vector takes."""

    ranking: Ranking
    bytes_per_passage: int


def encode_split(encoder: Encoder, judged: JudgedSplit, *, label: str = "") -> EncodedSplit:
    """Encode a split; texts that are there twice are encoded once and share the row's values."""
    seconds = {}
    parts: dict[str, tuple[Kind, list[Input]]] = {
        "passages": ("passage", [(passage.content, None) for passage in judged.passages.values()]),
        "queries": ("query", [(query.text, query.prompt) for query in judged.queries]),
    }
    vectors = {}
    for part, (kind, inputs) in parts.items():
        started = time.perf_counter()
        vectors[part] = _encode(encoder, inputs, kind=kind, label=f"{label} {part}".strip())
        seconds[part] = round(time.perf_counter() - started, 3)
    query_ids, passage_ids = [query.id for query in judged.queries], list(judged.passages)
    return EncodedSplit(query_ids, passage_ids, vectors["queries"], vectors["passages"], seconds)


def _encode(encoder: Encoder, inputs: list[Input], *, kind: Kind, label: str) -> Vectors:
    """Equal texts under different prompts are different inputs."""
    row_of = {own: row for row, own in enumerate(dict.fromkeys(inputs))}
    texts, prompts = [text for text, _ in row_of], [prompt for _, prompt in row_of]
    vectors = encoder.encode(texts, kind=kind, label=label, prompts=prompts)
    return vectors if len(row_of) == len(inputs) else vectors[[row_of[own] for own in inputs]]

"""The vectors of a judged split: every distinct text encoded once. Shapes: Q queries, N passages, D dimensions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, final

import numpy as np
import numpy.typing as npt

from ragtune.evaluation.judged import JudgedSplit
from ragtune.recipe import Storage
from ragtune.retrieval.encoded import Encoded, TextEncoder, bytes_per_text, scores_of, take, top_k_of, width
from ragtune.retrieval.search import Ranking
from ragtune.retrieval.vectors import VectorStore

Vectors = npt.NDArray[np.float32]
Kind = Literal["query", "passage"]
Input = tuple[str, str | None]
"""A text and its own prompt."""


@final
@dataclass(frozen=True, slots=True)
class EncodedSplit:
    """What a model makes of a split's queries and passages, with their ids; vectors, in most families."""

    query_ids: list[str]
    passage_ids: list[str]
    query_QD: Encoded
    passage_ND: Encoded
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def dims(self) -> int:
        """Length of a full vector."""
        return width(self.passage_ND)

    def search(self, *, k: int, dims: int | None = None, storage: Storage = "fp32") -> Found:
        """The k best passages of every query, with the vectors cut to ``dims`` and kept as ``storage``."""
        if isinstance(self.passage_ND, np.ndarray):
            store = VectorStore.build(self.passage_ND, self.passage_ids, storage=storage, dims=dims)
            found, size = store.search(self.query_QD, k=k), store.bytes_per_vector
        else:
            assert dims in (None, self.dims) and storage == "fp32", "prefixes and storages are of single vectors"
            found = top_k_of(self.query_QD, self.passage_ND, k=k, ids=self.passage_ids)
            size = bytes_per_text(self.passage_ND)
        ids = np.array(self.passage_ids, dtype=object)
        ranking = Ranking(self.query_ids, ids[found.index_Qk].tolist(), found.score_Qk.tolist())
        return Found(ranking=ranking, bytes_per_passage=size)

    def scores(self, query: int, passages: Sequence[int]) -> Vectors:
        """The scores of one query, by its row, against some passages, by theirs."""
        scores: Vectors = scores_of(take(self.query_QD, [query]), take(self.passage_ND, passages))[0]
        return scores


@final
@dataclass(frozen=True, slots=True)
class Found:
    """A ranking, and what keeping a passage's vector takes."""

    ranking: Ranking
    bytes_per_passage: int


def encode_split(encoder: TextEncoder, judged: JudgedSplit, *, label: str = "") -> EncodedSplit:
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


def _encode(encoder: TextEncoder, inputs: list[Input], *, kind: Kind, label: str) -> Encoded:
    """Equal texts under different prompts are different inputs."""
    row_of = {own: row for row, own in enumerate(dict.fromkeys(inputs))}
    texts, prompts = [text for text, _ in row_of], [prompt for _, prompt in row_of]
    vectors = encoder.encode(texts, kind=kind, label=label, prompts=prompts)
    return vectors if len(row_of) == len(inputs) else take(vectors, [row_of[own] for own in inputs])

"""The vectors of a judged split: every distinct text encoded once. Shapes: Q queries, N passages, D dimensions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, final

import numpy as np
import numpy.typing as npt

from ragtune.errors import InputError, Problem
from ragtune.evaluation.judged import JudgedSplit
from ragtune.retrieval.exact import exact_top_k

Vectors = npt.NDArray[np.float32]
Kind = Literal["query", "passage"]
Run = dict[str, dict[str, float]]
"""Query id -> passage id -> score, best first."""


class Encoder(Protocol):
    """Anything that turns texts into vectors: a ragtune dense model, or a wrapper of a few lines."""

    def encode(self, texts: Sequence[str], *, kind: Kind, label: str = "") -> Vectors:
        """One float32 row a text, in their order; ``label`` names the work for a progress bar."""
        ...


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

    def at(self, dims: int) -> EncodedSplit:
        """The same vectors cut to their first ``dims`` places and made as long as they were."""
        if dims == self.dims:
            return self
        query_QD, passage_ND = prefix(self.query_QD, dims), prefix(self.passage_ND, dims)
        return EncodedSplit(self.query_ids, self.passage_ids, query_QD, passage_ND)

    def search(self, *, k: int) -> Run:
        """The k best passages of every query, exactly."""
        found = exact_top_k(self.query_QD, self.passage_ND, k=k, ids=self.passage_ids)
        rows = zip(self.query_ids, found.index_Qk.tolist(), found.score_Qk.tolist(), strict=True)
        return {
            query_id: {self.passage_ids[row]: score for row, score in zip(indices, scores, strict=True)}
            for query_id, indices, scores in rows
        }


def encode_split(encoder: Encoder, judged: JudgedSplit, *, label: str = "") -> EncodedSplit:
    """Encode a split; texts that are there twice are encoded once and share the row's values."""
    seconds = {}
    parts: dict[str, tuple[Kind, list[str]]] = {
        "passages": ("passage", [passage.content for passage in judged.passages.values()]),
        "queries": ("query", [query.text for query in judged.queries]),
    }
    vectors = {}
    for part, (kind, texts) in parts.items():
        started = time.perf_counter()
        vectors[part] = _encode(encoder, texts, kind=kind, label=f"{label} {part}".strip())
        seconds[part] = round(time.perf_counter() - started, 3)
    query_ids, passage_ids = [query.id for query in judged.queries], list(judged.passages)
    return EncodedSplit(query_ids, passage_ids, vectors["queries"], vectors["passages"], seconds)


def prefix(vector_ND: Vectors, dims: int) -> Vectors:
    """The first ``dims`` places of each vector, stretched back to the full vector's length (Kusupati et al. 2022)."""
    if not 1 <= dims <= vector_ND.shape[1]:
        raise InputError(
            Problem(
                what="the vectors are shorter than the prefix that is asked for",
                where="dims",
                found=f"{dims} of {vector_ND.shape[1]} dimensions",
                do=f"ask for 1 to {vector_ND.shape[1]} dimensions",
            )
        )
    cut_ND = vector_ND[:, :dims]
    full_N1 = np.linalg.norm(vector_ND, axis=1, keepdims=True)
    cut_N1 = np.linalg.norm(cut_ND, axis=1, keepdims=True)
    return np.asarray(cut_ND * (full_N1 / np.maximum(cut_N1, np.finfo(np.float32).tiny)), dtype=np.float32)


def _encode(encoder: Encoder, texts: list[str], *, kind: Kind, label: str) -> Vectors:
    row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    vectors = encoder.encode(list(row_of), kind=kind, label=label)
    return vectors if len(row_of) == len(texts) else vectors[[row_of[text] for text in texts]]

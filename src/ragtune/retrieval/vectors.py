"""Vectors kept for search: float32, float16, int8 or sign bits, whole or a Matryoshka prefix.

What is rescored with what. ``fp32``, ``fp16`` and ``int8``: every passage is scored by the unquantised query against
the decoded vector; that is what the common recipe (quantised search, then rescoring) comes to with an unlimited
multiplier. ``binary``: the nearest k x ``rescore_multiplier`` by Hamming distance, then the unquantised query against
their bits read as -1 and +1. ``binary+int8``: the same first step, then the unquantised query against int8 vectors
kept beside the bits. (Yamada et al. 2021, "Efficient Passage Retrieval with Hashing", sec. 3; Shakir et al. 2024,
"Binary and Scalar Embedding Quantization".)

Shapes: Q queries, N passages, D dimensions, k results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ragtune.errors import InputError, Problem, did_you_mean
from ragtune.measures.ordering import tie_ranks
from ragtune.retrieval.exact import (
    BLOCK_BYTES,
    Passages,
    TopK,
    check_vectors,
    plain,
    rescore,
    search_passages,
)

Storage = Literal["fp32", "fp16", "int8", "binary", "binary+int8"]
Ranges = tuple[NDArray[np.floating], NDArray[np.floating]]
"""low_D and high_D: what the int8 codes of each dimension span."""
_ROWS_AT_ONCE = 1 << 16


@final
@dataclass(frozen=True, slots=True)
class StorageSpec:
    """A row of the table of storages; ``bits`` says that sign bits choose the candidates first."""

    keep: Callable[[NDArray[np.float32], Ranges | None], Passages]
    bits: bool
    summary: str


def _keep_half(vector_ND: NDArray[np.float32], ranges: Ranges | None) -> Passages:
    with np.errstate(over="ignore"):
        half_ND = vector_ND.astype(np.float16)
    check_vectors(half_ND, "the vectors as fp16 (use fp32: a value is beyond 65504)")
    return plain(half_ND)


def _keep_int8(vector_ND: NDArray[np.float32], ranges: Ranges | None) -> Passages:
    low_D, high_D = calibrate(vector_ND) if ranges is None else ranges
    step_D = (np.asarray(high_D, np.float32) - np.asarray(low_D, np.float32)) / 255
    step_D[step_D == 0] = 1.0  # a constant dimension: every code is -128 and decodes to low
    code_ND = np.empty(vector_ND.shape, dtype=np.int8)
    for start in range(0, len(vector_ND), _ROWS_AT_ONCE):
        level_BD = np.rint((vector_ND[start : start + _ROWS_AT_ONCE] - low_D) / step_D)
        code_ND[start : start + _ROWS_AT_ONCE] = np.clip(level_BD, 0, 255) - 128
    decode = partial(_decode_int8, low_D=torch.from_numpy(np.array(low_D)), step_D=torch.from_numpy(step_D))
    reach = np.maximum(np.abs(low_D), np.abs(low_D + 255 * step_D))
    return Passages(code_ND, decode, vector_ND.shape[1], longest=float(np.linalg.norm(reach.astype(np.float64))))


def _decode_int8(rows: Tensor, dtype: torch.dtype, *, low_D: Tensor, step_D: Tensor) -> Tensor:
    # In float32 always, so that the decoded vector is the same whatever the search computes in.
    return rows.float().add_(128).mul_(step_D.to(rows.device)).add_(low_D.to(rows.device)).to(dtype)


def _keep_bits(vector_ND: NDArray[np.float32], ranges: Ranges | None) -> Passages:
    dims = vector_ND.shape[1]
    packed = np.packbits(vector_ND > 0, axis=1)
    return Passages(packed, partial(_decode_bits, dims=dims), dims, longest=float(np.sqrt(dims)))


def _decode_bits(rows: Tensor, dtype: torch.dtype, *, dims: int) -> Tensor:
    shift = torch.arange(7, -1, -1, dtype=torch.uint8)
    signs = (torch.arange(256, dtype=torch.uint8)[:, None] >> shift & 1).to(dtype) * 2 - 1  # of every byte
    return signs.to(rows.device)[rows.int()].reshape(len(rows), -1)[:, :dims]


STORAGES: Mapping[str, StorageSpec] = MappingProxyType(
    {
        "fp32": StorageSpec(lambda vectors, _: plain(vectors), False, "4 bytes a dimension, as the model gave them"),
        "fp16": StorageSpec(_keep_half, False, "2 bytes a dimension"),
        "int8": StorageSpec(_keep_int8, False, "1 byte a dimension, in steps of the corpus' range"),
        "binary": StorageSpec(_keep_bits, True, "1 bit a dimension, rescored by the query against the bits"),
        "binary+int8": StorageSpec(_keep_int8, True, "9 bits a dimension: found by bits, rescored against int8"),
    }
)


def calibrate(vector_ND: NDArray[np.floating]) -> Ranges:
    """low_D and high_D, the range of each dimension: what int8 codes span. Needs at least one vector for more than 0.

    >>> [side.tolist() for side in calibrate(np.float32([[0, 1], [2, -1]]))]
    [[0.0, -1.0], [2.0, 1.0]]
    """
    if len(vector_ND) == 0:
        return np.zeros(vector_ND.shape[1], np.float32), np.zeros(vector_ND.shape[1], np.float32)
    return vector_ND.min(axis=0), vector_ND.max(axis=0)


def prefix(vector_ND: NDArray[np.floating], dims: int) -> NDArray[np.float32]:
    """The first ``dims`` dimensions, each row brought to length 1 (a row of zeros stays); all of them: unchanged.

    >>> prefix(np.float32([[3, 4, 12], [0, 0, 1]]), 2).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    if dims == vector_ND.shape[1]:
        return np.ascontiguousarray(vector_ND, dtype=np.float32)
    cut_ND = vector_ND[:, :dims].astype(np.float32)
    norm_N1 = np.linalg.norm(cut_ND, axis=1, keepdims=True)
    np.divide(cut_ND, norm_N1, out=cut_ND, where=norm_N1 > 0)
    return cut_ND


@final
@dataclass(frozen=True, slots=True, eq=False)
class VectorStore:
    """The vectors of a corpus, by passage id, and the one way to search them. Made by ``VectorStore.build``.

    ``dims`` is what is kept of the model's ``model_dims`` dimensions; queries come with all of them.
    """

    ids: tuple[str, ...]
    storage: Storage
    model_dims: int
    kept: Passages
    bits: Passages | None
    tie_rank_N: NDArray[np.int64]
    rescore_multiplier: int

    @staticmethod
    def build(
        vector_ND: NDArray[np.floating],
        ids: Sequence[str],
        *,
        storage: Storage = "fp32",
        dims: int | None = None,
        ranges: Ranges | None = None,
        rescore_multiplier: int = 4,
    ) -> VectorStore:
        """Keep ``vector_ND``, one row an id, as ``storage`` says.

        ``dims`` keeps the first dimensions and normalises them. ``ranges`` gives the span of the int8 codes (the
        default is the range of these vectors; values outside are cut off). InputError: unknown storage, dims beyond
        the model's, ids missing or twice, NaN or infinite vectors.
        """
        vector_ND = np.asarray(vector_ND)
        check_vectors(vector_ND, "the passage vectors")
        model_dims = vector_ND.shape[1]
        _check_build(vector_ND, ids, storage=storage, dims=dims, rescore_multiplier=rescore_multiplier)
        cut_ND = prefix(vector_ND, model_dims if dims is None else dims)
        spec = STORAGES[storage]
        kept = spec.keep(cut_ND, ranges)
        bits = _keep_bits(cut_ND, None) if spec.bits else None
        return VectorStore(tuple(ids), storage, model_dims, kept, bits, tie_ranks(ids), rescore_multiplier)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dims(self) -> int:
        """Dimensions kept of each vector."""
        return self.kept.dims

    @property
    def bytes_per_vector(self) -> int:
        """Bytes that one passage takes, the ids and the int8 ranges (8 bytes a dimension, once) apart."""
        parts = [self.kept] if self.storage == "binary" or self.bits is None else [self.kept, self.bits]
        return sum(part.stored.shape[1] * part.stored.dtype.itemsize for part in parts)

    def search(
        self,
        query_QD: NDArray[np.floating],
        *,
        k: int,
        block_bytes: int = BLOCK_BYTES,
        device: str = "auto",
    ) -> TopK:
        """Rows and scores of the best k for each query, given with all of the model's dimensions.

        Scores are dot products with what is kept, so those of different storages are not on one scale.
        """
        check_vectors(query_QD, "the query vectors")
        if query_QD.shape[1] != self.model_dims:
            found = f"{query_QD.shape[1]} dimensions, the passages had {self.model_dims}"
            do = "encode queries and passages with the same model"
            raise InputError(Problem(what="the query vectors do not fit", where="search", found=found, do=do))
        query_QD = prefix(query_QD, self.dims)
        if self.bits is None:
            return search_passages(query_QD, self.kept, self.tie_rank_N, k=k, block_bytes=block_bytes, device=device)
        sign_QD = np.where(query_QD > 0, 1.0, -1.0).astype(np.float32)
        near = search_passages(
            sign_QD,
            self.bits,
            self.tie_rank_N,
            k=k * self.rescore_multiplier,
            block_bytes=block_bytes,
            device=device,
            integral=True,
        )
        return rescore(query_QD, self.kept, self.tie_rank_N, near.index_Qk, k=k, block_bytes=block_bytes, device=device)


def _check_build(
    vector_ND: NDArray[np.floating], ids: Sequence[str], *, storage: str, dims: int | None, rescore_multiplier: int
) -> None:
    model_dims = vector_ND.shape[1]
    twice = len(ids) - len(set(ids))
    checks = (
        (storage not in STORAGES, "unknown storage", repr(storage), did_you_mean(storage, list(STORAGES))),
        (
            dims is not None and not 1 <= dims <= model_dims,
            "dims is out of range",
            str(dims),
            f"choose 1 to {model_dims}, the model's number of dimensions",
        ),
        (len(ids) != len(vector_ND), "ids do not fit", f"{len(ids)} ids, {len(vector_ND)} vectors", "one id a vector"),
        (twice > 0, "an id stands for two passages", f"{twice} ids are there twice", "give every passage its own id"),
        (rescore_multiplier < 1, "rescore_multiplier is out of range", str(rescore_multiplier), "choose 1 or more"),
    )
    problems = [Problem(what=what, where="vector store", found=found, do=do) for bad, what, found, do in checks if bad]
    if problems:
        raise InputError(problems)

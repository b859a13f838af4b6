"""Exact top-k search in bounded memory, with trec_eval's order: float32 score descending, then passage id descending.

A score is the product of the query and the *decoded* passage vector, summed in float64 and rounded to float32 once.
So it does not depend on where a block begins, on the number of threads or on the device, and copies of a passage tie
exactly. Where the corpus is large, float32 products choose the candidates and float64 only scores those; a query
whose candidates could not be told apart in float32 is searched again in float64.

Shapes: Q queries, N passages, C candidates, D dimensions, k results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ragtune.errors import InputError, Problem
from ragtune.measures.ordering import tie_ranks

BLOCK_BYTES = 256 << 20
"""Default bound of the working memory."""
_CELL_BYTES = 32
"""A score in float64 and float32, its key, and what ``topk`` needs beside it."""
_SPARE = 32
"""Candidates beyond k that float32 keeps, so that rounding cannot push a right one out."""
_SCREEN_ABOVE = 96
"""measured: gathering and scoring one candidate in float64 costs about as much as 96 cells of a float64 product; with
fewer passages than that a result, float64 throughout is the quicker way."""
_LAST = (1 << 32) - 1


@final
class TopK(NamedTuple):
    """Row numbers of the best passages and their scores, best first; k is at most the number of passages."""

    index_Qk: NDArray[np.int64]
    score_Qk: NDArray[np.float32]


@final
@dataclass(frozen=True, slots=True)
class Passages:
    """Stored passage vectors and how to read them.

    ``stored`` has one row a passage (a memory map will do); ``decode(rows, dtype)`` gives their vectors [rows, D].
    ``longest`` bounds the length of the vectors.
    """

    stored: NDArray[np.generic]
    decode: Callable[[Tensor, torch.dtype], Tensor]
    dims: int
    longest: float

    def __len__(self) -> int:
        return len(self.stored)

    def block(self, start: int, stop: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """passage_BD of the rows ``start`` to ``stop``."""
        return self.decode(_tensor(self.stored[start:stop]).to(device), dtype)

    def gather(self, index_QC: Tensor, dtype: torch.dtype) -> Tensor:
        """passage_QCD of the rows named by ``index_QC``."""
        rows = self.stored[index_QC.reshape(-1).cpu().numpy()]
        return self.decode(_tensor(rows).to(index_QC.device), dtype).reshape(*index_QC.shape, self.dims)


def _tensor(rows: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(rows if rows.flags.writeable else rows.copy())


def plain(passage_ND: NDArray[np.floating]) -> Passages:
    """Passages stored as float32 or float16 vectors, read as they are."""
    return Passages(
        stored=passage_ND,
        decode=lambda rows, dtype: rows.to(dtype),
        dims=passage_ND.shape[1],
        longest=longest_row(passage_ND),
    )


def longest_row(vector_ND: NDArray[np.floating]) -> float:
    """The largest length of a row, in bounded memory; 0 without rows."""
    step = max(1, BLOCK_BYTES // (8 * max(1, vector_ND.shape[1])))
    parts = (vector_ND[start : start + step].astype(np.float64) for start in range(0, len(vector_ND), step))
    return max((float(np.sqrt((part**2).sum(axis=1).max())) for part in parts), default=0.0)


def exact_top_k(
    query_QD: NDArray[np.floating],
    passage_ND: NDArray[np.floating],
    *,
    k: int,
    ids: Sequence[str] | None = None,
    block_bytes: int = BLOCK_BYTES,
    device: str = "auto",
) -> TopK:
    """The k passages with the largest dot product for each query.

    Equal scores are ordered by ``ids`` descending; without ids the smaller row comes first. ``block_bytes`` bounds the
    working memory and changes nothing else. ``device`` auto is the GPU when there is one. Fewer than k passages give
    all of them. InputError: k below 1, dimensions that differ, NaN or infinite vectors, ids of another number.

    >>> exact_top_k(np.float32([[1, 0]]), np.float32([[1, 0], [0, 1], [1, 0]]), k=2, ids=["a", "b", "c"]).index_Qk
    array([[2, 0]])
    """
    ties = np.arange(len(passage_ND)) if ids is None else tie_ranks(ids)
    check_vectors(passage_ND, "passage_ND")
    return search_passages(query_QD, plain(passage_ND), ties, k=k, block_bytes=block_bytes, device=device)


def search_passages(
    query_QD: NDArray[np.floating],
    passages: Passages,
    tie_rank_N: NDArray[np.int64],
    *,
    k: int,
    block_bytes: int = BLOCK_BYTES,
    device: str = "auto",
    integral: bool = False,
) -> TopK:
    """As `exact_top_k`, over any `Passages`; ``tie_rank_N`` orders equal scores, smaller first (see ``tie_ranks``).

    ``integral`` says that all scores are whole numbers below 2^24, which float32 holds without rounding.
    """
    _check(query_QD, passages, tie_rank_N, k)
    k = min(k, len(passages))
    if k == 0 or len(query_QD) == 0:
        return TopK(np.zeros((len(query_QD), k), np.int64), np.zeros((len(query_QD), k), np.float32))
    search = _Search(passages, Ties.of(tie_rank_N, _device(device)), k, block_bytes)
    query = _tensor(query_QD).to(search.ties.rank_N.device)
    with torch.inference_mode(), torch.autocast(query.device.type, enabled=False):
        if integral:
            key_Qk = search.direct(query, torch.float32)
        elif len(passages) <= _SCREEN_ABOVE * (k + _SPARE) or _inexact_float32():
            key_Qk = search.direct(query, torch.float64)
        else:
            key_Qk = search.screened(query)
        return search.ties.read(key_Qk)


def rescore(
    query_QD: NDArray[np.floating],
    passages: Passages,
    tie_rank_N: NDArray[np.int64],
    index_QC: NDArray[np.int64],
    *,
    k: int,
    block_bytes: int = BLOCK_BYTES,
    device: str = "auto",
) -> TopK:
    """The best k of the candidates ``index_QC``, scored anew by the query against ``passages``."""
    _check(query_QD, passages, tie_rank_N, k)
    k = min(k, index_QC.shape[1])
    if k == 0 or len(query_QD) == 0:
        return TopK(np.zeros((len(query_QD), k), np.int64), np.zeros((len(query_QD), k), np.float32))
    search = _Search(passages, Ties.of(tie_rank_N, _device(device)), k, block_bytes)
    at = search.ties.rank_N.device
    with torch.inference_mode(), torch.autocast(at.type, enabled=False):
        key_Qk = search.rescored(_tensor(query_QD).to(at), _tensor(index_QC).to(at))
        return search.ties.read(key_Qk)


@final
@dataclass(frozen=True, slots=True)
class Ties:
    """Packs a float32 score and a tie rank into one int64 key that sorts as trec_eval does, and unpacks it."""

    rank_N: Tensor
    index_R: Tensor

    @staticmethod
    def of(tie_rank_N: NDArray[np.int64], device: torch.device) -> Ties:
        """From the rank of each row; the ranks are a permutation of 0 to N - 1."""
        rank_N = _tensor(tie_rank_N).to(device)
        return Ties(rank_N=rank_N, index_R=torch.argsort(rank_N))

    def keys(self, score: Tensor, rank: Tensor) -> Tensor:
        """One key a cell: the score's bits in their order above, the reversed rank below."""
        bits = (score.float() + 0.0).view(torch.int32)  # + 0.0 makes one zero of the two
        ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
        return (ordered.long() << 32) | (_LAST - rank)

    def read(self, key_Qk: Tensor) -> TopK:
        """Row numbers and scores of sorted keys."""
        ordered = (key_Qk >> 32).int()
        score_Qk = torch.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered).view(torch.float32)
        index_Qk = self.index_R[_LAST - (key_Qk & _LAST)]
        return TopK(index_Qk.cpu().numpy(), score_Qk.cpu().numpy())

    def rows(self, key_Qk: Tensor) -> Tensor:
        """Row numbers of keys."""
        return self.index_R[_LAST - (key_Qk & _LAST)]


@final
@dataclass(frozen=True, slots=True)
class _Search:
    passages: Passages
    ties: Ties
    k: int
    block_bytes: int

    def direct(self, query_QD: Tensor, dtype: torch.dtype) -> Tensor:
        """key_Qk with every cell scored in ``dtype``."""
        return self._scan(query_QD, dtype, self.k)

    def screened(self, query_QD: Tensor) -> Tensor:
        """key_Qk with candidates chosen in float32, scored in float64, and the unsure queries searched again."""
        screen_QC = self._scan(query_QD, torch.float32, self.k + _SPARE, screen=True)
        key_Qk = self.rescored(query_QD, self.ties.rows(screen_QC))
        score_QC = _scores(screen_QC)
        # |fl(x.y) - x.y| <= D u |x||y| (Higham 2002, eq. 3.5, u = 2^-24), for the cell that got in and the one left out
        slack_Q = 2 * self.passages.dims * 2.0**-24 * query_QD.double().norm(dim=1) * self.passages.longest
        unsure_Q = score_QC[:, self.k - 1].double() - score_QC[:, -1].double() <= slack_Q
        if bool(unsure_Q.any()):
            key_Qk[unsure_Q] = self.direct(query_QD[unsure_Q], torch.float64)
        return key_Qk

    def rescored(self, query_QD: Tensor, index_QC: Tensor) -> Tensor:
        """key_Qk: the best of the named rows, scored in float64."""
        candidates = index_QC.shape[1]
        step = max(1, self.block_bytes // (candidates * self.passages.dims * 24))
        kept = []
        for start in range(0, len(query_QD), step):
            index = index_QC[start : start + step]
            passage_QCD = self.passages.gather(index, torch.float64)
            score_QC = (passage_QCD @ query_QD[start : start + step].double()[:, :, None])[:, :, 0]
            kept.append(self.ties.keys(score_QC, self.ties.rank_N[index]).topk(self.k, dim=1).values)
        return torch.cat(kept)

    def _scan(self, query_QD: Tensor, dtype: torch.dtype, keep: int, *, screen: bool = False) -> Tensor:
        """The ``keep`` best keys of each query; with ``screen``, equal scores at the edge may fall either way."""
        rows, columns = self._steps(len(query_QD))
        best: list[Tensor | None] = [None] * len(range(0, len(query_QD), rows))
        for left in range(0, len(self.passages), columns):
            passage_BD = self.passages.block(left, left + columns, dtype, query_QD.device)
            rank_B = self.ties.rank_N[left : left + columns]
            for part, top in enumerate(range(0, len(query_QD), rows)):
                score_QB = query_QD[top : top + rows].to(dtype) @ passage_BD.T
                count = min(keep, score_QB.shape[1])
                if screen:
                    value_QC, place_QC = score_QB.topk(count, dim=1, sorted=False)
                    found = self.ties.keys(value_QC, rank_B[place_QC])
                else:
                    found = self.ties.keys(score_QB, rank_B).topk(count, dim=1).values
                before = best[part]
                if before is not None:
                    both = torch.cat([before, found], dim=1)
                    found = both.topk(min(keep, both.shape[1]), dim=1).values
                best[part] = found
        return torch.cat([part for part in best if part is not None])

    def _steps(self, queries: int) -> tuple[int, int]:
        """Queries and passages of a block: half of the memory for decoded passages, half for cells."""
        half = self.block_bytes // 2
        columns = max(1, min(len(self.passages), half // (16 * self.passages.dims)))
        columns = max(1, min(columns, half // _CELL_BYTES))
        return max(1, min(queries, half // (_CELL_BYTES * columns))), columns


def _scores(key: Tensor) -> Tensor:
    ordered = (key >> 32).int()
    return torch.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered).view(torch.float32)


def _inexact_float32() -> bool:
    """Whether the user let float32 products run in TF32 or bf16, for which the bound of `screened` is not true."""
    return torch.get_float32_matmul_precision() != "highest"


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def check_vectors(vector_ND: NDArray[np.floating], where: str) -> None:
    """InputError unless ``vector_ND`` is a table of finite floats."""
    problems = []
    if vector_ND.ndim != 2 or not np.issubdtype(vector_ND.dtype, np.floating):
        found = f"shape {vector_ND.shape}, type {vector_ND.dtype}"
        problems.append(Problem(what="not a table of vectors", where=where, found=found, do="give floats [rows, D]"))
    elif not np.isfinite(vector_ND).all():
        row = int(np.flatnonzero(~np.isfinite(vector_ND).all(axis=1))[0])
        do = "check the model: its output for this text is broken"
        problems.append(Problem(what="a vector is NaN or infinite", where=f"{where}, row {row}", found="NaN", do=do))
    if problems:
        raise InputError(problems)


def _check(query_QD: NDArray[np.floating], passages: Passages, tie_rank_N: NDArray[np.int64], k: int) -> None:
    check_vectors(query_QD, "query_QD")
    found = {
        "k must be 1 or more": (k < 1, f"k = {k}", "ask for at least one result"),
        "queries and passages have different dimensions": (
            query_QD.shape[1] != passages.dims,
            f"{query_QD.shape[1]} and {passages.dims}",
            "encode both with the same model and the same dims",
        ),
        "ids do not fit the passages": (
            len(tie_rank_N) != len(passages),
            f"{len(tie_rank_N)} ids for {len(passages)} passages",
            "give one id a passage",
        ),
    }
    problems = [Problem(what=what, where="search", found=text, do=do) for what, (bad, text, do) in found.items() if bad]
    if problems:
        raise InputError(problems)

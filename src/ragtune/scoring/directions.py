"""More contrasts than query against passage: query-query, passage-query, passage-passage.

The loss stays what it is, a function of a matrix. Here the matrix is built: one row for each (query, positive) pair,
its columns the candidates of one direction or of all of them side by side.

Shapes: Q queries, C candidates, R (query, positive) pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, Self, TypeVar, final, get_args

import torch
from torch import Tensor

from ragtune.errors import Problem, did_you_mean
from ragtune.scoring.targets import Targets

Direction = Literal["query_passage", "query_query", "passage_query", "passage_passage"]
Partition = Literal["joint", "separate"]

DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
PARTITIONS: tuple[Partition, ...] = get_args(Partition)
WITH_POSITIVE: frozenset[Direction] = frozenset({"query_passage", "passage_query"})
"""The directions whose candidates hold the positive pair; the others can only lend negatives to a joint softmax."""


class Texts(Protocol):
    """Representations of texts, of which some can be chosen by number; a tensor of vectors is one."""

    def __getitem__(self, places: Tensor, /) -> Self:
        """The texts at ``places``, in that order."""


T = TypeVar("T", bound=Texts)


@final
@dataclass(frozen=True, slots=True)
class ScoreBlocks:
    """The scores that the directions need. ``query_R``, ``passage_R`` index the pairs as :func:`positive_pairs` does.

    ``score_QQ``: queries against queries, for ``query_query``. ``score_RC``: each pair's positive against all
    candidates, for ``passage_passage``. ``passage_query`` reads ``score_QC`` by its columns.
    """

    score_QC: Tensor
    query_R: Tensor
    passage_R: Tensor
    score_QQ: Tensor | None = None
    score_RC: Tensor | None = None


def positive_pairs(targets: Targets) -> tuple[Tensor, Tensor]:
    """The row and the column of every valid cell that is known to be relevant: ``query_R``, ``passage_R``."""
    query_R, passage_R = torch.nonzero((targets.relevance_QC > 0) & targets.valid_QC, as_tuple=True)
    return query_R, passage_R


def score_blocks(
    query: T, passage: T, targets: Targets, *, directions: Collection[Direction], similarity: Callable[[T, T], Tensor]
) -> ScoreBlocks:
    """The blocks of scores that ``directions`` need, and no others. ``targets`` hold one row for each query."""
    query_R, passage_R = positive_pairs(targets)
    return ScoreBlocks(
        score_QC=similarity(query, passage),
        query_R=query_R,
        passage_R=passage_R,
        score_QQ=similarity(query, query) if "query_query" in directions else None,
        score_RC=similarity(passage[passage_R], passage) if "passage_passage" in directions else None,
    )


def direction_problems(directions: Collection[str], partition: str, *, where: str = "loss") -> list[Problem]:
    """Everything that is wrong with a recipe's directions and partition, all at once.

    >>> print(direction_problems(["query_passage", "query_query"], "separate")[0])
    these directions cannot stand in a softmax of their own
      where: loss
      found: query_query
      do:    use partition: joint; their candidates never hold the positive
    """
    problems = [
        Problem(what=f"{name!r} is no {kind}", where=where, found=name, do=did_you_mean(name, known))
        for kind, known, names in (("direction", DIRECTIONS, directions), ("partition", PARTITIONS, [partition]))
        for name in names
        if name not in known
    ]
    if "query_passage" not in directions:
        problems.append(
            Problem(
                what="the direction query_passage is missing",
                where=where,
                found=", ".join(directions) or "no direction",
                do="add query_passage, the direction in which a search goes",
            )
        )
    lonely = [name for name in directions if name in DIRECTIONS and name not in WITH_POSITIVE]
    if partition == "separate" and lonely:
        problems.append(
            Problem(
                what="these directions cannot stand in a softmax of their own",
                where=where,
                found=", ".join(lonely),
                do="use partition: joint; their candidates never hold the positive",
            )
        )
    return problems


def directional_loss(
    loss: Callable[[Tensor, Targets], Tensor],
    blocks: ScoreBlocks,
    targets: Targets,
    *,
    directions: Collection[Direction],
    partition: Partition = "joint",
) -> Tensor:
    """``loss_Q`` over one matrix of all directions (``joint``), or the mean of the directions' own (``separate``).

    For a pair of query i and positive p, ``joint`` softmax has the denominator of GTE (Li et al. 2023,
    arXiv:2308.03281, the improved contrastive loss):

        sum_j exp(s(q_i, p_j)) + sum_{j != i} exp(s(q_i, q_j)) + sum_j exp(s(q_j, p)) + sum_{j != i} exp(s(p, p_j))

    each sum for its direction; the positive stands in the first and the third. ``separate`` with query_passage and
    passage_query is symmetric InfoNCE (CLIP, Radford et al. 2021, arXiv:2103.00020). A query's value is the mean over
    its positives; with query_passage alone it is what the softmax loss gives with ``positives="apart"``.

    Left out of the added directions, as in the first, is what may be a false negative: queries that share a passage
    known to be relevant or whose positives do not count for query i, passages that are relevant to one same query,
    and the query's own candidates against their own positive. Teacher scores are not carried over.

    >>> from ragtune.scoring.losses import LOSSES
    >>> from ragtune.scoring.similarity import dot
    >>> vectors, valid = torch.eye(2), torch.ones(2, 2, dtype=torch.bool)
    >>> targets = Targets(torch.eye(2), valid, own_QC=torch.eye(2, dtype=torch.bool))
    >>> blocks = score_blocks(vectors, vectors, targets, directions=DIRECTIONS, similarity=dot)
    >>> def loss(score_RN, targets_RN):
    ...     return LOSSES["softmax"].function(score_RN, targets_RN, temperature=1.0)
    >>> [round(value, 4) for value in directional_loss(loss, blocks, targets, directions=DIRECTIONS).tolist()]
    [1.2446, 1.2446]
    """
    pairs = _Pairs(blocks, targets)
    matrices = [_MATRICES[name](pairs) for name in DIRECTIONS if name in directions]
    if partition == "joint":
        loss_R = loss(*_side_by_side(matrices, pairs))
    else:
        loss_R = torch.stack([loss(*matrix.of(pairs)) for matrix in matrices]).mean(dim=0)
    pairs_Q = torch.bincount(blocks.query_R, minlength=len(targets.relevance_QC))
    return loss_R.new_zeros(len(pairs_Q)).index_add(0, blocks.query_R, loss_R / pairs_Q[blocks.query_R])


@final
class _Pairs:
    """Who is known to answer whom, seen from each (query, positive) pair."""

    def __init__(self, blocks: ScoreBlocks, targets: Targets) -> None:
        self.blocks = blocks
        self.query_R, self.passage_R = blocks.query_R, blocks.passage_R
        self.known_QC, self.valid_QC = targets.relevance_QC > 0, targets.valid_QC
        self.own_QC = torch.ones_like(self.valid_QC) if targets.own_QC is None else targets.own_QC
        self.relevance_R = targets.relevance_QC[self.query_R, self.passage_R]
        self.weight_R = None if targets.weight_Q is None else targets.weight_Q[self.query_R]

    def strangers_RQ(self) -> Tensor:
        """Queries whose positives would all be negatives of this pair's query."""
        positive_QC = (self.known_QC & self.valid_QC).float()
        conflict_QQ = (self.known_QC | ~self.valid_QC).float() @ positive_QC.T > 0
        return (~conflict_QQ & (positive_QC.sum(dim=1) > 0))[self.query_R]

    def siblings_RC(self) -> Tensor:
        """Candidates that some query knows to be relevant together with this pair's positive."""
        return self.known_QC.float()[:, self.passage_R].T @ self.known_QC.float() > 0


@final
@dataclass(frozen=True, slots=True)
class _Matrix:
    """One direction's scores for every pair; ``positive_RN`` marks the pair's own cell where the direction has it."""

    score_RN: Tensor
    valid_RN: Tensor
    own_RN: Tensor
    positive_RN: Tensor

    def of(self, pairs: _Pairs) -> tuple[Tensor, Targets]:
        relevance_RN = self.positive_RN * pairs.relevance_R[:, None]
        return self.score_RN, Targets(relevance_RN, self.valid_RN, own_QC=self.own_RN, weight_Q=pairs.weight_R)


def _side_by_side(matrices: list[_Matrix], pairs: _Pairs) -> tuple[Tensor, Targets]:
    """One matrix; the positive is a positive in the first direction (query_passage) and nowhere else."""
    positives = [matrix.positive_RN & (number == 0) for number, matrix in enumerate(matrices)]
    return _Matrix(
        score_RN=torch.cat([matrix.score_RN for matrix in matrices], dim=1),
        valid_RN=torch.cat([matrix.valid_RN for matrix in matrices], dim=1),
        own_RN=torch.cat([matrix.own_RN for matrix in matrices], dim=1),
        positive_RN=torch.cat(positives, dim=1),
    ).of(pairs)


def _one_hot(index_R: Tensor, width: int) -> Tensor:
    return torch.arange(width, device=index_R.device) == index_R[:, None]


def _query_passage(pairs: _Pairs) -> _Matrix:
    positive_RC = _one_hot(pairs.passage_R, pairs.valid_QC.shape[1])
    valid_RC = positive_RC | (pairs.valid_QC & ~pairs.known_QC)[pairs.query_R]
    return _Matrix(pairs.blocks.score_QC[pairs.query_R], valid_RC, pairs.own_QC[pairs.query_R], positive_RC)


def _query_query(pairs: _Pairs) -> _Matrix:
    assert pairs.blocks.score_QQ is not None, "the direction query_query needs score_QQ"
    score_RQ = pairs.blocks.score_QQ[pairs.query_R]
    nothing_RQ = torch.zeros_like(score_RQ, dtype=torch.bool)
    return _Matrix(score_RQ, pairs.strangers_RQ(), nothing_RQ, nothing_RQ)


def _passage_query(pairs: _Pairs) -> _Matrix:
    positive_RQ = _one_hot(pairs.query_R, len(pairs.valid_QC))
    counts_RQ = (pairs.valid_QC & ~pairs.known_QC)[:, pairs.passage_R].T & pairs.strangers_RQ()
    return _Matrix(pairs.blocks.score_QC[:, pairs.passage_R].T, positive_RQ | counts_RQ, positive_RQ, positive_RQ)


def _passage_passage(pairs: _Pairs) -> _Matrix:
    assert pairs.blocks.score_RC is not None, "the direction passage_passage needs score_RC"
    counts_RC = (pairs.valid_QC & ~pairs.known_QC & ~pairs.own_QC)[pairs.query_R] & ~pairs.siblings_RC()
    nothing_RC = torch.zeros_like(counts_RC)
    return _Matrix(pairs.blocks.score_RC, counts_RC, nothing_RC, nothing_RC)


_MATRICES: Mapping[Direction, Callable[[_Pairs], _Matrix]] = {
    "query_passage": _query_passage,
    "query_query": _query_query,
    "passage_query": _passage_query,
    "passage_passage": _passage_passage,
}

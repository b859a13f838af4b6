"""Losses of the order of a query's candidates: pairs of them, or the list as a whole.

Shapes: Q queries, C candidates, K better cells of a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ragtune.scoring.losses.cells import (
    Cells,
    Scope,
    compact,
    finish,
    left_aligned,
    log_softmax,
    mean_over,
    usable_cells,
)
from ragtune.scoring.targets import Targets

Weighting = Literal["ndcg_loss2pp", "ndcg_loss2", "lambdarank", "none"]


def ranknet(score_QC: Tensor, targets: Targets, *, temperature: float = 1.0, scope: Scope = "own") -> Tensor:
    """Each pair of a query's candidates of different relevance as a yes-or-no question: which is the better?

    With s = score / temperature (the paper's sigma is 1 / temperature):

        loss = mean over relevance_i > relevance_j of log( 1 + exp(s_j - s_i) )

    (RankNet, Burges et al. 2005, doi:10.1145/1102351.1102363, equation 3 with certain preferences.)

    >>> targets = Targets(torch.tensor([[2.0, 1.0, 0.0]]), torch.ones(1, 3, dtype=torch.bool))
    >>> [round(value, 4) for value in ranknet(torch.tensor([[1.0, 1.0, 1.0]]), targets).tolist()]
    [0.6931]
    """
    cells, _ = compact(usable_cells(score_QC, targets, scope, temperature=temperature))
    index_QK, pair_QKC = _ordered_pairs(cells)
    loss_QKC = -F.logsigmoid(_differences(cells.score_QC, index_QK))
    return finish(mean_over(loss_QKC.flatten(1), pair_QKC.flatten(1)), pair_QKC.flatten(1).any(dim=1), targets)


def listnet(score_QC: Tensor, targets: Targets, *, temperature: float = 1.0, scope: Scope = "own") -> Tensor:
    """The chance of standing first by the scores against the same by the relevance.

    With s = score / temperature:

        loss = - sum_i softmax(relevance)_i log softmax(s)_i

    (ListNet, Cao et al. 2007, doi:10.1145/1273496.1273513, top-one probabilities.) A query whose usable candidates
    are all equally relevant says nothing about their order and gives 0.

    >>> targets = Targets(torch.tensor([[1.0, 0.0]]), torch.ones(1, 2, dtype=torch.bool))
    >>> [round(value, 4) for value in listnet(torch.tensor([[2.0, 0.0]]), targets).tolist()]
    [0.6648]
    """
    cells = usable_cells(score_QC, targets, scope, temperature=temperature)
    usable_Q = _differ(cells)
    wanted_QC = log_softmax(cells.relevance_QC, cells.use_QC).exp()
    log_chance_QC = log_softmax(cells.score_QC, cells.use_QC)
    return finish(-(wanted_QC * log_chance_QC).masked_fill(~cells.use_QC, 0.0).sum(dim=1), usable_Q, targets)


def lambda_loss(
    score_QC: Tensor,
    targets: Targets,
    *,
    temperature: float = 1.0,
    weighting: Weighting = "ndcg_loss2pp",
    k: int | None = None,
    mu: float = 10.0,
    scope: Scope = "own",
) -> Tensor:
    """RankNet's pairs, each weighted by what the nDCG would lose by it.

    With s = score / temperature, r the rank by score, D(r) = log2(1 + r), G the gain (2^relevance - 1) / maxDCG and
    d = |r_i - r_j|:

        loss = - mean over relevance_i > relevance_j of weight_ij * log2 sigmoid(s_i - s_j)

        lambdarank    |1 / D(r_i) - 1 / D(r_j)| * |G_i - G_j|
        ndcg_loss2    |1 / D(d) - 1 / D(d + 1)| * |G_i - G_j|
        ndcg_loss2pp  mu * ndcg_loss2 + lambdarank
        none          1

    Weights carry no gradient. Equal scores are ranked against the model (the less relevant first). ``k`` (None = all)
    keeps the pairs that touch the top k and cuts maxDCG there. (LambdaLoss, Wang et al. 2018,
    doi:10.1145/3269206.3271784; LambdaRank, Burges et al. 2006; ``mu`` as in sentence-transformers.)

    >>> targets = Targets(torch.tensor([[1.0, 0.0]]), torch.ones(1, 2, dtype=torch.bool))
    >>> score_QC = torch.tensor([[0.0, 1.0]])
    >>> [round(value, 4) for value in lambda_loss(score_QC, targets, weighting="lambdarank").tolist()]
    [0.6993]
    """
    cells, _ = compact(usable_cells(score_QC, targets, scope, temperature=temperature))
    index_QK, pair_QKC = _ordered_pairs(cells)
    rank_QC = _ranks(cells).to(cells.score_QC.dtype)
    rank_QK1, rank_Q1C = rank_QC.gather(1, index_QK)[:, :, None], rank_QC[:, None, :]
    if k is not None:
        pair_QKC = pair_QKC & (torch.minimum(rank_QK1, rank_Q1C) <= k)
    gain_QKC = _differences(_gains(cells, k), index_QK).abs()
    weight_QKC = _WEIGHTINGS[weighting](rank_QK1, rank_Q1C, gain_QKC, mu)
    loss_QKC = -weight_QKC * F.logsigmoid(_differences(cells.score_QC, index_QK)) / math.log(2)
    return finish(mean_over(loss_QKC.flatten(1), pair_QKC.flatten(1)), pair_QKC.flatten(1).any(dim=1), targets)


def _ordered_pairs(cells: Cells) -> tuple[Tensor, Tensor]:
    """Columns of the cells that are better than some other, and the pairs (better, worse) of relevance."""
    lowest_Q1 = cells.relevance_QC.masked_fill(~cells.use_QC, math.inf).amin(dim=1, keepdim=True)
    index_QK, better_QK = left_aligned(cells.use_QC & (cells.relevance_QC > lowest_Q1))
    pair_QKC = better_QK[:, :, None] & cells.use_QC[:, None, :] & (_differences(cells.relevance_QC, index_QK) > 0)
    return index_QK, pair_QKC


def _differences(value_QC: Tensor, index_QK: Tensor) -> Tensor:
    return value_QC.gather(1, index_QK)[:, :, None] - value_QC[:, None, :]


def _differ(cells: Cells) -> Tensor:
    lowest_Q = cells.relevance_QC.masked_fill(~cells.use_QC, math.inf).amin(dim=1)
    highest_Q = cells.relevance_QC.masked_fill(~cells.use_QC, -math.inf).amax(dim=1)
    return highest_Q > lowest_Q


def _ranks(cells: Cells) -> Tensor:
    """1 for the highest score; cells that are not in use come last."""
    score_QC = cells.score_QC.detach().masked_fill(~cells.use_QC, -math.inf)
    by_relevance_QC = cells.relevance_QC.argsort(dim=1, stable=True)
    by_score_QC = score_QC.gather(1, by_relevance_QC).argsort(dim=1, descending=True, stable=True)
    return by_relevance_QC.gather(1, by_score_QC).argsort(dim=1) + 1


def _gains(cells: Cells, k: int | None) -> Tensor:
    """(2^relevance - 1) over the best DCG that the usable cells allow; relevance below 0 gains nothing."""
    gain_QC = torch.exp2(cells.relevance_QC.clamp(min=0.0)) - 1
    best_QC = gain_QC.sort(dim=1, descending=True).values
    discount_C = torch.log2(torch.arange(2, best_QC.shape[1] + 2, device=best_QC.device, dtype=best_QC.dtype))
    max_dcg_Q = (best_QC / discount_C)[:, :k].sum(dim=1)
    # a row without any gain has no DCG to lose: its weights are 0, not 0 / 0
    return gain_QC / max_dcg_Q.masked_fill(max_dcg_Q == 0, 1.0)[:, None]


def _lambdarank(rank_QK1: Tensor, rank_Q1C: Tensor, gain_QKC: Tensor, mu: float) -> Tensor:
    return (1 / torch.log2(1 + rank_QK1) - 1 / torch.log2(1 + rank_Q1C)).abs() * gain_QKC


def _ndcg_loss2(rank_QK1: Tensor, rank_Q1C: Tensor, gain_QKC: Tensor, mu: float) -> Tensor:
    # a cell against itself is no pair; 1 keeps its weight finite
    distance_QKC = (rank_QK1 - rank_Q1C).abs().clamp(min=1.0)
    return (1 / torch.log2(1 + distance_QKC) - 1 / torch.log2(2 + distance_QKC)).abs() * gain_QKC


def _ndcg_loss2pp(rank_QK1: Tensor, rank_Q1C: Tensor, gain_QKC: Tensor, mu: float) -> Tensor:
    return mu * _ndcg_loss2(rank_QK1, rank_Q1C, gain_QKC, mu) + _lambdarank(rank_QK1, rank_Q1C, gain_QKC, mu)


def _unweighted(rank_QK1: Tensor, rank_Q1C: Tensor, gain_QKC: Tensor, mu: float) -> Tensor:
    return torch.ones_like(gain_QKC)


_WEIGHTINGS: Mapping[Weighting, Callable[[Tensor, Tensor, Tensor, float], Tensor]] = {
    "ndcg_loss2pp": _ndcg_loss2pp,
    "ndcg_loss2": _ndcg_loss2,
    "lambdarank": _lambdarank,
    "none": _unweighted,
}

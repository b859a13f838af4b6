"""Losses of positives against negatives, a query's own or the whole batch's.

Shapes: Q queries, C candidates, K as many cells as the fullest row has, N cells of the whole batch.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ragtune.scoring.losses.cells import Scope, compact, finish, left_aligned, log_sum_exp, mean_over, usable_cells
from ragtune.scoring.targets import Targets


def triplet(
    score_QC: Tensor,
    targets: Targets,
    *,
    margin: float = 0.2,
    negatives: Literal["all", "hardest"] = "all",
    scope: Scope = "own",
) -> Tensor:
    """Every positive is to score ``margin`` above every negative (or above the hardest one).

        loss = mean over positives p and negatives n of max(0, s_n - s_p + margin)

    With cosine scores this is the triplet loss on cosine distance (FaceNet, Schroff et al. 2015, arXiv:1503.03832,
    section 3.1, margin 0.2; ``hardest``: Hermans et al. 2017, arXiv:1703.07737, equation 5, on the negative's side).

    >>> import torch
    >>> targets = Targets(torch.tensor([[1.0, 0.0, 0.0]]), torch.ones(1, 3, dtype=torch.bool))
    >>> [round(value, 4) for value in triplet(torch.tensor([[0.5, 0.4, 0.1]]), targets).tolist()]
    [0.05]
    """
    cells, _ = compact(usable_cells(score_QC, targets, scope))
    other_QC, negative_QC = cells.score_QC, cells.negative_QC
    if negatives == "hardest" and other_QC.shape[1]:
        hardest_Q1 = other_QC.masked_fill(~negative_QC, -math.inf).argmax(dim=1, keepdim=True)
        other_QC, negative_QC = other_QC.gather(1, hardest_Q1), negative_QC.gather(1, hardest_Q1)
    index_QK, positive_QK = left_aligned(cells.positive_QC)
    score_QK = cells.score_QC.gather(1, index_QK)
    hinge_QKC = (other_QC[:, None, :] - score_QK[:, :, None] + margin).clamp(min=0.0)
    pair_QKC = positive_QK[:, :, None] & negative_QC[:, None, :]
    return finish(mean_over(hinge_QKC.flatten(1), pair_QKC.flatten(1)), pair_QKC.flatten(1).any(dim=1), targets)


def circle(
    score_QC: Tensor, targets: Targets, *, temperature: float = 0.0125, margin: float = 0.4, scope: Scope = "batch"
) -> Tensor:
    """Positives towards 1 and negatives towards 0, each pushed the harder the further it is from there.

    With g = 1 / temperature and m = margin, for cosine scores:

        loss = log( 1 + sum_N exp(g a_n (s_n - m)) * sum_P exp(-g a_p (s_p - 1 + m)) )
        a_p = max(0, 1 + m - s_p),  a_n = max(0, s_n + m),  both without gradient

    (Circle loss, Sun et al. 2020, arXiv:2002.10857, equations 5 to 8; the defaults are the paper's for retrieval,
    g = 80 and m = 0.4.)

    >>> import torch
    >>> targets = Targets(torch.tensor([[1.0, 0.0]]), torch.ones(1, 2, dtype=torch.bool))
    >>> [round(value, 4) for value in circle(torch.tensor([[0.9, 0.3]]), targets, temperature=1.0).tolist()]
    [0.5892]
    """
    cells = usable_cells(score_QC, targets, scope)
    score_QC, fixed_QC = cells.score_QC, cells.score_QC.detach()
    pull_QC = -(1 + margin - fixed_QC).clamp(min=0.0) * (score_QC - 1 + margin) / temperature
    push_QC = (fixed_QC + margin).clamp(min=0.0) * (score_QC - margin) / temperature
    total_Q = log_sum_exp(pull_QC, cells.positive_QC) + log_sum_exp(push_QC, cells.negative_QC)
    usable_Q = cells.positive_QC.any(dim=1) & cells.negative_QC.any(dim=1)
    return finish(-F.logsigmoid(-total_Q), usable_Q, targets)


def cosent(score_QC: Tensor, targets: Targets, *, temperature: float = 0.05, scope: Scope = "own") -> Tensor:
    """Any cell of the batch is to score above any cell, of any query, that is less relevant.

    With s = score / temperature, i and j running over all usable cells of all rows and w their row's weight:

        loss = log( 1 + sum over relevance_i > relevance_j of w_i w_j exp(s_j - s_i) )

    One value for the batch, which every query that has a usable cell receives (times its weight), so that the
    weighted mean over queries is the value itself: a row of weight 2 counts as the same row twice. Weights must not
    be negative; a row of weight 0 is left out. Time n log n and memory n in the number of cells. (CoSENT, Huang et
    al. 2024, doi:10.1109/TASLP.2024.3402087.)

    >>> import torch
    >>> targets = Targets(torch.tensor([[0.9], [0.2]]), torch.ones(2, 1, dtype=torch.bool))
    >>> [round(v, 4) for v in cosent(torch.tensor([[0.6], [0.5]]), targets, temperature=0.1).tolist()]
    [0.3133, 0.3133]
    """
    cells = usable_cells(score_QC, targets, scope, temperature=temperature)
    use_QC = cells.use_QC if targets.weight_Q is None else cells.use_QC & (targets.weight_Q > 0)[:, None]
    weight_QC = torch.ones_like(cells.score_QC)
    if targets.weight_Q is not None:
        weight_QC = weight_QC * targets.weight_Q[:, None]
    loss = _misordered(cells.score_QC[use_QC], cells.relevance_QC[use_QC], weight_QC[use_QC].log())
    return finish(loss.expand(len(score_QC)), use_QC.any(dim=1), targets)


def _misordered(score_N: Tensor, relevance_N: Tensor, log_weight_N: Tensor) -> Tensor:
    """The scalar of :func:`cosent`: for each cell, the more relevant ones as one running log-sum."""
    relevance_N, order_N = relevance_N.sort(descending=True)
    score_N, log_weight_N = score_N[order_N], log_weight_N[order_N]
    better_N = (log_weight_N - score_N).logcumsumexp(dim=0)
    # the number of strictly more relevant cells, which are exactly the first ones
    count_N = torch.searchsorted(-relevance_N, -relevance_N, right=False)
    worse_N = count_N > 0
    exponent = (score_N + log_weight_N)[worse_N] + better_N[(count_N - 1)[worse_N]]
    return torch.cat([exponent.new_zeros(1), exponent]).logsumexp(dim=0)

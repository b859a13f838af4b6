"""Losses of single cells against their relevance: each pair stands for itself.

Shapes: Q queries, C candidates. A query's value is the mean over its usable cells.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ragtune.scoring.losses.cells import Scope, finish, mean_over, usable_cells
from ragtune.scoring.targets import Targets


def contrastive(score_QC: Tensor, targets: Targets, *, margin: float = 0.5, scope: Scope = "own") -> Tensor:
    """Positives are pulled together, negatives pushed until they are ``margin`` apart.

    With d = 1 - score (the cosine distance) and y = relevance, clipped to [0, 1]:

        loss = mean over cells of 1/2 ( y d^2 + (1 - y) max(0, margin - d)^2 )

    (Hadsell et al. 2006, doi:10.1109/CVPR.2006.100, equation 4, with cosine distance.)

    >>> import torch
    >>> targets = Targets(torch.tensor([[1.0, 0.0]]), torch.tensor([[True, True]]))
    >>> [round(value, 4) for value in contrastive(torch.tensor([[0.6, 0.9]]), targets).tolist()]
    [0.08]
    """
    cells = usable_cells(score_QC, targets, scope)
    distance_QC = 1 - cells.score_QC
    label_QC = cells.relevance_QC.clamp(0.0, 1.0)
    pull_QC, push_QC = distance_QC.square(), (margin - distance_QC).clamp(min=0.0).square()
    loss_Q = mean_over(0.5 * (label_QC * pull_QC + (1 - label_QC) * push_QC), cells.use_QC)
    return finish(loss_Q, cells.use_QC.any(dim=1), targets)


def online_contrastive(score_QC: Tensor, targets: Targets, *, margin: float = 0.5, scope: Scope = "own") -> Tensor:
    """The contrastive loss of the batch's hard cells alone; the other cells count as 0.

    A positive is hard where it is further away than the batch's nearest negative, a negative where it is nearer than
    the batch's furthest positive (without any cell of the other kind: than the mean of its own kind). With
    d = 1 - score:

        loss = mean over cells of  d^2 (hard positive)  or  max(0, margin - d)^2 (hard negative)

    The selection looks at all rows and carries no gradient. Source: the online variant of sentence-transformers,
    over Hadsell et al. 2006 (equation 4).

    >>> import torch
    >>> targets = Targets(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.ones(2, 2, dtype=torch.bool))
    >>> loss_Q = online_contrastive(torch.tensor([[0.6, 0.7], [0.9, 0.1]]), targets)
    >>> [round(value, 4) for value in loss_Q.tolist()]
    [0.1, 0.0]
    """
    cells = usable_cells(score_QC, targets, scope)
    distance_QC = 1 - cells.score_QC
    positive_QC, negative_QC = cells.positive_QC, cells.negative_QC
    positive_distance, negative_distance = distance_QC.detach()[positive_QC], distance_QC.detach()[negative_QC]
    furthest = positive_distance.max() if positive_distance.numel() else negative_distance.mean()
    nearest = negative_distance.min() if negative_distance.numel() else positive_distance.mean()
    pull_QC = distance_QC.square().masked_fill(~(positive_QC & (distance_QC > nearest)), 0.0)
    push_QC = (margin - distance_QC).clamp(min=0.0).square().masked_fill(~(negative_QC & (distance_QC < furthest)), 0.0)
    return finish(mean_over(pull_QC + push_QC, cells.use_QC), cells.use_QC.any(dim=1), targets)


def cosine_similarity(score_QC: Tensor, targets: Targets, *, scope: Scope = "own") -> Tensor:
    """The squared error of the score as a prediction of the relevance (scored sentence pairs).

        loss = mean over cells of (score - relevance)^2

    (Sentence-BERT, Reimers and Gurevych 2019, arXiv:1908.10084, section 3, regression objective.)

    >>> import torch
    >>> targets = Targets(torch.tensor([[0.8, 0.0]]), torch.tensor([[True, True]]))
    >>> [round(value, 4) for value in cosine_similarity(torch.tensor([[0.6, 0.2]]), targets).tolist()]
    [0.04]
    """
    cells = usable_cells(score_QC, targets, scope)
    loss_Q = mean_over((cells.score_QC - cells.relevance_QC).square(), cells.use_QC)
    return finish(loss_Q, cells.use_QC.any(dim=1), targets)


def binary_cross_entropy(
    score_QC: Tensor,
    targets: Targets,
    *,
    temperature: float = 1.0,
    positive_weight: float = 1.0,
    scope: Scope = "own",
) -> Tensor:
    """Each cell as a yes-or-no question, the score being its logit.

    With s = score / temperature, y = relevance clipped to [0, 1] (so a grade of 2 means yes) and w = positive_weight:

        loss = mean over cells of -( w y log sigmoid(s) + (1 - y) log sigmoid(-s) )

    (The cross-entropy of a Bernoulli variable; for rerankers: Nogueira and Cho 2019, arXiv:1901.04085, equation 1.)

    >>> import torch
    >>> targets = Targets(torch.tensor([[1.0, 0.0]]), torch.tensor([[True, True]]))
    >>> [round(value, 4) for value in binary_cross_entropy(torch.tensor([[2.0, 0.0]]), targets).tolist()]
    [0.41]
    """
    cells = usable_cells(score_QC, targets, scope, temperature=temperature)
    label_QC = cells.relevance_QC.clamp(0.0, 1.0)
    yes_QC, no_QC = F.logsigmoid(cells.score_QC), F.logsigmoid(-cells.score_QC)
    loss_Q = mean_over(-(positive_weight * label_QC * yes_QC + (1 - label_QC) * no_QC), cells.use_QC)
    return finish(loss_Q, cells.use_QC.any(dim=1), targets)

"""Softmax cross-entropy over a query's candidates (InfoNCE).

Shapes: Q queries, C candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from ragtune.scoring.losses.cells import Cells, Scope, finish, log_sum_exp, mean_over, usable_cells
from ragtune.scoring.targets import Targets

Positives = Literal["apart", "mean", "sum"]


def softmax(
    score_QC: Tensor,
    targets: Targets,
    *,
    temperature: float = 0.02,
    scope: Scope = "batch",
    positives: Positives = "apart",
) -> Tensor:
    """Softmax cross-entropy of a query's positives P against its negatives N (InfoNCE).

    With s = score / temperature and one positive p, all three treatments are

        loss = -log( exp(s_p) / (exp(s_p) + sum_{n in N} exp(s_n)) )

    (van den Oord et al. 2018, arXiv:1807.03748, equation 4). With several positives:

    - ``apart``: the mean over P of the formula above. Positives never compete; the least possible loss is 0.
    - ``mean``: the mean over P of -log( exp(s_p) / sum_{a in P and N} exp(s_a) ): all positives are to score alike
      (SupCon, Khosla et al. 2020, arXiv:2004.11362, equation 2). The least possible loss is log |P|.
    - ``sum``: -log( sum_P exp(s_p) / sum_{P and N} exp(s_a) ): one good positive is enough
      (MIL-NCE, Miech et al. 2020, arXiv:1912.06430, equation 1).

    Any grade above 0 is a positive. ``scope="own"`` leaves other queries' candidates out.

    >>> import torch
    >>> targets = Targets(torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[True, True, False]]))
    >>> [round(value, 4) for value in softmax(torch.tensor([[0.8, 0.7, 9.9]]), targets, temperature=0.1).tolist()]
    [0.3133]
    """
    cells = usable_cells(score_QC, targets, scope, temperature=temperature)
    usable_Q = cells.positive_QC.any(dim=1) & cells.negative_QC.any(dim=1)
    return finish(_TREATMENTS[positives](cells), usable_Q, targets)


def _apart(cells: Cells) -> Tensor:
    negatives_Q = log_sum_exp(cells.score_QC, cells.negative_QC)
    return mean_over(-F.logsigmoid(cells.score_QC - negatives_Q[:, None]), cells.positive_QC)


def _mean(cells: Cells) -> Tensor:
    return log_sum_exp(cells.score_QC, cells.use_QC) - mean_over(cells.score_QC, cells.positive_QC)


def _sum(cells: Cells) -> Tensor:
    difference_Q = log_sum_exp(cells.score_QC, cells.negative_QC) - log_sum_exp(cells.score_QC, cells.positive_QC)
    return -F.logsigmoid(-difference_Q)


_TREATMENTS: Mapping[Positives, Callable[[Cells], Tensor]] = {"apart": _apart, "mean": _mean, "sum": _sum}

"""What every loss does first: which cells count, in which precision.

Shapes: Q queries, C candidates, K at most as many of a row's cells as any row needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from ragtune.scoring.similarity import full_precision
from ragtune.scoring.targets import Targets

Scope = Literal["batch", "own"]
"""``batch``: every valid cell of the row; ``own``: only the candidates that were set beside this very query."""


@final
@dataclass(frozen=True, slots=True)
class Cells:
    """The scores of a matrix with every cell that does not count set to 0, so that nothing it held can spread."""

    score_QC: Tensor
    relevance_QC: Tensor
    use_QC: Tensor

    @property
    def positive_QC(self) -> Tensor:
        """Cells that count and are known to be relevant (any grade above 0)."""
        return self.use_QC & (self.relevance_QC > 0)

    @property
    def negative_QC(self) -> Tensor:
        """Cells that count and are not known to be relevant."""
        return self.use_QC & (self.relevance_QC <= 0)


def usable_cells(
    score_QC: Tensor, targets: Targets, scope: Scope, *, temperature: float = 1.0, teacher: bool = False
) -> Cells:
    """The cells that count: valid, in scope, scored (-inf means that there was nothing to score).

    With ``teacher`` the teacher must have scored them too. Scores are widened to fp32 first and then divided by
    ``temperature``. The gradient of every cell that does not count is exactly 0.
    """
    assert score_QC.shape == targets.valid_QC.shape, f"scores {score_QC.shape}, targets {targets.valid_QC.shape}"
    use_QC = targets.valid_QC & (score_QC != -math.inf)
    if scope == "own" and targets.own_QC is not None:
        use_QC = use_QC & targets.own_QC
    if teacher:
        use_QC = use_QC & ~torch.isnan(teacher_scores(targets))
    score_QC = full_precision(score_QC).masked_fill(~use_QC, 0.0) / temperature
    return Cells(score_QC, targets.relevance_QC.to(score_QC.dtype).masked_fill(~use_QC, 0.0), use_QC)


def teacher_scores(targets: Targets) -> Tensor:
    """The teacher's scores; the caller has made sure that there are some (``LossSpec.needs_teacher``)."""
    assert targets.teacher_QC is not None, "this loss needs teacher scores, and the targets have none"
    return targets.teacher_QC


def log_sum_exp(score: Tensor, use: Tensor) -> Tensor:
    """Log of the sum of exponentials over the last dimension's ``use`` cells; 0 (zero gradient) if there are none."""
    empty = ~use.any(dim=-1, keepdim=True)
    filled = score.masked_fill(~use, -math.inf).masked_fill(empty, 0.0)
    return filled.logsumexp(dim=-1).masked_fill(empty.squeeze(-1), 0.0)


def log_softmax(value_QC: Tensor, use_QC: Tensor) -> Tensor:
    """Log-probabilities among each row's ``use`` cells; the others hold 0."""
    return (value_QC - log_sum_exp(value_QC, use_QC)[:, None]).masked_fill(~use_QC, 0.0)


def mean_over(value: Tensor, use: Tensor) -> Tensor:
    """The mean over the last dimension's ``use`` cells; 0 where there are none."""
    return value.masked_fill(~use, 0.0).sum(dim=-1) / use.sum(dim=-1).clamp(min=1)


def finish(loss_Q: Tensor, usable_Q: Tensor, targets: Targets) -> Tensor:
    """The weighted loss, exactly 0 with zero gradient for every query that has nothing usable."""
    loss_Q = loss_Q.masked_fill(~usable_Q, 0.0)
    return loss_Q if targets.weight_Q is None else loss_Q * targets.weight_Q.to(loss_Q.dtype)


def left_aligned(use_QC: Tensor) -> tuple[Tensor, Tensor]:
    """The columns of each row's ``use`` cells, moved to the left: ``index_QK`` and ``use_QK`` (False = filling).

    At least one column, so that a lowest and a highest value of a row exist.
    """
    width = max(1, int(use_QC.sum(dim=1).max())) if len(use_QC) else 1
    index_QK = use_QC.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :width]
    return index_QK, use_QC.gather(1, index_QK)


def compact(cells: Cells) -> tuple[Cells, Tensor]:
    """Cells in as few columns as the fullest row needs (own candidates of a big batch), and where they came from."""
    index_QK, use_QK = left_aligned(cells.use_QC)
    return Cells(cells.score_QC.gather(1, index_QK), cells.relevance_QC.gather(1, index_QK), use_QK), index_QK

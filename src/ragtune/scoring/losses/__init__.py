"""Losses: pure functions of a score matrix and its targets, one value a query, nothing reduced.

``LOSSES[name].function(score_QC, targets, **options) -> loss_Q`` in fp32. For all of them:

- ``temperature`` divides. Cells that are not valid, lie outside ``scope`` or score -inf (there was nothing to score)
  count nowhere: their gradient is exactly 0 and what they hold cannot spread.
- A query without anything usable gives exactly 0 with zero gradient.
- ``weight_Q`` multiplies; the sum is divided once, by the caller.
- The order of the candidates means nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ragtune.errors import Problem, did_you_mean
from ragtune.scoring.losses.softmax import softmax
from ragtune.scoring.losses.table import LossOption, LossSpec, option_problems, options_of

LOSSES: Mapping[str, LossSpec] = MappingProxyType(
    {
        "softmax": LossSpec(softmax, "softmax cross-entropy of the positives against the negatives (InfoNCE)"),
    }
)
"""Every loss by the name that recipes use."""


def loss_options(name: str) -> Mapping[str, LossOption]:
    """The typed options of a loss.

    >>> loss_options("softmax")["scope"].choices
    ('batch', 'own')
    """
    return options_of(LOSSES[name].function)


def validate_loss_options(name: str, options: Mapping[str, object], *, where: str = "loss") -> list[Problem]:
    """Every problem of a loss name and its options, all at once; ``where`` goes into each.

    >>> print(validate_loss_options("softmax", {"temperatur": 0.02}, where="recipe.yaml:7")[0])
    the loss softmax has no option 'temperatur'
      where: recipe.yaml:7
      found: temperatur
      do:    did you mean 'temperature'? known: positives, scope, temperature
    """
    if name not in LOSSES:
        return [
            Problem(what="there is no loss of this name", where=where, found=name, do=did_you_mean(name, [*LOSSES]))
        ]
    return option_problems(name, loss_options(name), options, where)


__all__ = ["LOSSES", "LossOption", "LossSpec", "loss_options", "validate_loss_options"]

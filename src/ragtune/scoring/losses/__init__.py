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
from ragtune.scoring.losses.distillation import kl_divergence, m3_distillation, margin_mse
from ragtune.scoring.losses.pairwise import circle, cosent, triplet
from ragtune.scoring.losses.pointwise import binary_cross_entropy, contrastive, cosine_similarity, online_contrastive
from ragtune.scoring.losses.ranking import lambda_loss, listnet, ranknet
from ragtune.scoring.losses.softmax import softmax
from ragtune.scoring.losses.table import LossOption, LossSpec, option_problems, options_of

LOSSES: Mapping[str, LossSpec] = MappingProxyType(
    {
        "softmax": LossSpec(softmax, "softmax cross-entropy of the positives against the negatives (InfoNCE)"),
        "triplet": LossSpec(triplet, "every positive a margin above every negative, or above the hardest"),
        "circle": LossSpec(circle, "positives to 1, negatives to 0, the far-off ones pushed hardest"),
        "contrastive": LossSpec(contrastive, "labelled pairs: together, or at least a margin apart"),
        "online_contrastive": LossSpec(
            online_contrastive, "the contrastive loss of the batch's hard pairs alone", couples_queries=True
        ),
        "cosine_similarity": LossSpec(cosine_similarity, "scored pairs: squared error of the score"),
        "cosent": LossSpec(cosent, "scored pairs: their order over the whole batch", couples_queries=True),
        "binary_cross_entropy": LossSpec(binary_cross_entropy, "each pair as a yes-or-no question"),
        "ranknet": LossSpec(ranknet, "every pair of candidates of different relevance in order"),
        "listnet": LossSpec(listnet, "the list's top-one probabilities against those of the relevance"),
        "lambda": LossSpec(lambda_loss, "RankNet's pairs weighted by what the nDCG would lose by each"),
        "kl_divergence": LossSpec(kl_divergence, "the teacher's distribution over the candidates", needs_teacher=True),
        "m3_distillation": LossSpec(
            m3_distillation,
            "teacher-weighted softmax losses, best candidate first, each without those before it",
            needs_teacher=True,
        ),
        "margin_mse": LossSpec(margin_mse, "the teacher's distances of positives and negatives", needs_teacher=True),
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

"""From token states to a pair's score: which position is read, and what comes behind it.

Letters: B pairs, H hidden width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from ragtune.models.transformer import TokenRows

Reads = Literal["first", "last", "mean"]


@final
@dataclass(frozen=True, slots=True)
class Head:
    """``reads``: the state that stands for the pair; ``score`` makes ``score_B1`` of the network and ``state_BH``."""

    reads: Reads
    score: Callable[[Any, Tensor], Tensor]


def _wide(part: nn.Module, given: Tensor) -> Tensor:
    """A part of the head in fp32: a logit near 8 has steps of 0.06 in bf16, and equal scores have no order."""
    weights = {name: weight.float() for name, weight in part.named_parameters()}
    out: Tensor = torch.func.functional_call(part, weights, (given.float(),))
    return out


def _pooler(network: Any, state_BH: Tensor) -> Tensor:
    """BERT: the backbone's pooler, dropout, classifier."""
    backbone = getattr(network, network.base_model_prefix)
    return _wide(network.classifier, network.dropout(_wide(backbone.pooler, state_BH[:, None])))


def _own_pooler(network: Any, state_BH: Tensor) -> Tensor:
    return _wide(network.classifier, network.dropout(_wide(network.pooler, state_BH[:, None])))


def _classifier(network: Any, state_BH: Tensor) -> Tensor:
    """RoBERTa and its kin: a classifier that takes the first of many states."""
    return _wide(network.classifier, state_BH[:, None])


def _pre_classifier(network: Any, state_BH: Tensor) -> Tensor:
    return _wide(network.classifier, network.dropout(torch.relu(_wide(network.pre_classifier, state_BH))))


def _prediction_head(network: Any, state_BH: Tensor) -> Tensor:
    return _wide(network.classifier, network.drop(_wide(network.head, state_BH)))


def _linear(network: Any, state_BH: Tensor) -> Tensor:
    return _wide(network.score, state_BH)


HEADS: Mapping[str, Head] = MappingProxyType(
    {
        "bert": Head("first", _pooler),
        "deberta-v2": Head("first", _own_pooler),
        "roberta": Head("first", _classifier),
        "xlm-roberta": Head("first", _classifier),
        "camembert": Head("first", _classifier),
        "electra": Head("first", _classifier),
        "mpnet": Head("first", _classifier),
        "distilbert": Head("first", _pre_classifier),
        "modernbert": Head("first", _prediction_head),
    }
)
"""Sequence classifiers by model type; others run as a whole, with padding."""

LAST_TOKEN = Head("last", _linear)
"""A decoder with a classification head."""


def classifier_head(network: Any, *, decoder: bool) -> Head | None:
    """The head of a sequence classifier; None where the table does not know it."""
    if decoder:
        return LAST_TOKEN if isinstance(getattr(network, "score", None), nn.Linear) else None
    head = HEADS.get(network.config.model_type)
    if head is not None and getattr(network.config, "classifier_pooling", "cls") == "mean":
        return Head("mean", head.score)
    return head


@final
@dataclass(frozen=True, slots=True)
class Answers:
    """The tokens whose logits make the score: yes minus no, or yes alone."""

    yes: int
    no: int | None

    @property
    def ids(self) -> list[int]:
        """The rows of the output table that are read."""
        return [self.yes] if self.no is None else [self.yes, self.no]


def answer_head(answers: Answers) -> Head:
    """A language model's score: its last state times one or two rows of the output table, never the whole of it."""

    def score(network: Any, state_BH: Tensor) -> Tensor:
        weight_VH = network.get_output_embeddings().weight
        ids = torch.tensor(answers.ids, device=state_BH.device)
        # the gradient of a table that is also the input's is added to those rows alone
        with_gradient = weight_VH.requires_grad and torch.is_grad_enabled()
        rows_RH: Tensor = TokenRows.apply(weight_VH, ids) if with_gradient else weight_VH[ids]  # type: ignore[no-untyped-call]
        logit_BR = state_BH.float() @ rows_RH.float().T
        return logit_BR[:, :1] if answers.no is None else logit_BR[:, :1] - logit_BR[:, 1:]

    return Head("last", score)


def one_logit(network: Any) -> None:
    """Turn a classifier of two labels into one logit, label 1 minus label 0: the log-odds, the same order of pairs."""
    layers = [(name, m) for name, m in network.named_modules() if isinstance(m, nn.Linear) and m.out_features == 2]
    name, two = layers[-1]
    one = nn.Linear(two.in_features, 1, bias=two.bias is not None)
    with torch.no_grad():
        one.weight.copy_(two.weight[1:] - two.weight[:1])
        if two.bias is not None:
            one.bias.copy_(two.bias[1:] - two.bias[:1])
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, one)
    network.config.num_labels = 1
    network.num_labels = 1

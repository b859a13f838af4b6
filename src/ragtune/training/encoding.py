"""What a step encodes, and how the rows that come back become its score matrix: the two ways a model can be asked.

A bi-encoder reads every query and every candidate once, and each meets each. A pair model reads each query beside its
own candidates, one text a pair; all other cells of the matrix count for nothing.

Letters: Q queries, C candidates, P pairs, N rows, D dimensions.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from ragtune.models.base import BiEncoder, Inputs, Kind, PairModel, Representation, Scorer, TokenIds
from ragtune.scoring.targets import Targets
from ragtune.training.batches import Batch
from ragtune.training.examples import Texts


@final
@dataclass(frozen=True, slots=True)
class Scored:
    """``score_QC``, and the representations of queries and passages behind it where the model has them."""

    score_QC: Tensor
    sides: tuple[Representation, Representation] | None = None


class StepTexts(abc.ABC):
    """The texts of a step for one kind of model."""

    @abc.abstractmethod
    def inputs(self, batch: Batch, targets: Targets) -> Inputs:
        """The token sequences that are encoded."""

    @abc.abstractmethod
    def scored(self, rep: Representation, batch: Batch, targets: Targets) -> tuple[Scored, Targets]:
        """The score matrix of their representations, and the targets that fit it."""


def step_texts(model: Scorer, texts: Texts) -> StepTexts:
    """How the model is asked."""
    if isinstance(model, PairModel):
        return JoinedPairs(model, texts)
    assert isinstance(model, BiEncoder)
    return TwoSides(model, texts)


def _candidates(batch: Batch, model: Scorer, texts: Texts) -> list[TokenIds]:
    """Token ids of every candidate; augmented ones are tokenised now."""
    changed = dict(zip(batch.changed, model.tokenize(list(batch.changed.values()), kind="passage"), strict=True))
    return [changed[c] if c in changed else texts.passages[int(c)] for c in batch.candidates]


@final
class TwoSides(StepTexts):
    """All queries, then all candidates that are encoded; every query meets every candidate."""

    def __init__(self, model: BiEncoder, texts: Texts) -> None:
        self.model = model
        self.texts = texts

    def inputs(self, batch: Batch, targets: Targets) -> Inputs:
        """Queries, then candidates; none of these where the passage side is frozen."""
        queries = [self.texts.queries[number] for number in batch.row_numbers]
        passages = [] if self.texts.frozen_PD is not None else _candidates(batch, self.model, self.texts)
        kinds: list[Kind] = ["query"] * len(queries)
        kinds += ["passage"] * len(passages)
        return Inputs([*queries, *passages], kinds=kinds)

    def scored(self, rep: Representation, batch: Batch, targets: Targets) -> tuple[Scored, Targets]:
        """The model's score of each query's and each candidate's rows."""
        queries = len(batch.rows)
        query, passage = rep[:queries], rep[queries:]
        if self.texts.frozen_PD is not None:
            chosen_CD = self.texts.frozen_PD[[int(c) for c in batch.candidates]]
            passage = Representation.one_each(chosen_CD.to(rep.rows_ND.device))
        return Scored(self.model.score(query, passage), sides=(query, passage)), targets


@final
class JoinedPairs(StepTexts):
    """Each query beside each of its own candidates that count: one text, one score a pair."""

    def __init__(self, model: PairModel, texts: Texts) -> None:
        self.model = model
        self.texts = texts

    def inputs(self, batch: Batch, targets: Targets) -> Inputs:
        """The pairs, row by row."""
        passages = _candidates(batch, self.model, self.texts)
        queries = [self.texts.queries[number] for number in batch.row_numbers]
        cells = own_cells(targets).nonzero().tolist()
        joined = [self.model.join(queries[row], passages[column]) for row, column in cells]
        return Inputs([ids for ids, _ in joined], seconds=[second for _, second in joined])

    def scored(self, rep: Representation, batch: Batch, targets: Targets) -> tuple[Scored, Targets]:
        """Every pair's score in its cell; no other cell is valid."""
        own_QC = own_cells(targets).to(rep.rows_ND.device)
        empty_QC = rep.rows_ND.new_zeros(own_QC.shape)
        score_QC = empty_QC.masked_scatter(own_QC, rep.rows_ND.squeeze(1))
        return Scored(score_QC), replace(targets, valid_QC=own_QC.to(targets.valid_QC.device))


def own_cells(targets: Targets) -> Tensor:
    """``own_QC``, true where a candidate that counts was set beside this very query."""
    own_QC = targets.valid_QC if targets.own_QC is None else targets.valid_QC & targets.own_QC
    assert own_QC.dtype == torch.bool
    return own_QC

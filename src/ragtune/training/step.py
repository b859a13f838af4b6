"""One step: sort, cut, encode, score, and carry the gradient home.

All texts of the batch are sorted by length and cut into micro-batches by a token budget. The graphs of as many
micro-batches as ``graph_tokens`` allows are kept, those of the shortest texts; the others are encoded without a graph
and once more in backward (gradient caching, Gao et al. 2021, arXiv:2101.06983), under the same random numbers. Both
give the same gradient.

With several processes each encodes its share of the micro-batches, and as many as any other, since sharded weights are
gathered by all processes at once: one whose share has run out encodes a text that counts for nothing. Representations
are then summed together, every process computes the whole score matrix, and each carries home the gradient of its own
texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import final

import torch
from torch import Tensor

from ragtune.errors import NonFiniteLossError
from ragtune.models.base import Inputs, Representation, TokenBatch, row_places, token_batches
from ragtune.recipe import TrainRecipe
from ragtune.scoring.targets import Targets, fill_targets
from ragtune.training.batches import Batch
from ragtune.training.distributed import World
from ragtune.training.encoding import step_texts
from ragtune.training.examples import Texts
from ragtune.training.objective import Objective, ObjectiveValue
from ragtune.training.precision import Compute


@final
@dataclass(slots=True)
class StepResult:
    """What one batch did: sums over its queries, and counts."""

    loss_sum: float
    part_sums: dict[str, float]
    queries: int
    tokens: int
    squared_tokens: int
    padded_tokens: int
    recomputed_tokens: int
    positive_scores: Tensor = field(repr=False)
    negative_scores: Tensor = field(repr=False)


@final
@dataclass(slots=True)
class _MicroBatch:
    """Some of the step's texts, or none, and then ``tokens`` holds a text that counts for nothing.

    ``row_N`` are the places of their rows among all rows of the step. ``random`` is the generator's state before them
    where no graph was kept.
    """

    texts: int
    row_N: Tensor
    tokens: TokenBatch
    rows_ND: Tensor
    random: Tensor | None = None


@final
class Step:
    """Runs batches forward and backward; gradients add up in the model's parameters."""

    def __init__(
        self, compute: Compute, *, objective: Objective, texts: Texts, recipe: TrainRecipe, world: World
    ) -> None:
        self.compute = compute
        self.objective = objective
        self.texts = step_texts(compute.model, texts)
        self.recipe = recipe
        self.world = world

    def run(self, batch: Batch, *, divisor: int, scale: float = 1.0, progress: float = 1.0) -> StepResult:
        """Add the gradient of sum(loss_Q) * scale / divisor, at ``progress`` (0 to 1) of the run.

        Raises ``NonFiniteLossError`` naming the batch.
        """
        targets = fill_targets(batch.rows, batch.candidates)
        if self.world.size > 1 and not self.recipe.negatives_across_devices:
            targets = _own_process_only(targets, batch)
        inputs = self.texts.inputs(batch, targets)
        everything = inputs.batch(range(len(inputs)), device=torch.device("cpu"))
        counts_B = self.compute.model.row_counts(everything)
        micro_batches = self._forward(inputs, counts_B)
        device = self.compute.model.device
        dtype = torch.promote_types(micro_batches[0].rows_ND.dtype, torch.float32)
        rows_ND = torch.zeros(int(counts_B.sum()), self.compute.model.dims, device=device, dtype=dtype)
        for micro in micro_batches:
            rows_ND[micro.row_N] = micro.rows_ND.detach()
        self.world.sum_(rows_ND)
        rows_ND.requires_grad_()
        scored, targets = self.texts.scored(Representation(rows_ND, counts_B), batch, targets)
        value = self.objective(scored, targets.to(device), progress=progress)
        loss_sum = value.loss_Q.sum()
        if not torch.isfinite(loss_sum):
            raise NonFiniteLossError(_named(batch, value.loss_Q))
        if rows_ND.grad_fn is None and loss_sum.requires_grad:
            (loss_sum * (scale / divisor)).backward()
        self._backward(micro_batches, rows_ND.grad if rows_ND.grad is not None else torch.zeros_like(rows_ND))
        return self._result(value, micro_batches)

    def _forward(self, inputs: Inputs, counts_B: Tensor) -> list[_MicroBatch]:
        """This process's micro-batches, encoded in one order whatever fits: the last ones keep their graphs."""
        device = self.compute.model.device
        lengths = [len(s) for s in inputs.sequences]
        # no larger than an equal share, so that no process waits for the others
        budget = min(self.recipe.micro_batch_tokens, -(-sum(lengths) // self.world.size))
        parts = list(token_batches(lengths, budget=budget))
        rounds = [parts[first : first + self.world.size] for first in range(0, len(parts), self.world.size)]
        # processes keep graphs alike, by the largest micro-batch among them
        kept = _kept_rounds([max(sum(lengths[i] for i in part) for part in at_once) for at_once in rounds], self.recipe)
        micro_batches = []
        for number, at_once in enumerate(rounds):
            places = at_once[self.world.rank] if self.world.rank < len(at_once) else []
            keep = number >= len(rounds) - kept
            tokens = inputs.batch(places or at_once[0][-1:], device=device)
            row_N = row_places(counts_B, torch.tensor(places, dtype=torch.int64)).to(device)
            random = None if keep else _random_state(device)
            with torch.set_grad_enabled(keep):
                rows_ND = self.compute(tokens)[: len(row_N)]
            micro_batches.append(_MicroBatch(len(places), row_N, tokens, rows_ND=rows_ND, random=random))
        return micro_batches

    def _backward(self, micro_batches: Sequence[_MicroBatch], grad_ND: Tensor) -> None:
        """Newest graph first, so that memory falls while the recomputed ones come and go."""
        for micro in reversed([m for m in micro_batches if m.random is None]):
            self._carry(micro.rows_ND, grad_ND[micro.row_N])
            micro.rows_ND = micro.rows_ND.detach()
        for micro in micro_batches:
            if micro.random is None:
                continue
            after = _random_state(self.compute.model.device)
            _set_random_state(micro.random, self.compute.model.device)
            self._carry(self.compute(micro.tokens)[: len(micro.row_N)], grad_ND[micro.row_N])
            _set_random_state(after, self.compute.model.device)

    def _carry(self, rows_ND: Tensor, grad_ND: Tensor) -> None:
        self.compute.backward(rows_ND, grad_ND, recomputes=self.recipe.gradient_checkpointing)

    def _result(self, value: ObjectiveValue, micro_batches: Sequence[_MicroBatch]) -> StepResult:
        micro_batches = [m for m in micro_batches if m.texts]
        lengths = torch.cat([m.tokens.lengths_B for m in micro_batches]) if micro_batches else torch.zeros(1).long()
        multiple = self.recipe.pad_to_multiple_of or 1
        longest = [-(-int(m.tokens.lengths_B.max()) // multiple) * multiple for m in micro_batches]
        padded = 0 if self._packed else sum(n * m.texts for n, m in zip(longest, micro_batches, strict=True))
        positive_QC = value.targets.relevance_QC > 0
        score_QC = value.score_QC.detach()
        return StepResult(
            loss_sum=float(value.loss_Q.detach().sum()),
            part_sums={name: float(part.detach().sum()) for name, part in value.parts.items()},
            queries=len(value.loss_Q),
            tokens=int(lengths.sum()),
            squared_tokens=int(lengths.square().sum()),
            padded_tokens=padded or int(lengths.sum()),
            recomputed_tokens=sum(m.tokens.tokens for m in micro_batches if m.random is not None),
            positive_scores=score_QC[positive_QC & value.targets.valid_QC],
            negative_scores=score_QC[~positive_QC & value.targets.valid_QC],
        )

    @property
    def _packed(self) -> bool:
        return self.compute.model.packed


def _kept_rounds(tokens: Sequence[int], recipe: TrainRecipe) -> int:
    """How many of the last rounds keep their graphs: the shortest texts, whose attention takes least memory a token."""
    return sum(total <= recipe.graph_tokens for total in accumulate(reversed(tokens)))


def _own_process_only(targets: Targets, batch: Batch) -> Targets:
    """Candidates that another process brought do not count."""
    mine_QC = torch.tensor([[rank in brought for brought in batch.brought] for rank in batch.rank_Q])
    return Targets(
        relevance_QC=targets.relevance_QC,
        valid_QC=targets.valid_QC & mine_QC,
        teacher_QC=targets.teacher_QC,
        own_QC=targets.own_QC,
        weight_Q=targets.weight_Q,
    )


def _named(batch: Batch, loss_Q: Tensor) -> str:
    bad = [
        row.query_id
        for row, loss in zip(batch.rows, loss_Q.tolist(), strict=True)
        if loss != loss or abs(loss) == float("inf")
    ]
    return (
        f"the loss is not finite for {len(bad)} of {len(batch.rows)} queries of this batch: {', '.join(bad[:8])}"
        + (" ..." if len(bad) > 8 else "")
        + "; lower train.learning_rate, set train.precision=fp32, or look at these queries"
    )


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)

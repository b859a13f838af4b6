"""Where a model's weights are while it trains, and what follows from that for gradients, checkpoints and evaluation.

Either every process holds the whole model (``Whole``), or a share of every weight (``sharding.Sharded``). The loop and
the step are the same for both.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator
from typing import Any, Protocol, final

import torch

from ragtune.models.base import Scorer
from ragtune.training.distributed import World
from ragtune.training.precision import Compute


class HasState(Protocol):
    """What a checkpoint keeps of an optimizer: whole tensors, whatever each process holds of them."""

    def state_dict(self) -> dict[str, Any]:
        """The state, as ``torch.optim.Optimizer.state_dict`` gives it."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put a state back."""


class Placement(abc.ABC):
    """The weights of the job's model in training. Every process calls every method."""

    compute: Compute
    """Runs the forward passes; ``compute.model`` holds the parameters that the optimizer moves."""

    @abc.abstractmethod
    def sum_gradients(self) -> None:
        """See to it that the gradients are those of all processes' texts."""

    @abc.abstractmethod
    def clip_gradients(self, limit: float) -> float:
        """Scale the gradients down to a norm of ``limit`` over all weights; gives the norm before."""

    @abc.abstractmethod
    def clear_gradients(self) -> None:
        """Make ready for the next step's gradients."""

    @abc.abstractmethod
    def whole(self) -> contextlib.AbstractContextManager[None]:
        """Inside, the job's model holds the present weights, whole, on every process."""

    @abc.abstractmethod
    def adopt(self) -> None:
        """Train on from what has been loaded into the job's model; called inside ``whole``."""

    @abc.abstractmethod
    def finish(self) -> None:
        """Training is over: the job's model holds the weights, whole, on every process, and keeps them."""

    @abc.abstractmethod
    def whole_state(self, optimizer: torch.optim.Optimizer) -> HasState:
        """The optimizer's state for a checkpoint."""


@final
class Whole(Placement):
    """Every process holds the whole model."""

    def __init__(self, model: Scorer, *, dtype: torch.dtype, world: World) -> None:
        self.compute = Compute(model, dtype=dtype)
        self._model = model
        self._world = world

    def sum_gradients(self) -> None:
        """One sum over all processes."""
        self._world.sum_gradients(self._model.parameters())

    def clip_gradients(self, limit: float) -> float:
        """The norm over all parameters that have a gradient."""
        trained = [p for p in self._model.parameters() if p.grad is not None]
        return float(torch.nn.utils.clip_grad_norm_(trained, limit, foreach=True))

    def clear_gradients(self) -> None:
        """The embedding table's gradient is zeroed in place (rows are added to it); the others are dropped."""
        table = self._model.token_embedding.weight
        for p in self._model.parameters():
            if p is table and p.grad is not None:
                p.grad.zero_()
            else:
                p.grad = None

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """It always does."""
        yield

    def adopt(self) -> None:
        """The compute copy is made anew."""
        self.compute.refresh()

    def finish(self) -> None:
        """Nothing is left to do."""

    def whole_state(self, optimizer: torch.optim.Optimizer) -> HasState:
        """The optimizer itself."""
        return optimizer

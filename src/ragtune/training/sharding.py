"""Sharded weights: each process holds a share of every weight, its gradient and its moments (FSDP2).

Built on ``torch.distributed.fsdp.fully_shard``, a unit for the token table, one for each layer and one for the rest.
accelerate's ``FullyShardedDataParallelPlugin`` ends in the same function, but accelerate 1.15 takes that way on
accelerators alone (a CPU's world stays ``MULTI_CPU`` and the plugin is dropped), shards by ``Accelerator.prepare``
only, and averages gradients. The engine needs sums, and a path that its tests can run without a GPU.

A unit's weights are gathered for its forward pass and once more for its backward pass, and its gradient is summed into
the owners' shares after each micro-batch, in fp32. Communication therefore grows with the number of micro-batches:
with sharding, choose ``train.micro_batch_tokens`` as large as memory allows.

The job's own model stays unsharded beside it and empty while training runs. It is filled for dev evaluation, for
checkpoints and at the end, so each process must have room for the whole fp32 weights once; gradients, moments and the
weights in use during a step are what sharding saves.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from ragtune.models.base import Scorer
from ragtune.recipe import TrainRecipe
from ragtune.training.distributed import World
from ragtune.training.placement import HasState, Placement, Whole
from ragtune.training.precision import Compute


def placed(model: Scorer, *, recipe: TrainRecipe, dtype: torch.dtype, world: World) -> Placement:
    """The model's weights where the recipe wants them; products are computed in ``dtype``."""
    if recipe.fsdp:
        return Sharded(model, dtype=dtype, world=world)
    return Whole(model, dtype=dtype, world=world)


@final
class Sharded(Placement):
    """Every process holds a share of every weight."""

    def __init__(self, model: Scorer, *, dtype: torch.dtype, world: World) -> None:
        self._world = world
        mesh = init_device_mesh(model.device.type, (world.size,))
        sharded = _twin(model)
        _shard(sharded, mesh=mesh, dtype=dtype)
        # the policy casts the weights as they are gathered, so that no compute copy is needed
        self.compute = Compute(sharded, dtype=torch.float32)
        self._pairs = list(zip(model.parameters(), _shares(sharded), strict=True))
        self._empty()

    def sum_gradients(self) -> None:
        """Backward has summed each micro-batch's gradient into its owners."""

    def clip_gradients(self, limit: float) -> float:
        """The norm over all shares of all processes."""
        trained = [share for _, share in self._pairs if share.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(trained, limit, foreach=True)
        return float(_whole(norm))

    def clear_gradients(self) -> None:
        """The token table is read by a plain lookup, so every gradient is dropped."""
        for _, share in self._pairs:
            share.grad = None

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Every weight is gathered, and let go at the end."""
        self.finish()
        yield
        self._empty()

    def adopt(self) -> None:
        """Each process cuts its shares out of the whole weights."""
        with torch.no_grad():
            for own, share in self._pairs:
                share.copy_(_cut(own.detach(), like=share))

    def finish(self) -> None:
        """Every weight is gathered."""
        for own, share in self._pairs:
            own.data = _whole(share.detach())

    def whole_state(self, optimizer: torch.optim.Optimizer) -> HasState:
        """The optimizer's moments, gathered on process 0."""
        return _WholeState(optimizer, keep=self._world.rank == 0)

    def _empty(self) -> None:
        """Weights that keep their shape and take no room."""
        for own, _ in self._pairs:
            own.data = own.new_empty(1).expand(own.shape)


def _twin(model: Scorer) -> Scorer:
    """A second model on the same weights (no copy of them is made)."""
    weights = {id(p): nn.Parameter(p.detach(), requires_grad=p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, weights)


def _shard(model: Scorer, *, mesh: DeviceMesh, dtype: torch.dtype) -> None:
    half = None if dtype == torch.float32 else dtype
    policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32)
    # the table's rows are cast after the lookup, so that the gradients of one token's rows are summed in fp32
    rows_policy = MixedPrecisionPolicy(output_dtype=half)
    fully_shard(model.token_embedding, mesh=mesh, mp_policy=rows_policy)
    for layer in _layers(model):
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    for unit in model.modules():
        if isinstance(unit, FSDPModule):
            # a sum over processes: the loss is divided by the global count already
            unit.set_gradient_divide_factor(1.0)
            unit.set_force_sum_reduction_for_comms(True)
    model.forward_dtype = dtype


def _layers(model: nn.Module) -> list[nn.Module]:
    """The layers of the model's largest list of modules: a transformer's blocks."""
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList)]
    return list(max(lists, key=lambda m: sum(p.numel() for p in m.parameters()), default=[]))


def _shares(model: nn.Module) -> Iterator[DTensor]:
    for parameter in model.parameters():
        assert isinstance(parameter, DTensor)
        yield parameter


def _whole(value: Tensor) -> Tensor:
    assert isinstance(value, DTensor)
    return value.full_tensor()


def _cut(value: Tensor, *, like: DTensor) -> DTensor:
    return distribute_tensor(value, like.device_mesh, like.placements)


@final
class _WholeState:
    """An optimizer's state in whole tensors, as one process without sharding would keep it."""

    def __init__(self, optimizer: torch.optim.Optimizer, *, keep: bool) -> None:
        self._optimizer = optimizer
        state = optimizer.state_dict()
        gathered = {number: _gathered(values, keep=keep) for number, values in state["state"].items()}
        self._state = {**state, "state": gathered}

    def state_dict(self) -> dict[str, Any]:
        """The gathered state; empty moments on processes that keep nothing."""
        return self._state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Give each process its shares of the moments."""
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        cut = {n: _cut_moments(values, like=parameters[n]) for n, values in state_dict["state"].items()}
        self._optimizer.load_state_dict({**state_dict, "state": cut})


def _gathered(values: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    whole = ((name, value.full_tensor() if isinstance(value, DTensor) else value) for name, value in values.items())
    return {name: value.cpu() for name, value in whole if keep}


def _cut_moments(values: Mapping[str, Tensor], *, like: DTensor) -> dict[str, Tensor]:
    """Moments have the weight's shape; the count of steps has none."""
    device = like.device
    return {n: _cut(v.to(device), like=like) if v.shape == like.shape else v for n, v in values.items()}

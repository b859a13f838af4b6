"""What processes tell each other: representations and gradients, both summed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import final

import torch
import torch.distributed as dist
from torch import Tensor, nn


@final
@dataclass(frozen=True, slots=True)
class World:
    """This process among its peers."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def sum_(self, tensor: Tensor) -> Tensor:
        """Add the other processes' tensors in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum every parameter's gradient over all processes, as one flat message.

        A plain sum: each process holds the gradient of its own texts of one global loss, already divided.
        """
        if self.size == 1:
            return
        trained = [p for p in parameters if p.requires_grad]
        for p in trained:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        flat = torch.cat([p.grad.flatten() for p in trained])  # type: ignore[union-attr]
        dist.all_reduce(flat)
        for p, part in zip(trained, flat.split([p.numel() for p in trained]), strict=True):
            p.grad = part.view_as(p)

    def same_everywhere(self, value: float) -> float:
        """Process 0's value, so that all processes decide alike."""
        if self.size == 1:
            return value
        box = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(box, src=0)
        return float(box)

    def totals(self, counts: Sequence[int]) -> list[int]:
        """Each count summed over all processes."""
        if self.size == 1:
            return list(counts)
        return [int(n) for n in self.sum_(torch.tensor(counts, dtype=torch.int64, device=self.device)).tolist()]

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        return self.totals([int(flag)])[0] > 0

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Process 0 does the work before the others do, so that they find its files."""
        if self.rank != 0:
            self.wait()
        yield
        if self.rank == 0:
            self.wait()

    def wait(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()

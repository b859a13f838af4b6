"""Mixed precision by a compute copy: matrix products in bf16 or fp16, weights and sums in fp32.

The fp32 weights stay the truth. Before a step they are copied once into half-precision leaves; forward and backward
run on those, and each micro-batch's gradient is added to the fp32 gradient as it appears. No weight is cast twice in
a step and nothing is summed in half precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import final

import torch
from torch import Tensor, nn

from ragtune.errors import Problem, RecipeError
from ragtune.models.base import Scorer, TokenBatch
from ragtune.recipe import Precision

DTYPES: Mapping[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def compute_dtype(precision: Precision, *, device: torch.device) -> torch.dtype:
    """The dtype that a recipe's precision means on a device."""
    if precision != "auto":
        return DTYPES[precision]
    native = torch.cuda.is_bf16_supported() if device.type == "cuda" else _cpu_multiplies_bf16()
    return torch.bfloat16 if native else torch.float32


def _cpu_multiplies_bf16() -> bool:
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


@final
class Compute:
    """Runs a model's forward pass in a dtype; gradients arrive in the model's own fp32 parameters."""

    def __init__(self, model: Scorer, *, dtype: torch.dtype) -> None:
        self.model = model
        self.dtype = dtype
        table = model.token_embedding.weight
        plain = type(model.token_embedding) is nn.Embedding and table.requires_grad
        self._masters = {n: p for n, p in model.named_parameters() if not (plain and p is table)}
        self._copies: dict[str, Tensor] = {}
        if dtype != torch.float32:
            self._copies = {n: self._leaf(p) for n, p in self._masters.items()}

    def _leaf(self, master: nn.Parameter) -> Tensor:
        copy = master.detach().to(self.dtype).requires_grad_(master.requires_grad)
        if master.requires_grad:

            def add_to_master(leaf: Tensor) -> None:
                assert leaf.grad is not None
                if master.grad is None:
                    master.grad = leaf.grad.float()
                else:
                    master.grad.add_(leaf.grad)
                leaf.grad = None

            copy.register_post_accumulate_grad_hook(add_to_master)
        return copy

    def refresh(self) -> None:
        """Copy the weights anew, after the optimizer moved them."""
        moved = [n for n, p in self._masters.items() if p.requires_grad and n in self._copies]
        if moved:
            with torch.no_grad():
                torch._foreach_copy_([self._copies[n] for n in moved], [self._masters[n] for n in moved])

    def __call__(self, batch: TokenBatch) -> Tensor:
        """The rows of a micro-batch, fp32."""
        if not self._copies:
            return self.model(batch)  # type: ignore[no-any-return]
        return torch.func.functional_call(self.model, self._copies, (batch,))  # type: ignore[no-any-return]

    def backward(self, rows_ND: Tensor, grad_ND: Tensor, *, recomputes: bool) -> None:
        """Carry a micro-batch's gradient home. A model that recomputes layers on the way needs the copies again."""
        if self._copies and recomputes:
            copies = {f"model.{name}": copy for name, copy in self._copies.items()}
            torch.func.functional_call(_Holder(self.model), copies, (lambda: rows_ND.backward(grad_ND),))
        else:
            rows_ND.backward(grad_ND)


@final
class _Holder(nn.Module):
    """Runs any work on a model while ``functional_call`` has put other weights into it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[], None]) -> None:
        """Do the work."""
        work()


def check_precision(precision: Precision, *, device: torch.device) -> None:
    """Raise ``RecipeError`` where a device cannot compute in the wanted precision."""
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise RecipeError(
            Problem(
                what="this device does not compute in bf16",
                where="train.precision",
                found=torch.cuda.get_device_name(device),
                do="set train.precision=fp16 or fp32",
            )
        )

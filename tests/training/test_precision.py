"""Half precision in forward and backward, full precision in what is kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ragtune.models.base import TokenBatch
from ragtune.models.dense import DenseModel
from ragtune.training.precision import Compute, compute_dtype

BATCH = TokenBatch(ids_N=torch.arange(5, 45), lengths_B=torch.tensor([20, 12, 8]))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 0.02), (torch.float16, 2e-3)])
def test_vectors_and_gradients_are_fp32_and_near_the_exact_ones(
    dtype: torch.dtype, tolerance: float, load: Callable[..., DenseModel]
) -> None:
    exact, model = load(), load()
    compute = Compute(model, dtype=dtype)
    weight_BD = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    (exact(BATCH) * weight_BD).sum().backward()
    # twice half of it: gradients add up
    for _ in range(2):
        vector_BD = compute(BATCH)
        assert vector_BD.dtype == torch.float32
        compute.backward(vector_BD, weight_BD / 2, recomputes=False)
    wanted = {name: p.grad for name, p in exact.named_parameters() if p.grad is not None}
    largest = max(float(g.abs().max()) for g in wanted.values())
    for name, p in model.named_parameters():
        assert p.dtype == torch.float32
        if name in wanted:
            assert p.grad is not None and p.grad.dtype == torch.float32
            torch.testing.assert_close(p.grad / largest, wanted[name] / largest, rtol=0, atol=tolerance, msg=name)
        else:
            assert p.grad is None, name


def test_moved_weights_are_seen_after_refresh(load: Callable[..., DenseModel]) -> None:
    model = load()
    compute = Compute(model, dtype=torch.bfloat16)
    before = compute(BATCH).detach()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.5)
    compute.refresh()
    after = compute(BATCH).detach()
    assert not torch.allclose(before, after, atol=0.01)
    torch.testing.assert_close(after, model(BATCH).detach(), rtol=0, atol=0.03)


def test_frozen_weights_get_no_gradient_in_half_precision(load: Callable[..., DenseModel]) -> None:
    model = load(freeze={"first_layers": 1})
    compute = Compute(model, dtype=torch.bfloat16)
    compute.backward(compute(BATCH), torch.ones(3, 32), recomputes=False)
    for name, p in model.named_parameters():
        assert (p.grad is not None) == (p.requires_grad and "pooler" not in name), name


def test_the_recipe_names_the_dtype() -> None:
    cpu = torch.device("cpu")
    assert compute_dtype("fp32", device=cpu) is torch.float32
    assert compute_dtype("bf16", device=cpu) is torch.bfloat16
    assert compute_dtype("fp16", device=cpu) is torch.float16
    assert compute_dtype("auto", device=cpu) in (torch.float32, torch.bfloat16)

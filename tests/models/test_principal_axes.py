"""Principal axes change no score at full width, and their prefixes lose least."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ragtune.errors import RecipeError
from ragtune.models import load_model
from ragtune.models.dense import DenseModel
from ragtune.models.principal_axes import principal_axes, start_at_principal_axes
from ragtune.recipe import ModelRecipe

TEXTS = [f"passage {n} about {word}" for n, word in enumerate(["rain", "tax", "cats", "收入", "stars", "bread"] * 8)]


def model_of(folder: Path, **settings: object) -> DenseModel:
    model = load_model(ModelRecipe(name=str(folder), projection_init="principal_axes", **settings))  # type: ignore[arg-type]
    assert isinstance(model, DenseModel)
    return model


def turned(folder: Path, dims: int) -> DenseModel:
    model = model_of(folder, projection_dims=dims)
    start_at_principal_axes(model, model.tokenize(TEXTS, kind="passage"))
    return model


@given(st.integers(0, 2**31), st.integers(2, 12), st.integers(1, 30))
def test_axes_are_orthonormal_and_sorted_and_keep_dot_products(seed: int, width: int, texts: int) -> None:
    vector_BH = np.random.default_rng(seed).normal(size=(texts, width)) * np.arange(1, width + 1)
    axes_HH = principal_axes(vector_BH)
    np.testing.assert_allclose(axes_HH @ axes_HH.T, np.eye(width), atol=1e-9)
    turned_BH = vector_BH @ axes_HH.T
    np.testing.assert_allclose(turned_BH @ turned_BH.T, vector_BH @ vector_BH.T, rtol=1e-7, atol=1e-7)
    energy_H = (turned_BH**2).sum(0)
    assert (np.diff(energy_H) <= 1e-6 * energy_H[0]).all()
    # no other axes of that number keep more (Eckart and Young): numpy's singular values say how much there is
    singular = np.linalg.svd(vector_BH, compute_uv=False) ** 2
    np.testing.assert_allclose(energy_H[: len(singular)], singular, rtol=1e-6, atol=1e-6)


def test_at_full_width_every_score_stays(tiny_model: Path) -> None:
    plain = load_model(ModelRecipe(name=str(tiny_model)))
    assert isinstance(plain, DenseModel)
    before, after = (m.encode(TEXTS, kind="passage") for m in (plain, turned(tiny_model, plain.dims)))
    np.testing.assert_allclose(after @ after.T, before @ before.T, atol=2e-5)


def test_a_short_head_is_the_first_axes(tiny_model: Path) -> None:
    full, short = turned(tiny_model, 32), turned(tiny_model, 8)
    weights = [m.heads[-1][0].weight for m in (full, short)]  # type: ignore[index]
    assert isinstance(weights[0], nn.Parameter) and weights[1].requires_grad
    np.testing.assert_array_equal(weights[0][:8].detach().numpy(), weights[1].detach().numpy())


def test_a_head_cannot_have_more_axes_than_the_vectors(tiny_model: Path) -> None:
    with pytest.raises(RecipeError, match=r"model\.projection_dims(.|\n)*64, while"):
        model_of(tiny_model, projection_dims=64)

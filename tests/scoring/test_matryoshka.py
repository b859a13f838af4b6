"""Prefixes of vectors."""

from __future__ import annotations

import pytest
import torch

from ragtune.errors import InputError
from ragtune.scoring.matryoshka import matryoshka_prefixes


def test_prefixes_have_length_one_and_keep_their_direction() -> None:
    vector_ND = torch.randn(4, 8)
    for d, prefix in zip([8, 3], matryoshka_prefixes(vector_ND, [8, 3]), strict=True):
        torch.testing.assert_close(prefix.norm(dim=-1), torch.ones(4))
        torch.testing.assert_close(prefix * vector_ND[:, :d].norm(dim=-1, keepdim=True), vector_ND[:, :d])


def test_the_gradient_reaches_the_prefix_alone() -> None:
    vector_ND = torch.randn(2, 4, requires_grad=True)
    (matryoshka_prefixes(vector_ND, [2])[0] @ torch.ones(2)).sum().backward()
    assert vector_ND.grad is not None
    assert (vector_ND.grad[:, :2] != 0).all() and (vector_ND.grad[:, 2:] == 0).all()


def test_every_wrong_dimension_is_named() -> None:
    with pytest.raises(InputError, match=r"found: 0, 9\n.*1 to 4"):
        matryoshka_prefixes(torch.zeros(1, 4), [0, 4, 9])

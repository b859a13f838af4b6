"""A projection head that starts at the principal axes: the first dimensions carry most of what tells texts apart.

A rotation changes no dot product, so a head of full width changes no score; its prefixes are the best linear short
vectors of these texts (Eckart and Young 1936), which training then improves.

Letters: B texts, H width before the head, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from ragtune.models.base import TokenIds
from ragtune.models.dense import DenseModel
from ragtune.models.tokens import TokenStore

# More texts do not move the axes: a covariance of some hundred dimensions is known from some thousand texts
SAMPLE_TEXTS = 8192


def start_at_principal_axes(model: DenseModel, sequences: Sequence[TokenIds] | TokenStore) -> None:
    """Set the last projection head to the principal axes of these texts' vectors, most variance first.

    The axes are those of the vectors around the origin, as dot products see them.
    """
    linear = model.heads[-1][0]  # type: ignore[index]
    assert isinstance(linear, nn.Linear)
    assert linear.out_features <= linear.in_features
    chosen = np.linspace(0, len(sequences) - 1, min(len(sequences), SAMPLE_TEXTS)).astype(int)
    head = model.heads.pop(-1)
    vector_BH = model.encode_tokens(
        [sequences[int(place)] for place in chosen], kind="passage", label="finding principal axes"
    )
    model.heads.append(head)
    axes_DH = principal_axes(vector_BH)[: linear.out_features]
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(axes_DH))


def principal_axes(vector_BH: np.ndarray) -> np.ndarray:
    """``axes_HH``: orthonormal rows, by falling sum of squared projections; each one's largest entry is positive.

    >>> principal_axes(np.array([[0.0, 3.0], [1.0, 0.0], [0.0, -2.0]])).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    vector_BH = vector_BH.astype(np.float64)
    _, axes_HH = np.linalg.eigh(vector_BH.T @ vector_BH)
    rows_HH = axes_HH.T[::-1]
    largest_H = rows_HH[np.arange(len(rows_HH)), np.abs(rows_HH).argmax(1)]
    signed: np.ndarray = rows_HH * np.sign(largest_H)[:, None] + 0.0
    return signed

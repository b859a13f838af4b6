"""Prefixes of a vector that are vectors themselves (Matryoshka; Kusupati et al. 2022, arXiv:2205.13147).

Shapes: N texts, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from ragtune.errors import InputError, Problem


def matryoshka_prefixes(vector_ND: Tensor, dims: Sequence[int], *, normalize: bool = True) -> list[Tensor]:
    """The first ``d`` dimensions of every vector for each ``d`` in ``dims``, in that order, normalised anew.

    Raises InputError naming every dimension that the vector does not have.

    >>> import torch
    >>> [prefix.tolist() for prefix in matryoshka_prefixes(torch.tensor([[3.0, 4.0, 12.0]]), [2, 1], normalize=False)]
    [[[3.0, 4.0]], [[3.0]]]
    >>> matryoshka_prefixes(torch.tensor([[0.0, 4.0, 12.0]]), [2])[0].tolist()
    [[0.0, 1.0]]
    """
    width = vector_ND.shape[-1]
    wrong = [d for d in dims if not 1 <= d <= width]
    if wrong:
        raise InputError(
            Problem(
                what="a Matryoshka dimension that the vectors do not have",
                where="the Matryoshka dimensions",
                found=", ".join(map(str, wrong)),
                do=f"name dimensions from 1 to {width}",
            )
        )
    prefixes = [vector_ND[..., :d] for d in dims]
    return [F.normalize(prefix, dim=-1) for prefix in prefixes] if normalize else prefixes

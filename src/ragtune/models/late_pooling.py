"""Fewer vectors a passage: like token vectors are put together and replaced by their mean.

Ward clustering on cosine distance (Clavié et al. 2024, arXiv:2409.14683). Letters: N tokens, D dimensions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PROTECTED = 1
"""Leading tokens that stay as they are: the text's first, which stands for the whole."""


def pooled(rows_ND: NDArray[np.float32], *, factor: float) -> NDArray[np.float32]:
    """About one vector for ``factor`` tokens, L2-normalised; 1 leaves all as they are.

    >>> rows = np.float32([[1, 0], [0, 1], [0, 1], [1, 0], [1, 0]])
    >>> pooled(rows, factor=2).tolist()
    [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    """
    rest_ND = rows_ND[PROTECTED:]
    clusters = max(1, int(len(rest_ND) // factor))
    if factor <= 1 or clusters >= len(rest_ND):
        return rows_ND
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    distance_NN = np.clip(1 - rest_ND @ rest_ND.T, 0, 2)
    labels = fcluster(linkage(squareform(distance_NN, checks=False), method="ward"), t=clusters, criterion="maxclust")
    _, first, place_N = np.unique(labels, return_index=True, return_inverse=True)
    total = np.zeros((len(first), rows_ND.shape[1]), dtype=np.float32)
    np.add.at(total, place_N, rest_ND)
    total = total[np.argsort(first)]
    kept = np.concatenate([rows_ND[:PROTECTED], total])
    return kept / np.maximum(np.linalg.norm(kept, axis=1, keepdims=True), 1e-12)  # type: ignore[no-any-return]

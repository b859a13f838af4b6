"""The token vectors of many texts, kept behind each other without padding.

Letters: B texts, N rows of all texts together, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray


@final
@dataclass(frozen=True, slots=True)
class TokenVectors:
    """``rows_ND`` (float32 or float16) and how many of them each text has."""

    rows_ND: NDArray[np.floating]
    lengths_B: NDArray[np.int64]

    def __post_init__(self) -> None:
        assert self.rows_ND.ndim == 2 and len(self.rows_ND) == self.lengths_B.sum()

    def __len__(self) -> int:
        return len(self.lengths_B)

    @property
    def dims(self) -> int:
        """Width of a row."""
        return int(self.rows_ND.shape[1])

    def take(self, places: NDArray[np.int64]) -> TokenVectors:
        """The texts at ``places``, in that order.

        >>> both = TokenVectors(np.float32([[1], [2], [3]]), np.array([2, 1]))
        >>> both.take(np.array([1, 0])).rows_ND.ravel().tolist()
        [3.0, 1.0, 2.0]
        """
        start_B, counts = np.cumsum(self.lengths_B) - self.lengths_B, self.lengths_B[places]
        shift = start_B[places] - (np.cumsum(counts) - counts)
        return TokenVectors(self.rows_ND[np.repeat(shift, counts) + np.arange(counts.sum())], counts)

    def stored_as(self, dtype: type[np.floating]) -> TokenVectors:
        """The same vectors in another precision."""
        return TokenVectors(self.rows_ND.astype(dtype), self.lengths_B)

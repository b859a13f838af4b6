"""Useful floating-point operations of a training step: real tokens only, no padding, no recomputation.

For an encoder of L layers, width D and feed-forward width F, one token meets L * (4 D^2 + 2 D F) matmul weights
(query, key, value and output projection; the two feed-forward matrices). A weight costs 2 operations a token in the
forward pass and 4 in the backward pass (gradients of input and weight), so

    linear    = 6 * L * (4 D^2 + 2 D F)            for each token

Attention's two batched products (scores, weighted values) cost 2 * 2 n^2 D forward in each layer for a text of n
tokens, and twice that backward:

    attention = 12 * L * D * n^2                    for each text

Embedding look-ups, LayerNorm, GELU, softmax, pooling, the Q x C score matrix and the optimizer are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final


@final
@dataclass(frozen=True, slots=True)
class EncoderShape:
    """The sizes that the formula needs."""

    layers: int
    width: int
    feed_forward: int

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> EncoderShape:
        """The sizes in a Hugging Face ``config.json`` of the BERT family."""
        return cls(config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"])

    @property
    def matmul_weights(self) -> int:
        """Weights that a token is multiplied with.

        >>> EncoderShape(layers=6, width=384, feed_forward=1536).matmul_weights
        10616832
        """
        return self.layers * (4 * self.width**2 + 2 * self.width * self.feed_forward)


def training_flops(shape: EncoderShape, lengths: Iterable[int]) -> int:
    """Forward and backward operations for texts of the given token counts.

    >>> training_flops(EncoderShape(layers=1, width=2, feed_forward=8), [3])
    1080
    """
    sizes = list(lengths)
    linear = 6 * shape.matmul_weights * sum(sizes)
    attention = 12 * shape.layers * shape.width * sum(size**2 for size in sizes)
    return linear + attention

"""Counts the tokens that really go through an encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import nn

# From a call's positional and keyword arguments: real tokens, and all positions with padding.
Reading = Callable[[tuple[Any, ...], dict[str, Any]], tuple[int, int]]


@final
class TokenMeter:
    """Watches a module's calls: ``real_tokens`` once each, ``computed_tokens`` with padding and repeated passes."""

    def __init__(self, module: nn.Module, reading: Reading) -> None:
        self.real_tokens = 0
        self.computed_tokens = 0
        self._reading = reading
        module.register_forward_pre_hook(self._count, with_kwargs=True)

    def take(self) -> tuple[int, int]:
        """Real and computed tokens since the last call."""
        taken = self.real_tokens, self.computed_tokens
        self.real_tokens = self.computed_tokens = 0
        return taken

    def _count(self, _module: nn.Module, positional: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        real, computed = self._reading(positional, keywords)
        self.computed_tokens += computed
        # A gradient cache sends a text through twice; only the pass that keeps its graph counts as work.
        if torch.is_grad_enabled():
            self.real_tokens += real

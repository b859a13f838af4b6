"""What a run may spend, what it has spent, and what it would spend."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

from ragtune.recipe_synthesis import BudgetRecipe
from ragtune.synthesis.llm import Reply, Request

MILLION = 1_000_000


@final
@dataclass(frozen=True, slots=True)
class Estimate:
    """Requests, tokens and money of work that is still to be done."""

    requests: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.reply_tokens + other.reply_tokens,
            self.cost + other.cost,
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "requests": self.requests,
            "prompt_tokens": self.prompt_tokens,
            "reply_tokens": self.reply_tokens,
            "cost": round(self.cost, 4),
        }

    def __str__(self) -> str:
        money = f", {self.cost:.2f} in the prices' currency" if self.cost else ""
        return f"{self.requests:,} requests, {self.prompt_tokens:,} + {self.reply_tokens:,} tokens{money}"


@final
class Budget:
    """Caps over requests, tokens and money; threads may share one.

    Before a request is sent, its tokens are set aside: those of the prompt by estimate, those of the reply by its
    limit. So a cap is never exceeded by more than the error of the estimate, however many requests are under way.
    """

    def __init__(self, recipe: BudgetRecipe) -> None:
        self.recipe = recipe
        self.spent = Estimate()
        self.reached = ""
        """The cap that ended the work; empty while there is room."""
        self._aside: dict[int, Estimate] = {}
        self._next = 0
        self._lock = threading.Lock()

    def cost(self, prompt_tokens: int, reply_tokens: int) -> float:
        """Money, in the currency of the prices."""
        return (prompt_tokens * self.recipe.price_in + reply_tokens * self.recipe.price_out) / MILLION

    def estimate(self, requests: Iterable[Request], *, reply_tokens: int) -> Estimate:
        """What requests would take if every reply had this many tokens."""
        prompts = [request.prompt_tokens for request in requests]
        total = reply_tokens * len(prompts)
        return Estimate(len(prompts), sum(prompts), total, self.cost(sum(prompts), total))

    def reserve(self, request: Request) -> int | None:
        """Set a request's share aside and give its number; None when a cap forbids it.

        While others are under way that may leave something over, ``reached`` stays empty.
        """
        tokens = request.prompt_tokens, request.max_tokens
        wanted = Estimate(1, *tokens, self.cost(*tokens))
        with self._lock:
            if cap := self._exceeded(wanted):
                self.reached = "" if self._aside else cap
                return None
            self._next += 1
            self._aside[self._next] = wanted
            return self._next

    def settle(self, number: int, reply: Reply | None) -> None:
        """Book what a request took; None = it was sent and nothing came back."""
        tokens = (reply.prompt_tokens, reply.reply_tokens) if reply else (0, 0)
        with self._lock:
            del self._aside[number]
            self.spent += Estimate(1, *tokens, self.cost(*tokens))

    def _exceeded(self, wanted: Estimate) -> str:
        after = sum(self._aside.values(), self.spent + wanted)
        tokens = after.prompt_tokens + after.reply_tokens
        caps = (
            ("max_requests", after.requests, self.recipe.max_requests),
            ("max_tokens", tokens, self.recipe.max_tokens),
            ("max_cost", after.cost, self.recipe.max_cost),
        )
        return next((f"{name} = {cap:,}" for name, value, cap in caps if cap is not None and value > cap), "")

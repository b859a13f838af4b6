"""What a run would take, before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ragtune.recipe_synthesis import SynthesisRecipe
from ragtune.synthesis.budget import Budget, Estimate
from ragtune.synthesis.generating import Order
from ragtune.synthesis.llm import Request
from ragtune.synthesis.planning import Plan

QUERY_TOKENS, LINE_TOKENS, VERDICT_TOKENS, NUMBERS_TOKENS = 90, 20, 40, 15
"""Tokens of a query with answer and quote, of one line, of a verdict, of a list of numbers (assumption)."""
JUDGE_PROMPT_TOKENS = 220
"""Tokens of a judge's prompt besides query and passages."""


def estimated(
    recipe: SynthesisRecipe, plan: Plan, orders: Sequence[Order], *, left: Sequence[Request], budget: Budget
) -> dict[str, Any]:
    """Requests, tokens and money: of what is left to be written, and of judging if every query reached the judge."""
    queries = sum(len(order.jobs) for order in orders)
    each = round(QUERY_TOKENS * queries / max(1, len(orders))) if recipe.uses_json else LINE_TOKENS
    writing = budget.estimate(left, reply_tokens=each)
    judging = Estimate()
    if recipe.judging is not None:
        passage = sum(order.request.prompt_tokens for order in orders) // max(1, len(orders))
        judging = _times(queries, JUDGE_PROMPT_TOKENS + passage, VERDICT_TOKENS, budget)
        if recipe.judge.complete:
            shown = 2 * recipe.judge.pool + 1
            judging += _times(queries, JUDGE_PROMPT_TOKENS + shown * passage, NUMBERS_TOKENS, budget)
    return {
        "passages": len(plan.jobs),
        "skipped": dict(plan.skipped),
        "queries": queries,
        "answered_before": len({order.request.key("") for order in orders}) - len(left),
        "writing": writing.as_dict(),
        "judging": judging.as_dict(),
        "total": (writing + judging).as_dict(),
    }


def _times(requests: int, prompt_tokens: int, reply_tokens: int, budget: Budget) -> Estimate:
    tokens = requests * prompt_tokens, requests * reply_tokens
    return Estimate(requests, *tokens, budget.cost(*tokens))

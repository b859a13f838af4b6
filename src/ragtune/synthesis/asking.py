"""Requests through cache, budget and progress: what is known is not asked again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import final

from ragtune.run import progress
from ragtune.synthesis.budget import Budget, Estimate
from ragtune.synthesis.cache import ReplyCache
from ragtune.synthesis.llm import LanguageModel, LlmError, Reply, Request

Say = Callable[[str], None]
SAY_EVERY_SECONDS = 30.0


@final
class Asker:
    """A language model with a memory and a purse."""

    def __init__(self, llm: LanguageModel, *, cache: ReplyCache, budget: Budget, say: Say) -> None:
        self._llm, self._cache, self._budget, self._say = llm, cache, budget, say

    def ask(self, requests: Sequence[Request], *, label: str) -> list[Reply | None]:
        """A reply for each request, in order; None for one that stayed without an answer.

        LlmError: a cap of the budget was reached, nobody answers, or every request was refused. What was answered is
        in the cache.
        """
        keys = [request.key(self._llm.identity) for request in requests]
        asked: dict[str, Request] = {}
        for key, request in zip(keys, requests, strict=True):
            if self._cache.get(key) is None:
                asked.setdefault(key, request)
        if len(asked) < len(set(keys)):
            self._say(f"{label}: {len(set(keys)) - len(asked):,} of {len(set(keys)):,} were answered before")
        if asked:
            self._answer(asked, label=label)
        return [self._cache.get(key) for key in keys]

    def unanswered(self, requests: Sequence[Request]) -> list[Request]:
        """The requests that the cache knows no reply to, each once."""
        keyed = {request.key(self._llm.identity): request for request in requests}
        return [request for key, request in keyed.items() if self._cache.get(key) is None]

    def _answer(self, asked: dict[str, Request], *, label: str) -> None:
        keys, requests = list(asked), list(asked.values())
        answers = self._llm.answer(
            requests, budget=self._budget, keep=lambda place, reply: self._cache.put(keys[place], reply)
        )
        before, said_at = self._budget.spent, time.monotonic()
        # the model must not stay at work when the terminal, or whoever reads the progress, goes away
        try:
            for done, _ in enumerate(progress(answers, label=label, total=len(requests)), start=1):
                if time.monotonic() - said_at > SAY_EVERY_SECONDS:
                    said_at = time.monotonic()
                    self._say(f"{label}: {done:,} of {len(requests):,}; {self._budget.spent}")
        finally:
            answers.close()
        self._check(keys, label=label, before=before)

    def _check(self, keys: Sequence[str], *, label: str, before: Estimate) -> None:
        replies = [self._cache.get(key) for key in keys]
        missing, refused = replies.count(None), [reply for reply in replies if reply is not None and reply.refused]
        if self._budget.reached:
            raise LlmError(
                f"the budget is used up ({self._budget.reached}): {len(keys) - missing:,} of {len(keys):,} are "
                f"answered ({label}), {self._budget.spent}. Nothing was written; the answers are kept, so the same "
                "command goes on from there"
            )
        if len(refused) == len(keys):
            raise LlmError(f"every request was refused ({label}): {refused[0].text[:300]}")
        if missing:
            self._say(f"{label}: {missing:,} of {len(keys):,} stayed without an answer; run it again to ask them again")
        if refused:
            self._say(f"{label}: {len(refused):,} of {len(keys):,} were refused, for example: {refused[0].text[:200]}")
        if before != self._budget.spent:
            self._say(f"{label}: done; {self._budget.spent} so far")

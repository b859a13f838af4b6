"""A language model behind an endpoint: many requests at a time, repeated where that helps, within a budget."""

from __future__ import annotations

import queue
import random
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import final

from ragtune.errors import RagtuneError
from ragtune.recipe_synthesis import LlmRecipe
from ragtune.synthesis.budget import Budget
from ragtune.synthesis.cache import ReplyCache
from ragtune.synthesis.endpoint import Again, Endpoint
from ragtune.synthesis.llm import Keep, LanguageModel, LlmError, Reply, Request
from ragtune.synthesis.throttle import Throttle

FIRST_DELAY, LONGEST_DELAY = 0.5, 60.0
"""Seconds before a request is sent again: doubled each time, drawn from the upper half (assumption)."""
LOST_IN_A_ROW = 5
"""After this many requests that were given up, with none answered in between, the server counts as gone."""


@final
class HttpLanguageModel(LanguageModel):
    """Asks an OpenAI-compatible endpoint."""

    def __init__(self, recipe: LlmRecipe, *, cache: ReplyCache) -> None:
        self._endpoint = Endpoint(recipe, cache=cache)
        self.identity = self._endpoint.identity
        self._recipe = recipe
        self._throttle = Throttle(recipe.concurrency)

    def close(self) -> None:
        """Close the connections."""
        self._endpoint.close()

    def answer(self, requests: Sequence[Request], *, budget: Budget, keep: Keep) -> Generator[int, None, None]:
        """Yield each request's place as it is answered or, after its last repetition, given up."""
        self._throttle.resume()
        crew = _Crew(self._endpoint, self._throttle, recipe=self._recipe, budget=budget, requests=requests, keep=keep)
        workers = min(self._recipe.concurrency, len(requests))
        with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
            running = [pool.submit(crew.work) for _ in range(workers)]
            try:
                yield from crew.outcomes(len(running))
            finally:
                # what is under way is paid for: the pool waits for it, and its replies are kept
                crew.stop()


@final
class _Crew:
    """The workers of one call."""

    def __init__(
        self,
        endpoint: Endpoint,
        throttle: Throttle,
        *,
        recipe: LlmRecipe,
        budget: Budget,
        requests: Sequence[Request],
        keep: Keep,
    ) -> None:
        self._endpoint, self._throttle, self._recipe = endpoint, throttle, recipe
        self._budget, self._requests, self._keep = budget, requests, keep
        self._todo = deque(range(len(requests)))
        self._outcomes: queue.SimpleQueue[int | RagtuneError | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._lost = 0

    def outcomes(self, workers: int) -> Iterator[int]:
        """Places as workers report them, until all workers have gone home; their error is raised here."""
        while workers:
            outcome = self._outcomes.get()
            if outcome is None:
                workers -= 1
            elif isinstance(outcome, RagtuneError):
                raise outcome
            else:
                yield outcome

    def stop(self) -> None:
        """Begin nothing more."""
        self._stop.set()
        self._throttle.stop()

    def work(self) -> None:
        """Take requests until none is left, the budget ends or the server turns out to be of no use."""
        try:
            while self._todo and not self._stop.is_set():
                try:
                    place = self._todo.popleft()
                except IndexError:
                    return
                if not self._ask(place):
                    return
                self._outcomes.put(place)
        except RagtuneError as error:
            self._stop.set()
            self._outcomes.put(error)
        finally:
            self._outcomes.put(None)

    def _ask(self, place: int) -> bool:
        """Ask until there is a reply or no repetition is left; False = the work is over."""
        request, sent = self._requests[place], 0
        while True:
            outcome = self._once(request)
            if outcome is None:
                self._todo.append(place)
                return False
            if isinstance(outcome, Reply):
                self._lost = 0
                self._keep(place, outcome)
                return True
            sent += not outcome.refusal
            if sent > self._recipe.retries:
                self._give_up(outcome)
                return True
            self._wait(outcome, sent)

    def _once(self, request: Request) -> Reply | Again | None:
        """Send once, in its place of the queue and of the budget; None = the work is over."""
        mark = self._throttle.enter()
        if mark is None:
            return None
        outcome: Reply | Again | None = None
        try:
            number = None if self._stop.is_set() else self._budget.reserve(request)
            if number is not None:
                try:
                    outcome = self._endpoint.send(request)
                finally:
                    self._budget.settle(number, outcome if isinstance(outcome, Reply) else None)
        finally:
            self._throttle.leave(mark, congested=isinstance(outcome, Again) and outcome.congested)
        return outcome

    def _wait(self, outcome: Again, sent: int) -> None:
        if outcome.delay is not None:
            self._throttle.pause(outcome.delay)
            return
        longest = min(LONGEST_DELAY, FIRST_DELAY * 2 ** (sent - 1))
        self._stop.wait(longest * random.uniform(0.5, 1.0))

    def _give_up(self, outcome: Again) -> None:
        self._lost += 1
        if self._lost >= LOST_IN_A_ROW:
            raise LlmError(
                f"{self._endpoint.url} answers no more ({outcome.why}); what was answered is kept, "
                "run the same command again to go on"
            )

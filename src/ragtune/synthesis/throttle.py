"""How many requests may be under way at a time, learnt from what the server says."""

from __future__ import annotations

import threading
import time
from typing import final

START = 8
"""Requests at a time before anything is known of the server."""


@final
class Throttle:
    """Additive increase, multiplicative decrease (Chiu and Jain 1989), as TCP does it.

    A window of answered requests raises the limit by one; a 429 or a time-out halves it, once for all requests that
    were under way together. ``pause`` keeps every request back for a while (Retry-After).
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(min(most, START))
        self._active = 0
        self._halvings = 0
        self._not_before = 0.0
        self._stopped = False
        self._change = threading.Condition()

    def enter(self) -> int | None:
        """Wait for a place; gives a mark for ``leave``, or None when everything was stopped."""
        with self._change:
            while not self._stopped:
                delay = self._not_before - time.monotonic()
                if delay <= 0 and self._active < max(1, int(self.limit)):
                    self._active += 1
                    return self._halvings
                self._change.wait(delay if delay > 0 else None)
            return None

    def leave(self, mark: int, *, congested: bool) -> None:
        """Free the place; ``congested``: the server could not keep up."""
        with self._change:
            self._active -= 1
            if not congested:
                self.limit = min(float(self.most), self.limit + 1 / self.limit)
            elif mark == self._halvings:
                self.limit = max(1.0, self.limit / 2)
                self._halvings += 1
            self._change.notify_all()

    def pause(self, seconds: float) -> None:
        """Let nothing begin for some seconds."""
        with self._change:
            self._not_before = max(self._not_before, time.monotonic() + seconds)
            self._change.notify_all()

    def resume(self) -> None:
        """Let requests begin again, at the limit that was learnt."""
        with self._change:
            self._stopped = False

    def stop(self) -> None:
        """Let nothing begin any more."""
        with self._change:
            self._stopped = True
            self._change.notify_all()

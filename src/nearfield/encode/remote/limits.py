"""Rate limits: no more than so many requests, and tokens, in any sixty seconds.

A record of the last minute instead of a token bucket, which lets pass twice the limit in a minute that begins with a
full bucket. A request counts from when it is sent until sixty seconds after its answer: whenever the server counted it
between the two, its own minute holds no more than ours.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

MINUTE = 60.0
_LOOK_AGAIN = 0.2
"""Seconds after which a waiting thread looks whether it is to stop."""


@dataclass(slots=True)
class Use:
    """A request that counts: its tokens, and when it ended."""

    tokens: int
    ended: float = math.inf


class Limits:
    """What a server allows in a minute; None: any number."""

    def __init__(
        self,
        requests: int | None,
        tokens: int | None,
        clock: Callable[[], float] = time.monotonic,
        minute: float = MINUTE,
    ) -> None:
        self._requests, self._tokens, self._clock, self._minute = requests, tokens, clock, minute
        self._uses: list[Use] = []
        self._changed = threading.Condition()

    def take(self, tokens: int, stopped: Callable[[], bool]) -> Use | None:
        """Wait until a request fits, and return it; None if it was stopped meanwhile.

        Args:
            tokens: How many it has at most. More than are allowed in a minute wait for an empty one.
            stopped: Whether there is no more need for it.
        """
        use = Use(tokens if self._tokens is None else min(tokens, self._tokens))
        if self._requests is None and self._tokens is None:
            return use
        with self._changed:
            while (wait := self._wait(use.tokens)) > 0:
                if stopped():
                    return None
                self._changed.wait(min(wait, _LOOK_AGAIN))
            self._uses.append(use)
        return use

    def settle(self, use: Use, tokens: int | None) -> None:
        """Say that a request has ended, and how many tokens it had as the server counts them, if that is known."""
        with self._changed:
            use.ended = self._clock()
            if tokens is not None:
                use.tokens = min(use.tokens, tokens)
            self._changed.notify_all()

    def _wait(self, tokens: int) -> float:
        """Return how many seconds must pass until a request with so many tokens fits."""
        since = self._clock() - self._minute
        self._uses = sorted((use for use in self._uses if use.ended > since), key=lambda use: use.ended)
        requests, total = len(self._uses), sum(use.tokens for use in self._uses)
        wait = 0.0
        for use in self._uses:
            fits = self._requests is None or requests < self._requests
            if fits and (self._tokens is None or total + tokens <= self._tokens):
                break
            requests, total, wait = requests - 1, total - use.tokens, use.ended - since
        return wait

"""When a process begins to bring the vectors' index up to date: not while it writes, unless it never pauses."""

from __future__ import annotations

import time

PAUSE_SECONDS = 5.0
"""After another process was found building, until another look."""

REST_SECONDS = 60.0
"""After a failure, until another try."""

QUIET_SECONDS = 2.0
"""After a write, during which no search begins to build."""

GRACE_SECONDS = 3.0
"""After opening, during which no search begins to build: a command that searches once ends before that."""

STEADY_SECONDS = 30.0
STEADY_TIMES = 20
"""How long after the last addition, also in times that it took, until a process that writes without a pause is not
waited for any more."""


class Pace:
    """The times of one process."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._rest_until = 0.0
        self._quiet_from = 0.0
        self._patient_until = self._began + STEADY_SECONDS

    def may_begin(self, *, writing: bool) -> bool:
        """Return whether work may begin, after a write or before a search."""
        now = time.monotonic()
        if writing:
            self._quiet_from = now + QUIET_SECONDS
            return now >= self._rest_until
        # To write, a process looks into its collection, too.
        return now >= max(self._rest_until, self._quiet_from, self._began + GRACE_SECONDS)

    @property
    def is_patient(self) -> bool:
        """Whether more writes are waited for."""
        return time.monotonic() < self._patient_until

    def rest(self, seconds: float) -> None:
        """Let nothing begin for some time."""
        self._rest_until = time.monotonic() + seconds

    def ended(self, began: float) -> None:
        """Take note that work has ended, which began at a time of `time.monotonic`."""
        now = time.monotonic()
        self._patient_until = now + max(STEADY_SECONDS, STEADY_TIMES * (now - began))

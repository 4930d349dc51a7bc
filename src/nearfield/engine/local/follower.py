"""Work that follows the writes, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Follower:
    """Does some work when it is woken, once at a time, beside whoever wakes it.

    Args:
        work: What is done; it raises nothing.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Begin the work, unless it is being done."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            self._thread = threading.Thread(target=self._work, name="nearfield-follower")
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is ending
                self._thread = None
        if self._thread is None:
            self._work()

    def wait(self, seconds: float | None = None) -> None:
        """Return when the work that was begun is done, or, if that is given, after so many seconds."""
        with self._lock:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(seconds)

"""Several requests at once, answered in order, and broken off as a whole."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

_Task = TypeVar("_Task")
_Answer = TypeVar("_Answer")

_END_SECONDS = 2.0
"""How long threads are waited for that were told to stop; one that looks up a host's name can't hear it."""


class Call:
    """What one call of the encoder has under way, so that it can be broken off from another thread."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()

    def stopped(self) -> bool:
        """Return whether the call was broken off."""
        return self._stop.is_set()

    def sleep(self, seconds: float) -> None:
        """Wait; shorter if the call is broken off."""
        self._stop.wait(seconds)

    def using(self, sock: socket.socket) -> None:
        """Note a socket, to be shut down when the call is broken off."""
        with self._lock:
            self._sockets.add(sock)
            if self._stop.is_set():
                _shut_down(sock)

    def done_with(self, sock: socket.socket) -> None:
        """Forget a socket."""
        with self._lock:
            self._sockets.discard(sock)

    def stop(self) -> None:
        """Break off: waits end, and reads from sockets fail."""
        self._stop.set()
        with self._lock:
            for sock in self._sockets:
                _shut_down(sock)


def _shut_down(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # Not SSLSocket's own, which makes the socket a plain one under the thread that reads.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Bulk(Generic[_Task, _Answer]):
    def __init__(self, tasks: Sequence[_Task], do: Callable[[_Task, Call], _Answer]) -> None:
        self.call, self.finished = Call(), threading.Event()
        self.answers: dict[int, _Answer] = {}
        self.error: BaseException | None = None
        self._tasks, self._do = tasks, do
        self._places = iter(range(len(tasks)))
        self._lock = threading.Lock()

    def work(self) -> None:
        """Take tasks one after the other until there are none, or one failed."""
        try:
            while not self.call.stopped():
                with self._lock:
                    place = next(self._places, None)
                if place is None:
                    return
                answer = self._do(self._tasks[place], self.call)
                with self._lock:
                    self.answers[place] = answer
                    if len(self.answers) == len(self._tasks):
                        self.finished.set()
        except BaseException as error:  # raised again in the thread that asked
            with self._lock:
                self.error = self.error or error
            self.finished.set()


def in_order(tasks: Sequence[_Task], do: Callable[[_Task, Call], _Answer], threads: int) -> list[_Answer]:
    """Return what each task comes to, in the order of the tasks.

    Several are done at once, each in one of `threads` threads; a single one is done by the caller's. The first error
    ends all of them and is raised, and so does an interrupt.
    """
    if len(tasks) == 1:
        return [do(tasks[0], Call())]
    bulk = _Bulk(tasks, do)
    # Daemons: the process must be able to end while one of them is told nothing by a name server.
    workers = [threading.Thread(target=bulk.work, daemon=True) for _ in range(min(threads, len(tasks)))]
    try:
        for worker in workers:
            worker.start()
        bulk.finished.wait()
    finally:
        bulk.call.stop()
        end = time.monotonic() + _END_SECONDS
        for worker in workers:
            if worker.ident is not None:
                worker.join(max(0.0, end - time.monotonic()))
    if bulk.error is not None:
        raise bulk.error
    return [bulk.answers[place] for place in range(len(tasks))]

"""What must be done when the process forks: connections and locks must not be shared with the child.

SQLite keeps notes of a process's file locks in its memory, and a child inherits the notes but not the locks. So
connections are closed before a fork, and opened again by whoever needs them, in the parent and in the child.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Protocol
from weakref import WeakSet

WAIT_SECONDS = 10.0
"""How long a fork waits for other threads to come to an end with reading and writing."""


class Forked(Protocol):
    """Something that has to know of forks."""

    def before_fork(self, deadline: float) -> None:
        """Called in the parent before; may wait until a time of `time.monotonic`."""
        ...

    def after_fork(self, *, in_child: bool) -> None:
        """Called in the parent and in the child after."""
        ...


class _Forks:
    def __init__(self) -> None:
        self.known: WeakSet[Forked] = WeakSet()
        # From before a fork until after it: one thread forks at a time, and what it told before, it tells after.
        self.turn = threading.Lock()
        self.told: list[Forked] = []


_forks = _Forks()


def tell_of_forks(thing: Forked) -> None:
    """Call a thing's methods at every fork from now on, for as long as it is in use."""
    with _forks.turn:
        _forks.known.add(thing)


def _each(call: Callable[[Forked], None]) -> None:
    """Call all, also after one that fails, whose error is then raised."""
    errors = []
    for thing in _forks.told:
        try:
            call(thing)
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _before() -> None:
    _forks.turn.acquire()
    _forks.told = list(_forks.known)
    deadline = time.monotonic() + WAIT_SECONDS
    _each(lambda thing: thing.before_fork(deadline))


def _in_parent() -> None:
    try:
        _each(lambda thing: thing.after_fork(in_child=False))
    finally:
        _forks.told = []
        _forks.turn.release()


def _in_child() -> None:
    _forks.turn = threading.Lock()
    try:
        _each(lambda thing: thing.after_fork(in_child=True))
    finally:
        _forks.told = []


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)

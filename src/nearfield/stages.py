"""`stage` and `listen`: how long each stage of a question takes, for whoever wants to know.

Code that does the work says where a stage begins and ends; it costs about a microsecond when nobody
listens. Who listens hears of the stages of its own context only (a thread, a task, and the threads it hands
its context to), so that two servers in one process, or a server and a script, never count each other's work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TypeAlias

Listener: TypeAlias = Callable[[str, float], None]
"""Called at the end of each stage, also of one that raised, with its name and how many seconds it took."""

_current: ContextVar[Listener | None] = ContextVar("nearfield.stages.listener", default=None)


class stage:  # noqa: N801 - read as a word: `with stage("encode"):`
    """A context whose duration the listener, if there is one, hears of.

    Stages may be nested; each reports its whole duration, with what lies within.

    Args:
        name: One of few fixed words, such as "encode", "search" and "read"; it becomes a label.
    """

    __slots__ = ("_began", "_listener", "_name")

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._listener = _current.get()
        self._began = time.perf_counter() if self._listener is not None else 0.0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listener is not None:
            self._listener(self._name, time.perf_counter() - self._began)


@contextmanager
def listen(listener: Listener) -> Iterator[None]:
    """Return a context within which a listener hears of every stage; an inner `listen` takes its place.

    >>> heard = []
    >>> with listen(lambda name, seconds: heard.append(name)):
    ...     with stage("encode"):
    ...         pass
    >>> heard
    ['encode']
    """
    token = _current.set(listener)
    try:
        yield
    finally:
        _current.reset(token)

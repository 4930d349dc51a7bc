"""What must be done when the process forks: connections and locks must not be shared with the child.

SQLite keeps notes of a process's file locks in its memory, and a child inherits the notes but not the locks. So
connections are closed before a fork, and opened again by whoever needs them, in the parent and in the child.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forked(Protocol):
    """Something that has to know of forks."""

    def before_fork(self) -> None:
        """Called in the parent before."""
        ...

    def after_fork(self, *, in_child: bool) -> None:
        """Called in the parent and in the child after."""
        ...


_known: WeakSet[Forked] = WeakSet()


def tell_of_forks(thing: Forked) -> None:
    """Call a thing's methods at every fork from now on, for as long as it is in use."""
    _known.add(thing)


def _before() -> None:
    for thing in list(_known):
        thing.before_fork()


def _in_parent() -> None:
    for thing in list(_known):
        thing.after_fork(in_child=False)


def _in_child() -> None:
    for thing in list(_known):
        thing.after_fork(in_child=True)


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)

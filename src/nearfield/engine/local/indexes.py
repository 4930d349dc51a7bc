"""The derived indexes of a collection, and the threads in which they follow the writes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

from nearfield.engine.local.database import Database
from nearfield.engine.local.follower import Follower
from nearfield.engine.local.layout import Layout
from nearfield.engine.local.lexical import LexicalKeeper
from nearfield.engine.local.neighbours import NeighbourKeeper
from nearfield.engine.local.state import State
from nearfield.engine.local.states import States
from nearfield.engine.protocol import Settings
from nearfield.errors import NearfieldError

log = logging.getLogger("nearfield.engine.local")


class Indexes:
    """Keeps the BM25 index and the vectors' index in step with the documents.

    Args:
        layout: Where they lie.
        database: The collection's.
        settings: The collection's.
        states: Gives its newest state.
        told_failures: Gives a context that raises what SQLite and the disk raise as errors of nearfield.
    """

    def __init__(
        self,
        layout: Layout,
        database: Database,
        settings: Settings,
        states: States,
        told_failures: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.lexical = LexicalKeeper(layout, database)
        self.neighbours = NeighbourKeeper(layout, database, settings)
        self._database = database
        self._states = states
        self._told_failures = told_failures
        self._closing = self._pausing = self._ending = False  # when a follower is to end after its step
        self._words = Follower(self._follow_words)
        self._vectors = Follower(self._follow_vectors)
        self._noted: set[str] = set()

    def state(self) -> State:
        """Return the newest state."""
        with self._database.reading() as connection:
            return self._states.read(connection)[0]

    def after_write(self) -> None:
        """Let them follow, and wait if the BM25 index is far behind."""
        state = self.state()
        if self.lexical.is_due(state):
            self._words.wake()
        if self.neighbours.is_due(state, writing=True):
            self._vectors.wake()
        if self.lexical.is_far_behind(state):
            self._pausing = True
            self._words.wait()
            self._pausing = False

    def before_search(self, state: State) -> None:
        """Let the vectors' index follow what was written, by whichever process."""
        if self.neighbours.is_due(state, writing=False) and not self._closing:
            self._vectors.wake()

    def pause(self, deadline: float) -> None:
        """Let the followers come to an end, until a time of `time.monotonic`."""
        self._pausing = True
        for follower in (self._words, self._vectors):
            follower.wait(max(0.0, deadline - time.monotonic()))

    def go_on(self) -> None:
        """Let them follow again."""
        self._pausing = False

    def close(self) -> None:
        """Begin nothing more, except to finish the vectors' index, if it is being built."""
        self._closing = True
        self._words.wait()

    def end(self) -> None:
        """Let the followers come to their end."""
        self._closing = self._ending = True
        self._words.wait()
        self._vectors.wait()

    def compact(self) -> None:
        """Bring the BM25 index up to date, without the documents that were deleted."""
        with self._database.reading() as connection:
            self.lexical.compact(self._states.read(connection)[0], connection)

    def settle_words(self) -> None:
        """Bring the BM25 index up to date."""
        with self._database.reading() as connection:
            self.lexical.settle(self._states.read(connection)[0], connection)

    def settle(self, deadline: float) -> None:
        """Build the BM25 index anew where it is due, until a time of `time.monotonic`."""
        while self._step() and time.monotonic() < deadline:
            pass

    @contextmanager
    def settling_vectors(self) -> Iterator[None]:
        """Give a context beside which the vectors' index is brought up to date, and which ends when it is."""
        with ThreadPoolExecutor(1, "nearfield-index") as pool:
            settling = pool.submit(self.neighbours.settle, self.state())
            yield
            settling.result()

    @contextmanager
    def noted_failures(self) -> Iterator[None]:
        """Let failures pass that come again, and are told, when the part is needed; the log has each once."""
        try:
            with self._told_failures():
                yield
        except NearfieldError as error:
            if str(error) not in self._noted:
                self._noted.add(str(error))
                log.warning("%s", error)

    def _follow_words(self) -> None:
        """Let the BM25 index follow the documents, until it needs nothing, or somebody waits for this to end."""
        with self.noted_failures():
            while self._step() and not self._closing and not self._is_awaited():
                pass

    def _follow_vectors(self) -> None:
        """Let the index follow the vectors, unless somebody waits for this to end."""
        with self.noted_failures():
            self.neighbours.follow(self.state(), self._is_awaited)

    def _step(self) -> bool:
        return self.lexical.follow(self.state())

    def _is_awaited(self) -> bool:
        return self._pausing or self._ending or not threading.main_thread().is_alive()

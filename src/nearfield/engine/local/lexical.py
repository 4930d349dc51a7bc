"""Keeps the BM25 index in step with the documents.

Documents that the index lacks are searched in memory, as long as they are few; then a process that needs them adds
them to the index, whichever process wrote them. The writer does so first, if it writes for long. Documents deleted
since stay in the index: a search passes over what is not in its state, and once they are a quarter of the index, it is
built anew beside the old one.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nearfield.engine.local.database import Database, select_in, session_of
from nearfield.engine.local.layout import Layout
from nearfield.engine.local.lock import FileLock
from nearfield.engine.local.sources import OneState, Portions, Source
from nearfield.engine.local.state import State
from nearfield.errors import CorruptCollection, Locked, NearfieldError
from nearfield.index.keys import places_of
from nearfield.lexical.bm25 import BM25, Held
from nearfield.lexical.folders import IndexFolders
from nearfield.lexical.marker import NONE, Marker
from nearfield.lexical.tail import Selection, Tail

WAIT_SECONDS = 60.0
"""How long to wait for another process that is updating the index."""

TAIL = 2_000
"""Documents that may be searched in memory; bringing the index up to date costs as much as analysing them."""

TAIL_TERMS = 200_000
"""Terms that they may have in all, repetitions included; a tenth of a second's work."""

DRIFT = 0.1
"""By how much the mean length may differ from the index's, relative to it, until the index is brought up to date."""

LAG = 20_000
"""Documents that may be missing from the index before a writer brings it up to date at once."""

FAR_BEHIND = 200_000
"""Documents that may be missing before a writer waits for the index, as a search would have to."""

PAUSE_SECONDS = 1.0
"""Between a writer's updates of fewer documents, so that adding many is not slowed."""

REST_SECONDS = 60.0
"""After a failure, until a writer tries again."""

STEP = 10_000
"""Documents in one step of building the index anew."""

DEAD_SHARE = 0.25
DEAD_LEAST = 1_000
"""Deleted documents, as a share of the index and in number, above which it is built anew."""


class LexicalKeeper:
    """Searches a collection's words, and keeps the index for that."""

    def __init__(self, layout: Layout, database: Database) -> None:
        self._database = database
        self._folders = IndexFolders(layout.lexical)
        self._lock_file = layout.lexical_lock
        self._updating = threading.Lock()
        self._gathering = threading.Lock()
        self._tail = Tail()
        self._last: tuple[int, Marker, BM25] | None = None
        self._rest_until = 0.0  # after a failure
        self._due = time.monotonic() + PAUSE_SECONDS

    # -- searching -----------------------------------------------------------------------------------------------------

    def index(self, state: State, connection: sqlite3.Connection) -> BM25:
        """Return what searches a state, every document of it; the index is brought up to date if it lacks too many.

        Raises:
            Locked: another process is updating the index, and did not finish within a minute.
            CorruptCollection: the index is damaged.
            NearfieldError: the index lacks too many documents, and its folder can't be written.
        """
        with _told_failures():
            found = self._searching(state, connection)
            if found is None:
                with self._locked(WAIT_SECONDS):
                    found = self._searching(state, connection)
                    if found is None:
                        self._update(state, OneState(state, connection))
            return found or self._searching_all(state, connection)

    def _searching(self, state: State, connection: sqlite3.Connection) -> BM25 | None:
        """Return what searches a state; None if the index lacks too many documents for that."""
        marker = self._folders.marker()
        last = self._last
        if last is not None and last[0] == state.generation and last[1] is marker:
            return last[2]
        known = self._known(marker, state, connection)
        with self._gathering:
            found = self._in_memory(known, state, connection) or self._combined(known, state, connection)
        if found is not None:
            self._last = (state.generation, marker, found)
        return found

    def _in_memory(self, marker: Marker, state: State, connection: sqlite3.Connection) -> BM25 | None:
        """Return what searches all documents in memory; None if they are many, or the index holds the same."""
        few = state.count <= TAIL and state.count * marker.average <= TAIL_TERMS
        same = marker.documents == state.count and not _dead(marker, state)
        if not few or (same and marker.folder):
            return None
        recent = self._selected(state.keys[state.live], connection, TAIL_TERMS)
        return None if recent is None else BM25(recent)

    def _combined(
        self, marker: Marker, state: State, connection: sqlite3.Connection, *, limited: bool = True
    ) -> BM25 | None:
        """Return what searches the index, and in memory what it lacks; None if that is too much."""
        lacking = state.keys[np.searchsorted(state.keys, marker.next_key) :]
        lacking = lacking[state.live[len(state.keys) - len(lacking) :]]
        if limited and len(lacking) > TAIL:
            return None
        unindexed = self._passed_over(marker, state)
        recent = self._selected(np.concatenate((unindexed, lacking)), connection, TAIL_TERMS if limited else None)
        if recent is None or (limited and _drifted(marker, recent)):
            return None
        if not marker.folder:
            return BM25(recent)
        index = self._folders.open(marker)
        return None if index is None else BM25(recent, index, _held(marker, state, unindexed))

    def _searching_all(self, state: State, connection: sqlite3.Connection) -> BM25:
        """Return what searches a state, however many of its documents the index lacks."""
        while True:  # until the index is not replaced between reading the marker and opening the folder
            with self._gathering:
                marker = self._known(self._folders.marker(), state, connection)
                found = self._combined(marker, state, connection, limited=False)
            if found is not None:
                return found

    def _passed_over(self, marker: Marker, state: State) -> NDArray[np.int64]:
        """Return the keys of documents that an older state still has, and a newer index may have left out."""
        if marker.generation <= state.generation:
            return _no_keys()
        with self._database.reading() as newest:
            rows = newest.execute("SELECT key FROM documents WHERE key < ?", (marker.next_key,)).fetchall()
        there = np.array(rows, dtype=np.int64).reshape(-1)
        older = state.keys[state.live & (state.keys < marker.next_key)]
        return older[~np.isin(older, there)]

    def _selected(self, keys: NDArray[np.int64], connection: sqlite3.Connection, limit: int | None) -> Selection | None:
        """Return documents, analysed; None if they have more than `limit` terms."""
        if len(self._tail) > 4 * TAIL or self._tail.tokens > 4 * TAIL_TERMS:
            self._tail = Tail()  # most of it is in the index by now, or deleted
        places = self._tail.places(keys)
        unknown = keys[places < 0]
        room = None if limit is None else limit - int(self._tail.lengths[places[places >= 0]].sum())
        if len(unknown):
            statement = "SELECT key, title || char(10) || text FROM texts WHERE key IN"
            if not self._tail.add(select_in(connection, statement, unknown.tolist()), room):
                return None
            if (self._tail.places(unknown) < 0).any():
                raise sqlite3.DatabaseError("documents are missing from the table 'texts'")
        elif room is not None and room < 0:
            return None
        return Selection(self._tail, keys)

    # -- writing -------------------------------------------------------------------------------------------------------

    def is_due(self, state: State) -> bool:
        """Return whether it is time for `follow`; a writer asks after each write.

        Raises:
            CorruptCollection: the index is damaged.
        """
        now = time.monotonic()
        return now >= self._due or (self._missing(state) > LAG and now >= self._rest_until)

    def is_far_behind(self, state: State) -> bool:
        """Return whether a writer should wait for the index."""
        return self._missing(state) > FAR_BEHIND

    def _missing(self, state: State) -> int:
        return state.next_key - self._folders.marker().next_key

    def follow(self, state: State) -> bool:
        """Do a part of what the index needs, and return whether it needs more; no transaction is open for long.

        Raises:
            CorruptCollection: the index is damaged.
            NearfieldError: its folder can't be written.
        """
        try:
            with _told_failures(), suppress(Locked), self._locked(0.0):  # whoever holds it is at the same work
                unfinished = self._step_if_rotten(state)
                with self._database.reading() as connection:
                    behind = self._is_much(self._held(state, connection), state, connection)
                if behind:
                    self._update(state, Portions(self._database))
                return unfinished
        except NearfieldError:
            self._rest_until = time.monotonic() + REST_SECONDS
            raise
        finally:
            self._due = max(time.monotonic() + PAUSE_SECONDS, self._rest_until)
        return False

    def settle(self, state: State, connection: sqlite3.Connection) -> None:
        """Bring the index up to date; who has written does so before it closes.

        Raises:
            Locked: another process is updating the index, and did not finish within a minute.
            CorruptCollection: the index is damaged.
            NearfieldError: its folder can't be written.
        """
        with _told_failures(), self._locked(WAIT_SECONDS):
            marker = self._held(state, connection)
            if marker.next_key < state.next_key or (state.count <= TAIL and _dead(marker, state)):
                self._update(state, OneState(state, connection))

    def compact(self, state: State, connection: sqlite3.Connection) -> None:
        """Bring the index up to date, without the documents that were deleted; raises what `settle` raises."""
        with _told_failures(), self._locked(WAIT_SECONDS):
            marker = self._held(state, connection)
            if marker.next_key < state.next_key or _dead(marker, state):
                self._build(state, OneState(state, connection))

    def rebuild(self, state: State, connection: sqlite3.Connection) -> None:
        """Build the index anew, whatever is there, damaged or not; raises what `settle` raises."""
        with _told_failures(), self._locked(WAIT_SECONDS):
            self._build(state, OneState(state, connection))

    def _build(self, state: State, source: Source) -> None:
        self._folders.publish(self._extended(NONE, state.next_key, source))

    def _update(self, state: State, source: Source) -> None:
        with source.connection() as connection:
            marker = self._held(state, connection)
        if marker.generation > state.generation:
            return  # a later state has been indexed meanwhile
        if not marker.folder or (state.count <= TAIL and _dead(marker, state)):
            self._build(state, source)
        elif marker.next_key < state.next_key:
            self._folders.swap(self._extended(marker, state.next_key, source))

    def _extended(self, base: Marker, next_key: int, source: Source) -> Marker:
        """Return the marker of an index that has the documents of another, and those up to a key."""
        return self._folders.extend(base, source.texts(base.next_key, next_key), lambda: source.after(next_key))

    def _step_if_rotten(self, state: State) -> bool:
        """Take the next step of building the index anew, if too much of it is dead, or that was begun.

        Return whether it is not the last.
        """
        with self._database.reading() as connection:
            marker = self._held(state, connection)
            dead = _dead(marker, state)
            building = self._known(self._folders.building(), state, connection)
            if not building.folder and (dead < DEAD_LEAST or dead <= DEAD_SHARE * marker.documents):
                return False
            row = connection.execute(
                "SELECT key FROM documents WHERE key >= ? ORDER BY key LIMIT 1 OFFSET ?", (building.next_key, STEP)
            ).fetchone()
        next_key = row[0] if row else state.next_key
        built = self._extended(building, next_key, Portions(self._database))
        if row:
            self._folders.keep_building(built)
        else:
            self._folders.publish(built)
        return row is not None

    def _is_much(self, marker: Marker, state: State, connection: sqlite3.Connection) -> bool:
        """Whether documents are missing that it would take a search long to analyse."""
        missing = state.next_key - marker.next_key
        if 0 < missing <= TAIL // 2:
            (characters,) = connection.execute(
                "SELECT total(length(title) + length(text)) FROM texts WHERE key >= ?", (marker.next_key,)
            ).fetchone()
            return bool(characters > 3 * TAIL_TERMS)
        return missing > 0

    def _held(self, state: State, connection: sqlite3.Connection) -> Marker:
        return self._known(self._folders.marker(), state, connection)

    def _known(self, marker: Marker, state: State, connection: sqlite3.Connection) -> Marker:
        """Return what an index holds of this database's documents: nothing, if it was made from another."""
        if marker.generation <= state.generation:
            known = session_of(connection, marker.generation) == marker.session
        else:
            # Another process has written since this state was read; then the newest state knows the index.
            with self._database.reading() as newest:
                known = session_of(newest, marker.generation) == marker.session
        return marker if known else NONE

    @contextmanager
    def _locked(self, seconds: float) -> Iterator[None]:
        with self._updating, FileLock(self._lock_file, seconds):
            yield

    # -- checking ------------------------------------------------------------------------------------------------------

    def verify(self, state: State, connection: sqlite3.Connection) -> list[tuple[Path, str]]:
        """Return what is wrong with the index: the file or folder, and what; an index that is not there is fine."""
        while True:
            try:
                marker = self._held(state, connection)
            except CorruptCollection as error:
                return [(self._folders.marker_file, str(error))]
            found = self._damage(marker, state) if marker.folder else []
            if self._held(state, connection) == marker:
                return found

    def _damage(self, marker: Marker, state: State) -> list[tuple[Path, str]]:
        folder = self._folders.root / marker.folder
        found = [(folder / name, what) for name, what in self._folders.damage(marker)]
        if found:
            return found
        try:
            index = self._folders.open(marker)
            keys = _no_keys() if index is None else index.keys()
        except CorruptCollection as error:
            return [(folder, str(error))]
        expected = state.keys[state.live & (state.keys < marker.next_key)]
        expected = expected[~np.isin(expected, self._passed_over(marker, state))]
        problems = {
            "documents are missing from it": int((~np.isin(expected, keys)).sum()),
            "documents are in it twice": int((np.diff(keys) == 0).sum()),
            "documents in it were never added": int(((keys >= marker.next_key) | (keys < 1)).sum()),
        }
        return [(folder, f"{count} {what}") for what, count in problems.items() if count]


def _dead(marker: Marker, state: State) -> int:
    """Return how many documents of the index are deleted."""
    before = int(np.searchsorted(state.keys, marker.next_key))
    return marker.documents - int(np.count_nonzero(state.live[:before]))


def _held(marker: Marker, state: State, unindexed: NDArray[np.int64]) -> Held:
    # Not the state itself, which would keep its vectors mapped.
    before = int(np.searchsorted(state.keys, marker.next_key))
    there, live = state.keys[:before], state.live[:before]

    def mask(keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        if not before:
            return np.zeros(len(keys), np.bool_)
        slots = places_of(there, keys)
        found: NDArray[np.bool_] = (there[slots] == keys) & live[slots]
        return found & ~np.isin(keys, unindexed) if len(unindexed) else found

    return Held(int(np.count_nonzero(live)) - len(unindexed), mask)


def _drifted(marker: Marker, recent: Selection) -> bool:
    """Whether recent documents move the mean length too far from the index's."""
    tokens = marker.average * marker.documents
    mean = (tokens + recent.tokens) / max(marker.documents + recent.count, 1)
    return marker.documents > 0 and abs(mean - marker.average) > DRIFT * marker.average


@contextmanager
def _told_failures() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NearfieldError(
            f"the BM25 index lacks the newest documents, and can't be written: {error}; let a process that may write "
            "open the collection once, or search with mode='semantic'"
        ) from error


def _no_keys() -> NDArray[np.int64]:
    return np.empty(0, np.int64)

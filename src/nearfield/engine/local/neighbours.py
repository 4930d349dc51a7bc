"""Keeps the index of the vectors in step with the documents.

Documents that the index lacks are scanned, and those deleted since are passed over. When there are many of either, a
thread of the process adds the former, or builds the index anew, beside searches and writes, and tunes it; then it takes
the old one's place.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.protocol import Vectors
from nearfield.engine.local.database import Database, session_of
from nearfield.engine.local.index_report import held_of, report
from nearfield.engine.local.joined import Joined
from nearfield.engine.local.layout import Layout
from nearfield.engine.local.lock import FileLock
from nearfield.engine.local.naming import read_names
from nearfield.engine.local.pace import PAUSE_SECONDS, REST_SECONDS, Pace
from nearfield.engine.local.reading import RowReader
from nearfield.engine.local.state import State
from nearfield.engine.protocol import Settings
from nearfield.errors import CorruptCollection, Locked, NearfieldError
from nearfield.index.ann import Interrupted, Positions, build, extend
from nearfield.index.faiss import beside_other_work
from nearfield.index.folder import NONE, IndexFolder, Marker, approximate, tuning_of
from nearfield.index.keys import distinct
from nearfield.index.kinds import EXACT, Recipe, recipe
from nearfield.index.names import Names
from nearfield.index.nearest import Approximate, Documents, Nearest
from nearfield.index.tuning import Tuning, tune

NEW_SHARE = 0.002
NEW_LEAST = 2_000
"""Vectors that the index lacks, as a share of its own and in number, above which they are added to it: each search
scans them, which takes 0.2 ms for a thousand, as long as all the rest."""

TUNED_SHARE = 0.05
"""By how much it grows until it is measured again."""

BUSY_SHARE = 1.0
BUSY_LEAST = 200_000
"""The same while a process writes, which would have them added again and again."""

DEAD_SHARE = 0.25
"""Vectors of deleted documents above which it is built anew."""

GROWTH = 2.0
"""Times the vectors that it learned from, from which on it is built anew."""

WAIT_SECONDS = 60.0
"""How long to wait for another process that is building the index."""

MOST_ASKED = 1_000
"""Queries of users that are kept, to suit them again when the index changes."""

LOOK_SECONDS = 1.0
"""After which a search looks whether there is another index: a look takes as long as a twentieth of a search."""


class NeighbourKeeper:
    """Searches a collection's vectors by an index, and keeps that.

    Args:
        layout: Where it lies.
        database: The collection's.
        settings: The collection's; of these, what is fixed when it is made.
    """

    def __init__(self, layout: Layout, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._folder = IndexFolder(layout.index)
        self._lock_file = layout.index_lock
        self._working = threading.Lock()
        self._joining = threading.Lock()
        self._joined: Joined | None = None
        self._placed: tuple[Marker, object, NDArray[np.int64]] | None = None
        self._pace = Pace()
        self._failure = ""
        self._progress = ""
        self._fine = -1  # the last generation that needed nothing
        self._file_lock: FileLock | None = None  # while it is held

    # -- searching -----------------------------------------------------------------------------------------------------

    def nearest(self, state: State, connection: sqlite3.Connection) -> Nearest | None:
        """Return what searches a state by the index; None if there is no index for it.

        Raises:
            CorruptCollection: the index is damaged.
        """
        joined = self._joined
        if joined is not None and joined.fits(state) and time.monotonic() < joined.until:
            return joined.nearest
        marker = self._folder.marker()
        with self._joining:
            joined = self._joined
            if joined is None or joined.marker is not marker or not joined.fits(state):
                found = self._join(marker, state, connection)
                joined = Joined(marker, state.lineage, state.generation, found)
                self._joined = joined
            joined.until = time.monotonic() + LOOK_SECONDS
        return joined.nearest

    def names(self, state: State) -> Names | None:
        """Return the doc_ids of the documents in the index; None unless a search by vectors has loaded it already."""
        joined = self._joined
        if joined is None or joined.nearest is None or not joined.fits(state):
            return None
        return joined.nearest.approximate.names

    def _join(self, marker: Marker, state: State, connection: sqlite3.Connection) -> Nearest | None:
        known = self._known(marker, state, connection)
        if not known.folder or known.generation > state.generation:
            return None  # an older state may have documents that the index left out
        loaded = self._folder.load(marker)
        if loaded is None:
            return None
        if self._placed is None or self._placed[0] is not marker or self._placed[1] is not state.lineage:
            self._placed = (marker, state.lineage, state.slots(loaded.keys))
        first = int(np.searchsorted(state.keys, marker.next_key))
        return Nearest(loaded, self._placed[2], Documents(state.rows, state.live, first))

    def _known(self, marker: Marker, state: State, connection: sqlite3.Connection) -> Marker:
        """Return what an index holds of this database's vectors: nothing, if it was made from others."""
        if not marker.folder or marker.fingerprint != state.fingerprint:
            return NONE
        if marker.generation <= state.generation:
            return marker if session_of(connection, marker.generation) == marker.session else NONE
        with self._database.reading() as newest:
            return marker if session_of(newest, marker.generation) == marker.session else NONE

    # -- keeping -------------------------------------------------------------------------------------------------------

    def is_due(self, state: State, *, writing: bool) -> bool:
        """Return whether it is time for `follow`; asked after writes, and before searches."""
        if self._settings.index == EXACT or self._progress:
            return False
        if not writing and self._fine == state.generation:
            return False
        if not self._pace.may_begin(writing=writing):
            return False
        try:
            waits = writing and self._pace.is_patient
            due = self._lacks(state, *((BUSY_SHARE, BUSY_LEAST) if waits else (NEW_SHARE, NEW_LEAST)))
        except CorruptCollection:  # which a search by vectors tells; other work needs no index
            self._pace.rest(REST_SECONDS)
            return False
        if not due and not writing:
            self._fine = state.generation
        return due

    def _lacks(self, state: State, share: float, least: int) -> bool:
        marker = self._folder.marker()
        if not self._fits(marker, state):
            # A first index can wait, too, while a process writes.
            waits = least == BUSY_LEAST and state.live_rows <= least
            return not waits and bool(marker.folder or self._recipe(state).factory)
        held = held_of(marker, state)
        return held.new > max(least, share * marker.rows) or held.dead > DEAD_SHARE * marker.rows

    def _recipe(self, state: State) -> Recipe:
        settings = self._settings
        return recipe(settings.index, state.live_rows, state.dimension, settings.memory)

    def follow(self, state: State, stop: Callable[[], bool]) -> None:
        """Bring the index up to date with a state, beside whatever else goes on, unless `stop` says to give up.

        Raises:
            NearfieldError: it can't be built or written.
        """
        began = time.monotonic()
        try:
            with self._locked(0.0), beside_other_work():
                self._update(state, stop)
        except Interrupted:
            pass  # it begins again when it is due
        except Locked:  # whoever holds it is at the same work
            self._pace.rest(PAUSE_SECONDS)
        except (NearfieldError, MemoryError) as error:
            self._pace.rest(REST_SECONDS)
            self._failure = str(error) or repr(error)
            raise NearfieldError(f"the index of the vectors can't be built: {self._failure}") from error
        finally:
            self._pace.ended(began)

    def settle(self, state: State) -> None:
        """Bring the index up to date before its writer closes, if it lacks much and no other process is at that.

        Raises:
            NearfieldError: it can't be built or written.
        """
        if self._settings.index != EXACT:
            with suppress(Locked), self._locked(0.0):
                self._update(state, lambda: False)

    def renew(self, state: State, asked: Vectors | None = None) -> None:
        """Build the index now, with all documents and no others, unless it is so already; and tune it.

        Args:
            state: Of the documents.
            asked: float32 `(q, d)`, queries of users that the efforts shall suit as well.

        Raises:
            Locked: another process is building the index, and did not finish within a minute.
            NearfieldError: it can't be built or written.
        """
        with self._locked(WAIT_SECONDS):
            chosen, marker = self._recipe(state), self._folder.marker()
            held = held_of(marker, state)
            if not chosen.factory:
                self._folder.remove()
            elif self._fits(marker, state) and marker.factory == chosen.factory and not (held.new or held.dead):
                self._extend(marker, chosen, state, lambda: False, asked, again=True)  # by nothing
            else:
                self._build(state, chosen, lambda: False, asked)

    def abandon(self) -> None:
        """Let go of the lock in a child process, whose parent was building when it was forked."""
        if self._file_lock is not None:
            self._file_lock.release()

    def compact(self, state: State) -> None:
        """Build the index anew if it holds vectors of deleted documents; raises what `settle` raises."""
        marker = self._folder.marker()
        if marker.folder and (held_of(marker, state).dead or not self._fits(marker, state)):
            self.renew(state)
        else:
            self.settle(state)

    def _fits(self, marker: Marker, state: State) -> bool:
        with self._database.reading() as connection:
            return bool(self._known(marker, state, connection).folder)

    def _update(self, state: State, stop: Callable[[], bool]) -> None:
        marker = self._folder.marker()
        if marker.generation > state.generation and self._fits(marker, state):
            return  # a later state has been indexed meanwhile
        if not self._lacks(state, NEW_SHARE, NEW_LEAST):
            return
        chosen = self._recipe(state)
        held = held_of(marker, state)
        if not chosen.factory:
            self._folder.remove()
        elif (
            not self._fits(marker, state)
            or state.live_rows > GROWTH * marker.learned
            or held.dead > DEAD_SHARE * marker.rows
        ):
            self._build(state, chosen, stop)
        else:
            self._extend(marker, chosen, state, stop)

    def _build(self, state: State, chosen: Recipe, stop: Callable[[], bool], asked: Vectors | None = None) -> None:
        slots = np.flatnonzero(state.live)
        rows, keys = state.rows.of(slots), np.repeat(state.keys[slots], state.counts[slots])
        with self._telling("building"):
            read = RowReader(state, rows, stop)
            ann = build(chosen.factory, state.dimension, len(rows), read)
            base = Marker(kind=self._settings.index, factory=chosen.factory, reason=chosen.reason, learned=len(rows))
            self._publish(base, state, ann, keys, np.arange(len(rows)), read, asked)

    def _extend(
        self,
        marker: Marker,
        chosen: Recipe,
        state: State,
        stop: Callable[[], bool],
        asked: Vectors | None = None,
        *,
        again: bool = False,
    ) -> None:
        """Add what an index lacks; measure it if it has grown much since, or `again` says so."""
        loaded = self._folder.load(marker)
        if loaded is None:
            return
        with self._telling("extending"):
            first = int(np.searchsorted(state.keys, marker.next_key))
            fresh = first + np.flatnonzero(state.live[first:])
            keys = np.concatenate((loaded.keys, np.repeat(state.keys[fresh], state.counts[fresh])))
            rows = np.concatenate((state.addresses(loaded.keys), state.rows.of(fresh)))
            ann, read = self._folder.copy(marker), RowReader(state, rows, stop)
            extend(ann, len(rows), read)
            base = replace(marker, reason=chosen.reason)
            known = None if again or len(rows) > (1 + TUNED_SHARE) * marker.tuned else loaded
            self._publish(base, state, ann, keys, np.flatnonzero(rows >= 0), read, asked, known)

    def _publish(
        self,
        base: Marker,
        state: State,
        ann: Any,
        keys: NDArray[np.int64],
        live: Positions,
        read: RowReader,
        asked: Vectors | None = None,
        known: Approximate | None = None,
    ) -> None:
        """Let an index be the one that is searched, tuned as one before it if that is known."""
        if known is None:
            self._progress = "tuning"
            asked = self._asked_before(state) if asked is None else asked[:MOST_ASKED]
            tuning = tune(ann, read, live, self._settings.recall, asked)
            base = replace(base, tuned=len(keys))
        else:
            asked, tuning = known.asked, known.tuning
        with self._database.reading() as connection:
            session = session_of(connection, state.generation)
            names = read_names(distinct(keys), connection)
        marker = replace(
            base,
            generation=state.generation,
            next_key=state.next_key,
            session=session,
            fingerprint=state.fingerprint,
            documents=len(names.keys),
        )
        try:
            self._folder.publish(marker, approximate(ann, keys, tuning, base.factory, names, asked))
        except OSError as error:
            raise NearfieldError(f"the index can't be written: {error}; searches scan what it lacks") from error

    def _asked_before(self, state: State) -> Vectors:
        """Return the queries that users gave for the index before this one; none, if it is of other vectors."""
        with suppress(CorruptCollection):
            marker = self._folder.marker()
            before = self._folder.load(marker) if self._fits(marker, state) else None
            if before is not None:
                return before.asked
        return np.empty((0, state.dimension), np.float32)

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        self._progress, self._failure = what, ""
        try:
            yield
        finally:
            self._progress = ""

    @contextmanager
    def _locked(self, seconds: float) -> Iterator[None]:
        try:
            with self._working, FileLock(self._lock_file, seconds) as self._file_lock:
                yield
        except OSError as error:
            raise NearfieldError(
                f"the index lacks the newest documents, and can't be written: {error}; let a process that may write "
                "open the collection once"
            ) from error

    # -- telling -------------------------------------------------------------------------------------------------------

    def report(self, state: State, connection: sqlite3.Connection) -> dict[str, Any]:
        """Return what `Stats.index` holds."""
        failure, lacks = self._failure, False
        try:
            marker = self._known(self._folder.marker(), state, connection)
            lacks = self._lacks(state, NEW_SHARE, NEW_LEAST)
        except CorruptCollection as error:  # which a search by vectors raises
            marker, failure = NONE, str(error)
        held = held_of(marker, state)
        told = report(self._settings, marker, self._recipe(state), held)
        told["pending"] = held.new if lacks and told["wanted"] else 0
        return told | {"building": self._progress, "failure": failure}

    def tuning(self, state: State, connection: sqlite3.Connection) -> Tuning | None:
        """Return what the index was measured to do; None if there is none."""
        marker = self._known(self._folder.marker(), state, connection)
        return tuning_of(marker) if marker.folder else None

    def verify(self, state: State, connection: sqlite3.Connection) -> list[tuple[Path, str]]:
        """Return what is wrong with the index: the file or folder, and what; an index that is not there is fine."""
        return self._folder.verify(lambda marker: bool(self._known(marker, state, connection).folder))

"""Keeps the BM25 index in step with the documents.

A process that needs the index and finds documents missing from it adds them from the database, whichever process wrote
them. Documents deleted since stay in the index for a while: a search passes over what is not in its state, so that a
state read a moment before a deletion still finds its documents.
"""

from __future__ import annotations

import sqlite3
import threading

from nearfield.engine.local.database import Database, session_of
from nearfield.engine.local.layout import Layout
from nearfield.engine.local.lock import FileLock
from nearfield.engine.local.state import State
from nearfield.errors import NearfieldError
from nearfield.lexical.bm25 import BM25Index, Marker

WAIT_SECONDS = 60.0
"""How long to wait for another process that is updating the index."""


class LexicalKeeper:
    """Gives the BM25 index of a collection, with every document of a state in it."""

    def __init__(self, layout: Layout, database: Database) -> None:
        self._database = database
        self._index = BM25Index(layout.lexical)
        self._lock_file = layout.lexical_lock
        self._updating = threading.Lock()

    def index(self, state: State, connection: sqlite3.Connection, tolerated: int = 0) -> BM25Index:
        """Return the index after adding what it lacks, unless that is no more than `tolerated` documents.

        Raises:
            Locked: another process is updating the index, and did not finish within a minute.
            CorruptCollection: the index can't be read.
            NearfieldError: the index lacks documents, and its folder can't be written.
        """
        if not self._lacks(state, connection, tolerated):
            return self._index
        try:
            with self._updating, FileLock(self._lock_file, WAIT_SECONDS):
                if self._lacks(state, connection, tolerated):
                    self._update(state, connection)
        except OSError as error:
            raise NearfieldError(
                f"the BM25 index lacks the newest documents, and can't be written: {error}; let a process that may "
                "write open the collection once, or search with mode='semantic'"
            ) from error
        return self._index

    def _lacks(self, state: State, connection: sqlite3.Connection, tolerated: int) -> bool:
        return self._held(connection, state).next_key + tolerated < state.next_key

    def _held(self, connection: sqlite3.Connection, state: State) -> Marker:
        """Return what the index holds of this database's documents: nothing, if it was made from another."""
        marker = self._index.marker()
        if marker.generation <= state.generation:
            known = session_of(connection, marker.generation) == marker.session
        else:
            # Another process has written since this state was read; then the newest state knows the index.
            with self._database.reading() as newest:
                known = session_of(newest, marker.generation) == marker.session
        return marker if known else Marker()

    def _update(self, state: State, connection: sqlite3.Connection) -> None:
        before = self._held(connection, state)
        added = connection.execute(
            "SELECT key, title || char(10) || text FROM texts WHERE key >= ? ORDER BY key", (before.next_key,)
        )
        # Only what was deleted before the last update: no state that old is still being read.
        deleted = connection.execute(
            "SELECT key FROM deletions WHERE generation > ? AND generation <= ? AND key < ?",
            (before.purged, before.generation, before.next_key),
        )
        session = session_of(connection, state.generation)
        after = Marker(state.generation, state.next_key, purged=before.generation, session=session)
        self._index.update(before, after, added, (key for (key,) in deleted))

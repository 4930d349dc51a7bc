"""The line of a process's states: each is made from the one before, under a lock."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace

import numpy as np

from nearfield.engine.local import saved
from nearfield.engine.local.blocks import NO_BLOCKS
from nearfield.engine.local.columns import Columns
from nearfield.engine.local.database import counters, generation_of, read_origin, segments
from nearfield.engine.local.layout import Layout
from nearfield.engine.local.segments import Folder, SegmentMissing
from nearfield.engine.local.state import EMPTY, State, advance

LEAST_DEAD_SLOTS = 10_000
"""Deleted documents whose slots are kept before the arrays in memory are made anew without them."""


class States:
    """Gives the state that a transaction sees, and the columns that belong to it."""

    def __init__(self, layout: Layout, folder: Folder) -> None:
        self._layout = layout
        self._folder = folder
        self._lock = threading.Lock()
        # Together in one tuple, so that a look without the lock finds columns that belong to the state.
        self._known = (EMPTY, Columns(EMPTY.lineage))

    def read(self, connection: sqlite3.Connection) -> tuple[State, Columns]:
        """Return the state of a read transaction, which begins again if its state is not the newest known one.

        Raises:
            CorruptCollection: a file is missing or damaged.
        """
        while True:
            generation = generation_of(connection)
            # One look, without the lock: nobody has written in most cases.
            known = self._known
            if known[0].generation == generation:
                return known
            try:
                with self._lock:
                    if generation >= self._known[0].generation:
                        return self._advanced(connection)
                missing = None
            except SegmentMissing as error:
                missing = error
            # A thread has seen a later state than this transaction, or a segment was dropped that this state has.
            connection.rollback()
            connection.execute("BEGIN")
            if missing is not None and generation_of(connection) == generation:
                raise missing

    @property
    def fingerprint(self) -> str | None:
        """Of the encoder that made the vectors of the newest known state; None if that isn't known."""
        return self._known[0].fingerprint

    def write(self, connection: sqlite3.Connection) -> State:
        """Return the state that a write transaction begins with; nothing may have been written in it yet."""
        with self._lock:
            return self._advanced(connection)[0]

    def compress(self) -> None:
        """Forget in memory what was deleted."""
        with self._lock:
            self._known = _compressed(*self._known)

    def _advanced(self, connection: sqlite3.Connection) -> tuple[State, Columns]:
        state, columns = self._known
        if state is EMPTY or state.generation < counters(connection).history:
            state, columns = self._begun(connection)
        state = advance(state, connection, self._folder)
        if state.lineage is not columns.lineage:
            columns = Columns(state.lineage)
        if len(state.keys) - state.count > max(LEAST_DEAD_SLOTS, len(state.keys) // 4):
            state, columns = _compressed(state, columns)
        self._known = state, columns
        return self._known

    def _begun(self, connection: sqlite3.Connection) -> tuple[State, Columns]:
        """Return the state that was saved, if it can serve as a beginning."""
        found = saved.load(self._layout.columns, connection)
        if found is None or found.marker.generation < counters(connection).history:
            state = replace(EMPTY, lineage=object())
            return state, Columns(state.lineage)
        dimension, fingerprint = read_origin(connection)
        state = replace(
            EMPTY,
            fingerprint=fingerprint,
            generation=found.marker.generation,
            next_key=found.next_key,
            keys=found.keys,
            live=np.ones(len(found.keys), np.bool_),
            firsts=found.firsts,
            counts=found.counts,
            live_rows=int(found.counts.sum()),
            blocks=NO_BLOCKS.advanced(self._folder, segments(connection), dimension or 0),
            lineage=object(),
        )
        return state, Columns(state.lineage, found)


def _compressed(state: State, columns: Columns) -> tuple[State, Columns]:
    """Return both without the slots of deleted documents."""
    compressed = state.compressed()
    return compressed, columns.compressed(state.live, compressed.lineage)

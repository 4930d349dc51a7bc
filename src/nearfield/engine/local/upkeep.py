"""What the writing process does beside writing: compaction, and saving the columns, each when it is due."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np

from nearfield.engine.local import compaction, saved
from nearfield.engine.local.database import Database, counters, session_of
from nearfield.engine.local.layout import Layout
from nearfield.engine.local.segments import Folder
from nearfield.engine.local.state import State
from nearfield.engine.local.states import States
from nearfield.errors import CorruptCollection

Transaction = Callable[[], AbstractContextManager[sqlite3.Connection]]
"""Gives the writer's connection within a transaction that is committed at the end."""

KEPT_GENERATIONS = 1000
"""Newest generations whose deletions and moves stay on record, for processes that read now and then."""

KEPT_HISTORY = 20_000
"""Newest deletions, and newest moves, of which no more stay on record."""

LEAST_UNSAVED = 1000
"""Documents that are read from the tables as quickly as from a file."""

UNSAVED_SHARE = 0.5
"""Changes since the columns were saved, as a share of the documents, while a process writes."""

UNSAVED_AT_CLOSE = 0.05


class Upkeep:
    """Keeps a collection small and quick to open; used by one thread at a time, with the writer's lock held."""

    def __init__(
        self, layout: Layout, folder: Folder, database: Database, states: States, transaction: Transaction
    ) -> None:
        self._layout = layout
        self._folder = folder
        self._database = database
        self._states = states
        self._transaction = transaction
        self._compacting = False
        self._passed_over: set[int] = set()  # segments that are damaged

    def after_write(self, changed: int) -> None:
        """Do what is due after so many documents were written or deleted; the more, the more may be done."""
        for _ in range(1 + 4 * changed // compaction.STEP_ROWS):
            if not self._compact_if_due():
                break
        self._save_if_due(UNSAVED_SHARE)

    def compact(self) -> None:
        """Free all that is dead now."""
        damaged: CorruptCollection | None = None
        self._passed_over.clear()
        while True:
            try:
                if not self._step():
                    break
            except CorruptCollection as error:
                damaged = damaged or error
        self._compacting = False
        self._save_if_due(0.0)
        self._trim(0, 0)
        connection = self._database.writer()
        compaction.cut_pages(connection, compaction.free_pages(connection)[0])
        compaction.empty_log(connection)
        if damaged is not None:
            raise damaged

    def before_close(self, deadline: float) -> None:
        """Do what makes the next opening quick; until a time of `time.monotonic`, what makes the collection small."""
        self._compacting = True  # so that it goes on where it would not begin
        while self._compact_if_due() and time.monotonic() < deadline:
            pass
        self._save_if_due(UNSAVED_AT_CLOSE)

    def _compact_if_due(self) -> bool:
        """Do a step, and return whether more may be due."""
        state = self._state()
        total = state.dead_rows + state.live_rows
        limit = compaction.CLEAN_SHARE if self._compacting else compaction.DEAD_SHARE
        if state.dead_rows > max(compaction.LEAST_DEAD, limit * total):
            self._compacting = True
            return self._step()
        if self._compacting:
            self._save_if_due(UNSAVED_SHARE)
            self._trim(KEPT_GENERATIONS, KEPT_HISTORY)
        self._compacting = False
        return self._cut_if_due()

    def _cut_if_due(self) -> bool:
        connection = self._database.writer()
        free, total = compaction.free_pages(connection)
        if free < max(compaction.LEAST_DEAD, compaction.DEAD_SHARE * total):
            return False
        compaction.cut_pages(connection, compaction.STEP_PAGES)
        return True

    def _step(self) -> bool:
        with self._transaction() as connection:
            state = self._states.write(connection)
            step = compaction.plan(state, self._passed_over)
            if step is None:
                return False
            try:
                compaction.carry_out(step, state, connection, self._folder)
            except CorruptCollection:
                self._passed_over.add(step.segment.number)
                raise
        if step.empties:
            compaction.remove_dropped(self._database.writer(), self._folder)
        return True

    def _trim(self, generations: int, rows: int) -> None:
        """Forget deletions and moves, except the newest, and those since the columns were saved."""
        with self._transaction() as connection:
            now = counters(connection)
            marker = saved.marker_of(self._layout.columns)
            until = max(now.generation - generations, compaction.generation_before(connection, rows))
            until = min(until, marker.generation if marker else now.generation)
            if until > now.history:
                compaction.trim(connection, until)

    def _save_if_due(self, share: float) -> None:
        """Save the columns if more than a share of the documents, and not only few, are not in what was saved."""
        with self._database.reading() as connection:
            state, _ = self._states.read(connection)
            if self._unsaved(state, connection) > max(LEAST_UNSAVED, share * state.count):
                session = session_of(connection, state.generation)
                saved.save(self._layout.columns, state, connection, session)

    def _unsaved(self, state: State, connection: sqlite3.Connection) -> int:
        """Return how many documents were added, deleted and moved since the columns were saved."""
        marker = saved.marker_of(self._layout.columns)
        if marker is None or session_of(connection, marker.generation) != marker.session:
            return state.count
        if marker.generation < counters(connection).history:  # all have other places since
            return state.count
        added = len(state.keys) - int(np.searchsorted(state.keys, marker.next_key))
        (moved,) = connection.execute(
            "SELECT count(*) FROM moves WHERE generation > ?", (marker.generation,)
        ).fetchone()
        return added + abs(marker.documents + added - state.count) + int(moved) // 4  # which are read quickest

    def _state(self) -> State:
        with self._database.reading() as connection:
            return self._states.read(connection)[0]

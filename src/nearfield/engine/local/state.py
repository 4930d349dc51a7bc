"""The part of a committed state that is held in memory: which documents there are, and where their vectors lie.

Documents have slots, numbered in the order of their keys. A newer state is made from an older one by what was added,
deleted and moved since, and gives every document the slot that it had, so an older state stays valid beside a newer
one. Only `compressed`, and a beginning from the tables, give other slots; the state then has a new `lineage`.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nearfield.engine.local.blocks import NO_BLOCKS, Blocks
from nearfield.engine.local.database import Counters, counters, read_origin, rising, segments
from nearfield.engine.local.growing import extended
from nearfield.engine.local.segments import Folder
from nearfield.index.keys import places_of
from nearfield.index.rows import Rows

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class State:
    """One generation's documents and vectors.

    Args:
        generation: Its number.
        next_key: Keys below it were considered.
        keys: int64 `(slots,)`, rising.
        live: bool `(slots,)`, False for documents deleted since the process began to read.
        firsts: int64 `(slots,)`, addresses of the documents' first rows.
        counts: int64 `(slots,)`, how many rows each has.
        live_rows: How many rows the live documents have.
        blocks: The vectors.
        lineage: The same for all states whose slots mean the same.
        fingerprint: Of the encoder that made the vectors; None if all were given.
    """

    generation: int
    next_key: int
    keys: Integers
    live: NDArray[np.bool_]
    firsts: Integers
    counts: Integers
    live_rows: int
    blocks: Blocks
    lineage: object = field(default_factory=object)
    fingerprint: str | None = None

    @cached_property
    def rows(self) -> Rows:
        """The vectors, and the rows of each slot."""
        return Rows(self.blocks.arrays, self.blocks.starts, self.firsts, self.counts)

    @property
    def dimension(self) -> int:
        """Length of the vectors; 0 while there are none."""
        return self.blocks.arrays[0].shape[1] if self.blocks.arrays else 0

    @cached_property
    def count(self) -> int:
        """Number of documents."""
        return int(np.count_nonzero(self.live))

    @property
    def dead_rows(self) -> int:
        """Rows on disk that belong to no document."""
        return sum(segment.rows for segment in self.blocks.segments) - self.live_rows

    def slots(self, keys: Integers) -> Integers:
        """Return the slot of each key; -1 for keys that have none."""
        if not len(self.keys):
            return np.full(len(keys), -1)
        places = places_of(self.keys, keys)
        return np.where(self.keys[places] == keys, places, -1)

    def addresses(self, keys: Integers) -> Integers:
        """Return the addresses of documents' rows; -1 for those of a document that is gone.

        Args:
            keys: int64 `(n,)`, rising; each as often as the document has rows, or had.
        """
        if not len(self.keys):
            return np.full(len(keys), -1)
        slots, places = self.slots(keys), np.arange(len(keys))
        begins = np.maximum.accumulate(np.where(np.diff(keys, prepend=-1) != 0, places, 0))
        live = (slots >= 0) & self.live[slots]
        return np.where(live, self.firsts[slots] + places - begins, -1)

    def compressed(self) -> State:
        """Return the same state without the slots of deleted documents."""
        keys, firsts, counts = self.keys[self.live], self.firsts[self.live], self.counts[self.live]
        live = np.ones(len(keys), np.bool_)
        return replace(self, keys=keys, live=live, firsts=firsts, counts=counts, lineage=object())


_NONE = np.empty(0, np.int64)
EMPTY = State(-1, 1, _NONE, np.empty(0, np.bool_), _NONE, _NONE, 0, NO_BLOCKS)


def advance(state: State, connection: sqlite3.Connection, folder: Folder) -> State:
    """Return the state that a read transaction sees, made from an earlier one.

    Raises:
        SegmentMissing: a segment of this state was dropped since, or lost.
        CorruptCollection: a segment's file is damaged.
    """
    now = counters(connection)
    if now.generation == state.generation:
        return state
    if state.generation < now.history:
        # What was deleted and moved in between is no longer on record.
        state = replace(EMPTY, blocks=state.blocks, lineage=object())
    dimension, fingerprint = read_origin(connection)
    blocks = state.blocks.advanced(folder, segments(connection), dimension or 0)
    advanced = _add(_move(_delete(state, connection), connection, blocks), now, connection, blocks)
    return replace(advanced, fingerprint=fingerprint)


def _delete(state: State, connection: sqlite3.Connection) -> State:
    slots = _slots_since(state, connection, "SELECT key FROM deletions WHERE generation > ? AND key < ?")
    if not len(slots):
        return state
    live = state.live.copy()
    live[slots] = False
    gone = slots[state.live[slots]]
    return replace(state, live=live, live_rows=state.live_rows - int(state.counts[gone].sum()))


def _move(state: State, connection: sqlite3.Connection, blocks: Blocks) -> State:
    moved = connection.execute(
        "SELECT key, first_row FROM moves JOIN documents USING (key) WHERE generation > ? AND key < ?",
        (state.generation, state.next_key),
    ).fetchall()
    if not moved:
        return state
    table = np.array(moved, dtype=np.int64)
    slots = state.slots(table[:, 0])
    known = slots >= 0
    blocks.check_places(table[known, 1], state.counts[slots[known]])
    firsts = state.firsts.copy()
    firsts[slots[known]] = table[known, 1]
    return replace(state, firsts=firsts)


def _add(state: State, now: Counters, connection: sqlite3.Connection, blocks: Blocks) -> State:
    statement = "SELECT key, first_row, n_rows FROM documents WHERE key >= ? ORDER BY key"
    added = np.array(
        list(rising(connection.execute(statement, (state.next_key,)))),
        dtype=np.int64,
    ).reshape(-1, 3)
    blocks.check_places(added[:, 1], added[:, 2])
    return State(
        generation=now.generation,
        next_key=now.next_key,
        keys=extended(state.keys, added[:, 0]),
        live=np.concatenate((state.live, np.ones(len(added), np.bool_))),
        firsts=extended(state.firsts, added[:, 1]),
        counts=extended(state.counts, added[:, 2]),
        live_rows=state.live_rows + int(added[:, 2].sum()),
        blocks=blocks,
        lineage=state.lineage,
    )


def _slots_since(state: State, connection: sqlite3.Connection, statement: str) -> Integers:
    keys = connection.execute(statement, (state.generation, state.next_key)).fetchall()
    slots = state.slots(np.array(keys, dtype=np.int64).reshape(-1))
    return slots[slots >= 0]

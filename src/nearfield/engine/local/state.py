"""The part of a committed state that is held in memory: which documents there are, and where their vectors lie.

Documents have slots, numbered in the order of their keys. A slot is never given to another document while a process
runs, so an older state stays valid beside a newer one, and a newer one is made from the older by what was added and
deleted since.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.protocol import Vectors
from nearfield.engine.local.database import counters, read_settings, segments
from nearfield.engine.local.segments import Segment, map_segment
from nearfield.index.exact import Rows


@dataclass(frozen=True, slots=True)
class State:
    """One generation's documents and vectors.

    Args:
        generation: Its number.
        next_key: Keys below it were considered.
        keys: int64 `(slots,)`, rising.
        live: bool `(slots,)`, False for documents deleted since the process began to read.
        rows: The vectors, and the rows of each slot.
        segments: The segments that are mapped.
    """

    generation: int
    next_key: int
    keys: NDArray[np.int64]
    live: NDArray[np.bool_]
    rows: Rows
    segments: tuple[Segment, ...]

    @property
    def count(self) -> int:
        """Number of documents."""
        return int(self.live.sum())

    def slots(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the slot of each key; -1 for keys that have none."""
        places = np.searchsorted(self.keys, keys)
        places[places == len(self.keys)] = 0
        known = self.keys[places] == keys if len(self.keys) else np.zeros(len(keys), bool)
        return np.where(known, places, -1)


EMPTY = State(
    generation=-1,
    next_key=1,
    keys=np.empty(0, np.int64),
    live=np.empty(0, np.bool_),
    rows=Rows((), np.empty(0, np.int64), np.empty(0, np.int64)),
    segments=(),
)


def advance(state: State, connection: sqlite3.Connection, folder: Path) -> State:
    """Return the state that a read transaction sees, made from an earlier one."""
    now = counters(connection)
    if now.generation == state.generation:
        return state
    added = np.array(
        connection.execute(
            "SELECT key, first_row, n_rows FROM documents WHERE key >= ? ORDER BY key", (state.next_key,)
        ).fetchall(),
        dtype=np.int64,
    ).reshape(-1, 3)
    live = np.concatenate((state.live, np.ones(len(added), np.bool_)))
    live[_deleted(state, connection)] = False
    mapped = tuple(segments(connection))
    return State(
        generation=now.generation,
        next_key=now.next_key,
        keys=np.concatenate((state.keys, added[:, 0])),
        live=live,
        rows=replace(
            state.rows,
            blocks=_blocks(state, connection, folder, mapped),
            firsts=np.concatenate((state.rows.firsts, added[:, 1])),
            counts=np.concatenate((state.rows.counts, added[:, 2])),
        ),
        segments=mapped,
    )


def _deleted(state: State, connection: sqlite3.Connection) -> NDArray[np.int64]:
    keys = connection.execute(
        "SELECT key FROM deletions WHERE generation > ? AND key < ?", (state.generation, state.next_key)
    ).fetchall()
    slots = state.slots(np.array(keys, dtype=np.int64).reshape(-1))
    return slots[slots >= 0]


def _blocks(
    state: State, connection: sqlite3.Connection, folder: Path, mapped: tuple[Segment, ...]
) -> tuple[Vectors, ...]:
    dimension = read_settings(connection).dimension
    known = dict(zip(state.segments, state.rows.blocks, strict=True))
    return tuple(
        known[segment] if segment in known else map_segment(folder, segment, dimension or 0) for segment in mapped
    )

"""Giving back the space of deleted and replaced documents, in steps that are short and whole.

Vectors: a step moves some documents' rows from the segment with the most dead rows to the newest one, and a segment
without live rows is dropped. SQLite: a step cuts free pages off the end of the file. Each step is a transaction of its
own, so that readers go on with the state that they have, and a process that is killed leaves one state or the next.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nearfield.engine.local import writing
from nearfield.engine.local.database import counters, vector_sums_of, write_counters
from nearfield.engine.local.segments import Folder, Segment
from nearfield.engine.local.state import State
from nearfield.errors import CorruptCollection
from nearfield.stages import stage

DEAD_SHARE = 0.2
"""Share of dead rows from which segments are compacted, and of free pages from which the database is."""

CLEAN_SHARE = 0.1
"""Share of dead rows at which compaction rests again."""

LEAST_DEAD = 64
"""Dead rows, and free pages, below which it isn't worth while."""

STEP_ROWS = 8192
"""Rows that a step moves: 12 MB of 384 dimensions."""

KEPT_SESSIONS = 1000
"""Newest sessions that stay on record: they tell whether an older snapshot is of this collection's past."""

STEP_PAGES = 1024
"""Pages that a step frees: 4 MB."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a step is to do: move documents (by their slots) out of a segment, and drop it if it is then empty."""

    segment: Segment
    slots: NDArray[np.int64]
    empties: bool


def plan(state: State, passed_over: Container[int] = ()) -> Step | None:
    """Return the next step; None if no segment has dead rows, some numbers passed over."""
    segments = state.blocks.segments
    if not segments:
        return None
    shares = 1 - _live_rows(state, segments) / np.array([segment.rows for segment in segments])
    shares[[segment.number in passed_over for segment in segments]] = 0
    if shares.max() <= 0:
        return None
    victim = segments[int(np.argmax(shares))]
    # In format version 1, a document's rows may begin in one segment and end in the next.
    inside = state.live & (state.firsts < victim.end) & (state.firsts + state.counts > victim.first_row)
    slots = np.flatnonzero(inside)
    slots = slots[np.argsort(state.firsts[slots], kind="stable")]
    within = np.searchsorted(np.cumsum(state.counts[slots]), STEP_ROWS, side="right")
    moved = slots[: max(1, int(within))]
    return Step(victim, np.sort(moved), len(moved) == len(slots))


def _live_rows(state: State, segments: Sequence[Segment]) -> NDArray[np.float64]:
    """Return how many rows of each segment belong to documents, by where these begin."""
    places = np.searchsorted([segment.first_row for segment in segments], state.firsts[state.live], side="right") - 1
    return np.bincount(places, weights=state.counts[state.live], minlength=len(segments)).astype(np.float64)


def carry_out(step: Step, state: State, connection: sqlite3.Connection, folder: Folder) -> None:
    """Move documents, and drop the segment if that empties it, in a transaction that the caller commits.

    The file of a dropped segment stays, for `remove_dropped` to remove after the commit.

    Raises:
        CorruptCollection: the vectors to be moved are not what was written; nothing was changed.
    """
    now = counters(connection)
    generation = now.generation + 1
    next_segment = now.next_segment
    if step.segment.number == next_segment - 1:
        next_segment += 1  # the newest segment must not grow while it is emptied
    if len(step.slots):
        with stage("move rows"):
            next_segment = _move(step, state, connection, folder, generation, next_segment)
    if step.empties:
        connection.execute("DELETE FROM segments WHERE number = ?", (step.segment.number,))
    write_counters(connection, replace(now, generation=generation, next_segment=next_segment))


def _move(
    step: Step, state: State, connection: sqlite3.Connection, folder: Folder, generation: int, next_segment: int
) -> int:
    keys = state.keys[step.slots].tolist()
    counts = state.counts[step.slots]
    vectors = state.rows.gather(state.rows.of(step.slots))
    if vector_sums_of(connection, keys) != writing.vector_sums(vectors, counts):
        raise CorruptCollection(
            f"{folder.file(step.segment.number)} holds vectors that are not what was written; `nearfield check` tells "
            "whose"
        )
    firsts, next_segment = writing.append(connection, folder, vectors, counts, next_segment)
    pairs = list(zip(firsts, keys, strict=True))
    connection.executemany("UPDATE documents SET first_row = ? WHERE key = ?", pairs)
    connection.executemany("INSERT OR REPLACE INTO moves VALUES (?, ?)", [(key, generation) for key in keys])
    return next_segment


def remove_dropped(connection: sqlite3.Connection, folder: Folder) -> None:
    """Remove files of segments that no state has any more; whoever has one mapped keeps it until he lets go."""
    with stage("drop segment"):
        known = {number for (number,) in connection.execute("SELECT number FROM segments")}
        for file in folder.path.glob("*.vec"):
            if file.stem.isdecimal() and int(file.stem) not in known:
                with suppress(OSError):  # what stays is removed the next time
                    file.unlink()


def generation_before(connection: sqlite3.Connection, rows: int) -> int:
    """Return the newest generation after which at most so many deletions, and so many moves, are on record."""
    newest = 0
    for table in ("deletions", "moves"):
        row = connection.execute(
            f"SELECT generation FROM {table} ORDER BY generation DESC LIMIT 1 OFFSET ?", (rows,)
        ).fetchone()
        newest = max(newest, row[0] if row else 0)
    return newest


def trim(connection: sqlite3.Connection, generation: int) -> None:
    """Forget deletions, moves and sessions up to a generation; a state older than it begins again from the tables."""
    connection.execute("DELETE FROM deletions WHERE generation <= ?", (generation,))
    connection.execute("DELETE FROM moves WHERE generation <= ?", (generation,))
    connection.execute(
        "DELETE FROM sessions WHERE first_generation < "
        "(SELECT max(first_generation) FROM sessions WHERE first_generation <= ?) AND first_generation NOT IN "
        "(SELECT first_generation FROM sessions ORDER BY first_generation DESC LIMIT ?)",
        (generation, KEPT_SESSIONS),
    )
    write_counters(connection, replace(counters(connection), history=generation))


def free_pages(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return how many pages of the database are free, and how many there are."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (total,) = connection.execute("PRAGMA page_count").fetchone()
    return free, total


def cut_pages(connection: sqlite3.Connection, pages: int) -> None:
    """Cut free pages off the end of the database."""
    with stage("vacuum"):
        # Not by `execute`, which takes one step of the statement, and so frees one page.
        connection.executescript(f"PRAGMA incremental_vacuum({pages})")


def empty_log(connection: sqlite3.Connection) -> None:
    """Bring the write-ahead log into the database, and empty it, if no reader needs it."""
    (timeout,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {timeout}")

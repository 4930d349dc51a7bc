"""The doc_ids of many documents, read at once."""

from __future__ import annotations

import sqlite3
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from nearfield.engine.local.database import rising
from nearfield.index.keys import places_of
from nearfield.index.names import NO_TABLE, Names, Table, is_worth_its_room

AT_ONCE = 20_000
"""Rows that are in memory as Python's objects, which take ten times the bytes of a doc_id."""


def read_names(keys: NDArray[np.int64], connection: sqlite3.Connection) -> Names:
    """Return the doc_ids of documents, read from the table; none, if they would take too much room.

    Args:
        keys: int64 `(n,)`, rising; of those that are gone, the doc_id isn't known.
        connection: In a read transaction.
    """
    pieces: list[tuple[NDArray[np.int64], Table]] = []
    width = used = 0
    between = (int(keys[0]), int(keys[-1])) if len(keys) else (0, -1)
    rows = rising(
        connection.execute("SELECT key, doc_id FROM documents WHERE key BETWEEN ? AND ? ORDER BY key", between)
    )
    while some := list(islice(rows, AT_ONCE)):
        known = np.array([key for key, _ in some], np.int64)
        places = places_of(keys, known)
        fits = keys[places] == known
        doc_ids = [doc_id.encode() for (_, doc_id), fit in zip(some, fits.tolist(), strict=True) if fit]
        lengths = [len(doc_id) for doc_id in doc_ids]
        longest, width, used = max(lengths, default=0), max([width, *lengths]), used + sum(lengths)
        if not is_worth_its_room(longest, len(doc_ids), sum(lengths)):
            return Names(keys, NO_TABLE)
        pieces.append((places[fits], np.array(doc_ids, np.bytes_)))
    if not is_worth_its_room(width, len(keys), used):
        return Names(keys, NO_TABLE)
    whole = np.zeros(len(keys), f"S{max(width, 1)}")
    for places, table in pieces:
        whole[places] = table
    return Names(keys, whole)

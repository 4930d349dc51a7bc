"""The doc_ids of many documents, read at once."""

from __future__ import annotations

import sqlite3
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from nearfield.engine.local.database import rising
from nearfield.index.keys import places_of
from nearfield.index.names import Names

AT_ONCE = 20_000
"""Rows that are in memory as Python's objects, which take ten times the bytes of a doc_id."""


def read_names(keys: NDArray[np.int64], connection: sqlite3.Connection) -> Names:
    """Return the doc_ids of documents, read from the table; "" for those that are gone.

    Args:
        keys: int64 `(n,)`, rising.
        connection: In a read transaction.
    """
    lengths = np.zeros(len(keys) + 1, np.int64)
    text = bytearray()
    between = (int(keys[0]), int(keys[-1])) if len(keys) else (0, -1)
    rows = rising(
        connection.execute("SELECT key, doc_id FROM documents WHERE key BETWEEN ? AND ? ORDER BY key", between)
    )
    while some := list(islice(rows, AT_ONCE)):
        known = np.array([key for key, _ in some], np.int64)
        places = places_of(keys, known)
        fits = keys[places] == known
        names = [name.encode() for (_, name), fit in zip(some, fits.tolist(), strict=True) if fit]
        lengths[places[fits] + 1] = [len(name) for name in names]
        text += b"".join(names)
    return Names(keys, np.frombuffer(text, np.uint8), np.cumsum(lengths))

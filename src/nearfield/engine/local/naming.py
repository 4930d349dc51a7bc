"""The doc_ids of many documents, read at once."""

from __future__ import annotations

import sqlite3

import numpy as np
from numpy.typing import NDArray

from nearfield.engine.local.database import rising
from nearfield.index.names import Names


def read_names(keys: NDArray[np.int64], connection: sqlite3.Connection) -> Names:
    """Return the doc_ids of documents, read from the table; "" for those that are gone.

    Args:
        keys: int64 `(n,)`, rising.
        connection: In a read transaction.
    """
    named = [""] * len(keys)
    if len(keys):
        rows = connection.execute(
            "SELECT key, doc_id FROM documents WHERE key BETWEEN ? AND ? ORDER BY key", (int(keys[0]), int(keys[-1]))
        )
        there = list(rising(rows))
        known = np.array([key for key, _ in there], np.int64).reshape(-1)
        places = np.searchsorted(keys, known)
        fits = keys.take(places, mode="clip") == known
        for place, (_, name) in zip(places[fits].tolist(), (row for row, fit in zip(there, fits) if fit)):  # noqa: B905
            named[place] = name
    encoded = [name.encode() for name in named]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return Names(keys, np.frombuffer(b"".join(encoded), np.uint8), ends)

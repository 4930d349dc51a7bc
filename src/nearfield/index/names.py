"""doc_ids of many documents in memory, by their keys: a search by a vector takes less time than SQLite to tell ten.

They lie one after another, each in the room of the longest: so that of ten, in memory that the processor has to fetch,
all are fetched at once. With their ends in another array, they took a twentieth of a search longer. A key is given out
once and for all, with one doc_id; so what is known of a key never changes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nearfield.index.keys import is_gapless, places_of

FILE = "names.npy"

NARROW = 64
MOST_ROOM = 2.0
"""Bytes of the longest doc_id up to which they are kept, or how many times their own bytes the room for all may be."""

Table = NDArray[np.bytes_]
NO_TABLE: Table = np.empty(0, np.bytes_)


class Names:
    """doc_ids by keys.

    Args:
        keys: int64 `(n,)`, rising.
        table: bytes `(n,)`, each key's doc_id as UTF-8, in which no NUL is; b"" if it isn't known. `NO_TABLE`: none is.
    """

    def __init__(self, keys: NDArray[np.int64], table: Table) -> None:
        self.keys = keys
        self.table = table
        self._ends = (int(keys[0]), int(keys[-1])) if len(keys) and is_gapless(keys) else None

    def find(self, keys: NDArray[np.int64]) -> list[str] | None:
        """Return the doc_id of each key; None if one of them isn't known, or had been deleted when this was made."""
        if not len(self.table):
            return None
        if self._ends is not None:
            first, last = self._ends
            wanted = keys.tolist()
            if wanted and (min(wanted) < first or max(wanted) > last):
                return None
            places = keys - first
        else:
            places = places_of(self.keys, keys)
            if not (self.keys[places] == keys).all():
                return None
        found = [name.decode() for name in self.table[places].tolist()]
        return None if "" in found else found

    def save(self, folder: Path) -> None:
        """Write the doc_ids to a folder; the keys are kept elsewhere."""
        np.save(folder / FILE, self.table)


def is_worth_its_room(width: int, rows: int, used: int) -> bool:
    """Return whether to keep a table of so many rows, each as wide, of whose bytes so many are used in all."""
    return width <= NARROW or width * rows <= MOST_ROOM * used


def load_names(folder: Path, keys: NDArray[np.int64]) -> Names:
    """Return what `save` wrote, mapped.

    Args:
        folder: Where.
        keys: int64 `(n,)`, rising, as they were when it was written.

    Raises:
        ValueError: it is damaged, or of other keys.
        OSError: it can't be read.
    """
    table = np.asarray(np.load(folder / FILE, mmap_mode="r", allow_pickle=False))
    if table.dtype.kind != "S" or len(table) not in (0, len(keys)):
        raise ValueError("its doc_ids are those of other documents")
    return Names(keys, table)

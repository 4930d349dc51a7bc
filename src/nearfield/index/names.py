"""doc_ids of many documents in memory, by their keys: a search by a vector takes less time than SQLite to tell ten.

A key is given out once and for all, with one doc_id; so what is known of a key never changes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nearfield.index.keys import places_of

FILES = ("names.npy", "ends.npy")


class Names:
    """doc_ids by keys.

    Args:
        keys: int64 `(n,)`, rising.
        text: uint8, the doc_ids as UTF-8, one after another.
        ends: int64 `(n + 1,)`, where each ends; the first is 0.
    """

    def __init__(self, keys: NDArray[np.int64], text: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self.keys = keys
        self.ends = ends
        self.text = text
        self._bytes = memoryview(text.data)

    def find(self, keys: NDArray[np.int64]) -> list[str] | None:
        """Return the doc_id of each key; None if one of them isn't known, or had been deleted when this was made."""
        if not len(self.keys):
            return None
        places = places_of(self.keys, keys)
        if not (self.keys[places] == keys).all():
            return None
        text = self._bytes
        starts, ends = self.ends[places].tolist(), self.ends[places + 1].tolist()
        found = [str(text[start:end], "utf-8") for start, end in zip(starts, ends, strict=True)]
        return None if "" in found else found

    def save(self, folder: Path) -> None:
        """Write the doc_ids to a folder; the keys are kept elsewhere."""
        np.save(folder / FILES[0], self.text)
        np.save(folder / FILES[1], self.ends)


def load_names(folder: Path, keys: NDArray[np.int64]) -> Names:
    """Return what `save` wrote, mapped.

    Args:
        folder: Where.
        keys: int64 `(n,)`, rising, as they were when it was written.

    Raises:
        ValueError: it is damaged, or of other keys.
        OSError: it can't be read.
    """
    text, ends = (np.asarray(np.load(folder / name, mmap_mode="r", allow_pickle=False)) for name in FILES)
    if len(ends) != len(keys) + 1 or ends[0] != 0 or ends[-1] != len(text):
        raise ValueError("its doc_ids are those of other documents")
    return Names(keys, text, ends)

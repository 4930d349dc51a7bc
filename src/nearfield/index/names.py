"""doc_ids of many documents in memory, by their keys: a search by a vector takes less time than SQLite to tell ten.

A key is given out once and for all, with one doc_id; so what is known of a key never changes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
        # Of keys without gaps, the place of one is a difference; a search for it would read half of them from memory.
        self._first = int(keys[0]) if len(keys) and keys[-1] - keys[0] == len(keys) - 1 else None

    def find(self, keys: NDArray[np.int64]) -> list[str] | None:
        """Return the doc_id of each key; None if one of them isn't known, or had been deleted when this was made."""
        places = self._places(keys)
        if places is None:
            return None
        text = self._bytes
        starts, ends = self.ends[places].tolist(), self.ends[places + 1].tolist()
        found = [str(text[start:end], "utf-8") for start, end in zip(starts, ends, strict=True)]
        return None if "" in found else found

    def _places(self, keys: NDArray[np.int64]) -> NDArray[np.int64] | None:
        if not len(keys) or not len(self.keys):
            return None if len(keys) else np.empty(0, np.int64)
        if self._first is not None:
            places = keys - self._first
            return places if places.min() >= 0 and places.max() < len(self.keys) else None
        places = self.keys.searchsorted(keys)
        return places if (self.keys.take(places, mode="clip") == keys).all() else None

    def save(self, folder: Path) -> None:
        """Write the doc_ids to a folder; the keys are kept elsewhere."""
        np.save(folder / FILES[0], self.text)
        np.save(folder / FILES[1], self.ends)


def distinct(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each of some rising keys once; the keys themselves, if none comes twice."""
    is_new = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=is_new[1:])
    return keys if is_new.all() else keys[is_new]


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

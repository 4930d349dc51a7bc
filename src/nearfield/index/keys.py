"""Rising keys: where they stand, and each of them once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.int64]


def places_of(known: Keys, keys: Keys) -> NDArray[np.int64]:
    """Return where each key stands among some rising ones; for a key that isn't there, the place of another.

    Args:
        known: int64 `(n,)`, rising, at least one.
        keys: int64 `(m,)`.
    """
    last = len(known) - 1
    if is_gapless(known):
        places: NDArray[np.int64] = np.clip(keys - known[0], 0, last)
        return places
    return np.minimum(known.searchsorted(keys), last)


def is_gapless(keys: Keys) -> bool:
    """Return whether each of some rising keys, at least one, is the next number, as until documents are deleted."""
    return bool(keys[-1] - keys[0] == len(keys) - 1)


def distinct(keys: Keys) -> Keys:
    """Return each of some rising keys once; the keys themselves, if none comes twice."""
    is_new = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=is_new[1:])
    return keys if is_new.all() else keys[is_new]

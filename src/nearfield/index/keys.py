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
    if known[-1] - known[0] == last:  # without gaps, as they are until documents are deleted
        places: NDArray[np.int64] = np.clip(keys - known[0], 0, last)
        return places
    return np.minimum(known.searchsorted(keys), last)


def distinct(keys: Keys) -> Keys:
    """Return each of some rising keys once; the keys themselves, if none comes twice."""
    is_new = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=is_new[1:])
    return keys if is_new.all() else keys[is_new]

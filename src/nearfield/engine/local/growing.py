"""Arrays that grow at the end without being copied each time."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)


def extended(values: NDArray[Scalar], fresh: NDArray[Scalar]) -> NDArray[Scalar]:
    """Return values followed by fresh ones, along the first axis, and leave `values` as it is.

    The result is the front of a larger buffer, into whose spare room the next extension writes. So of all that are
    made from one array, only one may be extended further: the newest. Copying is then rare, and costs each value a few
    copies in all.
    """
    if not len(fresh):
        return values
    used, needed = len(values), len(values) + len(fresh)
    buffer = values.base
    if not isinstance(buffer, np.ndarray) or not buffer.flags.writeable or len(buffer) < needed:
        buffer = np.empty((needed + needed // 2 + 64, *fresh.shape[1:]), fresh.dtype)
        buffer[:used] = values
    buffer[used:needed] = fresh
    return buffer[:needed]

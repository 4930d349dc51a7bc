"""Reading many vectors once, without keeping them in memory."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.protocol import Vectors
from nearfield.engine.local.state import State
from nearfield.index.ann import CHUNK, Interrupted

LET_GO_BYTES = 1_500_000_000
"""Of mapped files in memory, from which on vectors are given back: the system keeps them while there is room."""

LOOK_ROWS = 500
"""Vectors that are read until another look: each may lie alone in 2 MB of a file, which are mapped together."""

_STATUS = Path("/proc/self/statm")


class RowReader:
    """Gives the vectors at some addresses, by their positions in a list of these.

    Args:
        state: Whose vectors they are.
        rows: int64 `(n,)`, their addresses; less than 0 for those that are never asked for.
        stop: Asked each time whether to give up.
    """

    def __init__(self, state: State, rows: NDArray[np.int64], stop: Callable[[], bool]) -> None:
        self._state = state
        self._rows = rows
        self._stop = stop
        self._unlooked = 0  # rows since the last look
        self._read = 0  # bytes since vectors were last given back

    def __call__(self, positions: NDArray[np.int64]) -> Vectors:
        """Return vectors, float32 `(len(positions), d)`.

        Raises:
            Interrupted: it is time to give up.
        """
        if self._stop():
            raise Interrupted("work on an index was interrupted; it begins again when it is next needed")
        if len(positions) > CHUNK:  # more than are read one after another
            pieces = [self(positions[start : start + LOOK_ROWS]) for start in range(0, len(positions), LOOK_ROWS)]
            return np.concatenate(pieces)
        vectors = self._state.rows.gather(self._rows[positions])
        self._read += vectors.nbytes
        self._unlooked += len(vectors)
        if self._unlooked >= LOOK_ROWS:
            self._unlooked = 0
            if _mapped_bytes(self._read) > LET_GO_BYTES:
                self._read = 0
                self._state.blocks.let_go()
        return vectors


def _mapped_bytes(otherwise: int) -> int:
    """Return how much of mapped files is in this process's memory; something else where the system doesn't tell."""
    try:
        return int(_STATUS.read_text().split()[2]) * mmap.PAGESIZE
    except (OSError, ValueError, IndexError):
        return otherwise

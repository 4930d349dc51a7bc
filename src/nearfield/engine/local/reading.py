"""Reading many vectors once, without keeping them in memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.protocol import Vectors
from nearfield.engine.local.state import State
from nearfield.index.ann import Interrupted

LET_GO_BYTES = 512_000_000
"""Bytes that are read before what is mapped is given back: the files stay in the system's cache while there is room."""


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
        self._read = 0

    def __call__(self, positions: NDArray[np.int64]) -> Vectors:
        """Return vectors, float32 `(len(positions), d)`.

        Raises:
            Interrupted: it is time to give up.
        """
        if self._stop():
            raise Interrupted("work on an index was interrupted; it begins again when it is next needed")
        vectors = self._state.rows.gather(self._rows[positions])
        self._read += vectors.nbytes
        if self._read > LET_GO_BYTES:
            self._read = 0
            self._state.blocks.let_go()
        return vectors

"""Vectors that lie in several arrays, by their addresses, and the documents that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from nearfield.encode.protocol import Vectors

SIZE = 4
"""Bytes of a float32."""


@dataclass(frozen=True)
class Rows:
    """Vectors and the documents they belong to. Rows have addresses; between blocks, addresses may be left out.

    Args:
        blocks: float32 `(rows, d)` each, C-contiguous, in the order of their addresses.
        starts: int64 `(blocks,)`, the address of each block's first row, rising.
        firsts: int64 `(documents,)`, the address of each document's first row; the others follow it.
        counts: int64 `(documents,)`, how many rows each document has, at least one.
    """

    blocks: Sequence[Vectors]
    starts: NDArray[np.int64]
    firsts: NDArray[np.int64]
    counts: NDArray[np.int64]

    @property
    def total(self) -> int:
        """Number of rows, dead ones included."""
        return sum(len(block) for block in self.blocks)

    @property
    def end(self) -> int:
        """The first address after all rows."""
        return int(self.starts[-1]) + len(self.blocks[-1]) if self.blocks else 0

    @cached_property
    def single(self) -> bool:
        """Whether every document has one row."""
        return bool((self.counts == 1).all())

    def gather(self, rows: NDArray[np.int64]) -> Vectors:
        """Return a copy of some rows, by their addresses, float32 `(len(rows), d)`."""
        if not len(rows) or not self.blocks:
            return np.empty((len(rows), self.blocks[0].shape[1] if self.blocks else 0), np.float32)
        windows, origins = self._windows
        blocks = self.starts.searchsorted(rows, side="right") - 1
        places = rows * self.blocks[0].shape[1] + origins[blocks]
        # A value of each row first: the processor fetches these at once, and then knows each row's page. To copy one
        # row after another, it would wait for each; of half a million rows a search took a twentieth longer.
        windows[:, 0].take(places)
        gathered: Vectors = windows[places]
        return gathered

    @cached_property
    def _windows(self) -> tuple[Vectors, NDArray[np.int64]]:
        """A view of memory from the lowest block on, with a row of d values at each float32, and each block's origin.

        With a loop over the blocks, a hundred rows of half a million took 0.15 ms, and take 0.03 so. What lies between
        the blocks isn't theirs, and is never read: a row is only asked for at an address within a block.
        """
        places = np.array([block.__array_interface__["data"][0] // SIZE for block in self.blocks], np.int64)
        lowest = int(places.argmin())
        dimension = self.blocks[0].shape[1]
        count = int(places.max() - places[lowest]) + max(block.size for block in self.blocks)
        windows = as_strided(self.blocks[lowest], (count, dimension), (SIZE, SIZE), writeable=False)
        return windows, places - places[lowest] - self.starts * dimension

    def of(self, documents: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the addresses of some documents' rows."""
        counts = self.counts[documents]
        total = int(counts.sum())
        if total == len(documents):
            return self.firsts[documents]
        starts = np.cumsum(counts) - counts
        return np.repeat(self.firsts[documents] - starts, counts) + np.arange(total)

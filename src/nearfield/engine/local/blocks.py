"""The vectors of a state as arrays in memory: mapped files, and the newest rows as copies.

A file that grows would have to be mapped anew at each write, and each mapping pays again for every page that it
touches. So rows that came after the mapping are read into memory until there are many of them.
"""

from __future__ import annotations

import mmap
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.protocol import Vectors
from nearfield.engine.local.growing import extended
from nearfield.engine.local.segments import Folder, Segment, map_segment, read_rows

COPIED = 4096
"""Rows of a segment that are held as copies before its file is mapped again."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A segment in memory: the rows that are mapped, and those that came later."""

    segment: Segment
    mapped: Vectors
    later: Vectors

    def advanced(self, folder: Folder, segment: Segment) -> _Part:
        fresh = segment.rows - self.segment.rows
        if fresh == 0:
            return self
        dimension = self.mapped.shape[1]
        if len(self.later) + fresh > COPIED:
            return _map(folder, segment, dimension)
        rows = read_rows(folder, segment, self.segment.rows, dimension)
        return _Part(segment, self.mapped, extended(self.later, rows))


def _map(folder: Folder, segment: Segment, dimension: int) -> _Part:
    return _Part(segment, map_segment(folder, segment, dimension), np.empty((0, dimension), np.float32))


@dataclass(frozen=True, slots=True)
class Blocks:
    """Arrays of vectors by their addresses.

    Args:
        folder: Where the files lie.
        parts: The segments, by their addresses.
        arrays: float32 `(rows, d)` each.
        starts: int64 `(arrays,)`, the address of each array's first row, rising.
    """

    folder: Folder
    parts: tuple[_Part, ...]
    arrays: tuple[Vectors, ...]
    starts: NDArray[np.int64]

    def file_of(self, address: int) -> Path:
        """Return the file of the row with an address."""
        (segment,) = (s for s in self.segments if s.first_row <= address < s.end)
        return self.folder.file(segment.number)

    def check_places(self, firsts: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """Raise DatabaseError, which becomes CorruptCollection, unless documents' rows lie within the segments."""
        starts = np.array([segment.first_row for segment in self.segments] or [0], np.int64)
        ends = np.array([segment.end for segment in self.segments] or [0], np.int64)
        within = (firsts >= starts[0]) & (counts > 0)
        for places in (firsts, firsts + counts - 1):
            within &= places < ends[np.searchsorted(starts, places, side="right") - 1]
        if not within.all():
            raise sqlite3.DatabaseError(f"{np.count_nonzero(~within)} documents have rows outside of the segments")

    @property
    def segments(self) -> list[Segment]:
        """The segments, by their addresses."""
        return [part.segment for part in self.parts]

    def let_go(self) -> None:
        """Give back the memory of mapped files; what is needed again is mapped again."""
        for part in self.parts:
            mapping = getattr(part.mapped.base, "_mmap", None)
            if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
                mapping.madvise(mmap.MADV_DONTNEED)

    def advanced(self, folder: Folder, segments: Sequence[Segment], dimension: int) -> Blocks:
        """Return the blocks of some segments, made from those known.

        Raises:
            SegmentMissing: a file is not there.
            CorruptCollection: a file is damaged.
        """
        known = {part.segment.number: part for part in self.parts}
        parts = []
        for segment in segments:
            part = known.get(segment.number)
            fits = part is not None and part.segment.rows <= segment.rows
            parts.append(part.advanced(folder, segment) if part and fits else _map(folder, segment, dimension))
        arrays, starts = [], []
        for part in parts:
            for array, start in ((part.mapped, 0), (part.later, len(part.mapped))):
                if len(array):
                    arrays.append(array)
                    starts.append(part.segment.first_row + start)
        return Blocks(folder, tuple(parts), tuple(arrays), np.array(starts, np.int64))


NO_BLOCKS = Blocks(Folder(Path(), bytes(16)), (), (), np.empty(0, np.int64))

"""Vectors on disk: append-only files, mapped into memory.

A segment is a header of 64 bytes and rows of float32, little-endian. How many rows are committed is recorded in the
database; bytes beyond them belong to a write that was cut off, and are overwritten by the next. docs/formats.md
describes the header.

Rows have addresses. A segment covers those from its first row on, in whole slots of `SLOT`; the rows of one document
lie side by side in one segment.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nearfield.durable import sync_folder
from nearfield.encode.protocol import Vectors
from nearfield.errors import CorruptCollection
from nearfield.stages import stage

MAGIC = b"NEARFVEC"
VERSION = 2
HEADER_BYTES = 64
SLOT = 2**14
"""Rows that a segment takes before the next is begun, unless one document has more."""

_FIELDS = struct.Struct("<8sIIQ16s")


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment's number (never used again), the address of its first row, and how many rows are committed."""

    number: int
    first_row: int
    rows: int

    @property
    def end(self) -> int:
        """The first address after its rows."""
        return self.first_row + self.rows

    @property
    def slots(self) -> range:
        """The slots that it covers."""
        return range(self.first_row // SLOT, -(-max(self.end, self.first_row + 1) // SLOT))


@dataclass(frozen=True, slots=True)
class Folder:
    """Where segments lie, and which collection they belong to.

    Args:
        path: The folder.
        identity: The collection's, 16 bytes; a segment of another collection is refused.
    """

    path: Path
    identity: bytes

    def file(self, number: int) -> Path:
        """Return the file of a segment."""
        return self.path / f"{number:06d}.vec"


class SegmentMissing(CorruptCollection):
    """A segment's file is not there: it was dropped since, or it is lost."""


def map_segment(folder: Folder, segment: Segment, dimension: int) -> Vectors:
    """Return a segment's committed rows, read-only float32 `(rows, dimension)`, mapped from the file.

    Raises:
        SegmentMissing: there is no such file.
        CorruptCollection: the file is too short, or not this segment of this collection.
    """
    file = folder.file(segment.number)
    try:
        with file.open("rb") as stream:
            header = stream.read(HEADER_BYTES)
            size = stream.seek(0, os.SEEK_END)
            check_header(folder, file, header, segment.number, dimension)
            needed = HEADER_BYTES + segment.rows * dimension * 4
            if size < needed:
                raise CorruptCollection(
                    f"{file} has {size} bytes of at least {needed}; restore it from a snapshot, or see "
                    "`nearfield repair`"
                )
            mapped = np.memmap(stream, dtype="<f4", mode="r", offset=HEADER_BYTES, shape=(segment.rows, dimension))
    except FileNotFoundError:
        raise SegmentMissing(f"{file} is missing; restore it from a snapshot") from None
    return np.asarray(mapped)  # a plain array over the same memory: its slices cost less than a memmap's


def read_rows(folder: Folder, segment: Segment, first: int, dimension: int) -> Vectors:
    """Return a copy of a segment's committed rows from one on, float32 `(segment.rows - first, dimension)`.

    Raises:
        SegmentMissing: there is no such file.
        CorruptCollection: the file is too short.
    """
    file = folder.file(segment.number)
    try:
        offset = HEADER_BYTES + first * dimension * 4
        rows = np.fromfile(file, dtype="<f4", count=(segment.rows - first) * dimension, offset=offset)
    except FileNotFoundError:
        raise SegmentMissing(f"{file} is missing; restore it from a snapshot") from None
    if len(rows) < (segment.rows - first) * dimension:
        raise CorruptCollection(f"{file} ends before its row {segment.rows}; restore it from a snapshot")
    return rows.reshape(-1, dimension)


def check_header(folder: Folder, file: Path, header: bytes, number: int, dimension: int) -> None:
    """Raise CorruptCollection unless a header is that of the segment."""
    if header == header_of_version_1(dimension):
        return
    if header != header_of(folder, number, dimension):
        raise CorruptCollection(
            f"{file} does not begin as segment {number} of {dimension}-dimensional vectors of this collection; it is "
            "damaged, or the file of another segment or collection; restore it from a snapshot"
        )


def read_header(file: Path) -> tuple[bytes, int, int] | None:
    """Return the identity, the number and the dimension that a segment's header names; None if it is not whole."""
    with file.open("rb") as stream:
        header = stream.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES or header[_FIELDS.size :] != _checksum(header[: _FIELDS.size]):
        return None
    _, _, dimension, number, identity = _FIELDS.unpack(header[: _FIELDS.size])
    return identity, number, dimension


def place(segments: Sequence[Segment], counts: NDArray[np.int64], next_number: int) -> list[tuple[Segment, int]]:
    """Return where documents go: the segments to append to, as they will be, and how many documents each gets.

    Args:
        segments: All that there are.
        counts: int64 `(documents,)`, rows of each document.
        next_number: The number of the next new segment; the newest segment takes rows as long as it has one less.
    """
    placed: list[tuple[Segment, int]] = []
    known = list(segments)
    last = max(known, key=lambda segment: segment.number, default=None)
    if last is not None and (last.number != next_number - 1 or last.rows >= SLOT):
        last = None
    ends = np.cumsum(counts)
    done = 0
    while done < len(counts):
        before = int(ends[done - 1]) if done else 0
        if last is None:
            last = Segment(next_number, _free_address(known, int(counts[done])), 0)
            next_number += 1
        room = min(max(SLOT, int(counts[done]) if not last.rows else 0), _gap(known, last)) - last.rows
        fits = int(np.searchsorted(ends, before + room, side="right")) - done
        if fits:
            last = replace(last, rows=last.rows + int(ends[done + fits - 1]) - before)
            placed.append((last, fits))
            known = [segment for segment in known if segment.number != last.number] + [last]
            done += fits
        last = None
    return placed


def _gap(segments: Sequence[Segment], last: Segment) -> int:
    """Return how many rows fit before the next segment; it may be near in a collection made with smaller slots."""
    return (
        min((other.first_row for other in segments if other.first_row > last.first_row), default=2**62) - last.first_row
    )


def _free_address(segments: Sequence[Segment], rows: int) -> int:
    """Return the least address from which enough slots are free."""
    taken = {slot for segment in segments for slot in segment.slots}
    needed = max(1, -(-rows // SLOT))
    slot = 0
    while any(slot + i in taken for i in range(needed)):
        slot += 1
    return slot * SLOT


def append(folder: Folder, segment: Segment, vectors: Vectors) -> None:
    """Write the last rows of a segment durably; they count once the segment is committed to the database.

    Args:
        folder: Where.
        segment: As it will be with the rows.
        vectors: float32 `(n, d)`, at most `segment.rows` rows.
    """
    file = folder.file(segment.number)
    dimension = vectors.shape[1]
    first = segment.rows - len(vectors)
    with file.open("wb" if first == 0 else "r+b") as stream:
        with stage("append vectors"):
            if first == 0:
                stream.write(header_of(folder, segment.number, dimension))
            stream.seek(HEADER_BYTES + first * dimension * 4)
            stream.write(np.ascontiguousarray(vectors, dtype="<f4").data)
            stream.truncate()
            stream.flush()
        with stage("sync vectors"):
            os.fsync(stream.fileno())
            if first == 0:
                sync_folder(folder.path)


def header_of_version_1(dimension: int) -> bytes:
    """Return what a segment of format version 1 begins with, which names neither the collection nor the segment."""
    return (MAGIC + struct.pack("<II", 1, dimension)).ljust(HEADER_BYTES, b"\0")


def header_of(folder: Folder, number: int, dimension: int) -> bytes:
    """Return what a segment begins with."""
    fields = _FIELDS.pack(MAGIC, VERSION, dimension, number, folder.identity)
    return fields + _checksum(fields)


def _checksum(fields: bytes) -> bytes:
    return struct.pack("<I", zlib.crc32(fields)).ljust(HEADER_BYTES - _FIELDS.size, b"\0")

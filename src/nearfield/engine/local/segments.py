"""Vectors on disk: append-only files, mapped into memory.

A segment is a header of 64 bytes and rows of float32, little-endian. How many rows are committed is recorded in the
database; bytes beyond them belong to a write that was cut off, and are overwritten by the next.

    header: b"NEARFVEC", version (uint32), dimension (uint32), zeros
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearfield.encode.protocol import Vectors
from nearfield.engine.local.layout import sync_folder
from nearfield.errors import CorruptCollection

MAGIC = b"NEARFVEC"
VERSION = 1
HEADER_BYTES = 64
CAPACITY = 2**20
"""Rows a segment takes before the next is begun."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment's number, its first row among all rows, and how many rows are committed."""

    number: int
    first_row: int
    rows: int


def segment_file(folder: Path, number: int) -> Path:
    """Return the file of a segment."""
    return folder / f"{number:06d}.vec"


def map_segment(folder: Path, segment: Segment, dimension: int) -> Vectors:
    """Return a segment's committed rows, read-only float32 `(rows, dimension)`, mapped from the file.

    Raises:
        CorruptCollection: the file is missing, too short, or not a segment of this dimension.
    """
    file = segment_file(folder, segment.number)
    try:
        with file.open("rb") as stream:
            header = stream.read(HEADER_BYTES)
            size = stream.seek(0, os.SEEK_END)
    except FileNotFoundError:
        raise CorruptCollection(f"{file} is missing; restore it from a backup") from None
    if header != _header(dimension):
        raise CorruptCollection(f"{file} is not a segment of {dimension}-dimensional vectors; restore it from a backup")
    needed = HEADER_BYTES + segment.rows * dimension * 4
    if size < needed:
        raise CorruptCollection(f"{file} has {size} bytes of at least {needed}; restore it from a backup")
    mapped = np.memmap(file, dtype="<f4", mode="r", offset=HEADER_BYTES, shape=(segment.rows, dimension))
    return np.asarray(mapped)  # a plain array over the same memory: its slices cost less than a memmap's


def append(folder: Path, segments: list[Segment], vectors: Vectors) -> list[Segment]:
    """Append rows durably, and return the segments that changed, as they are now.

    Nothing counts as written until the caller commits the returned segments to the database.
    """
    changed = []
    last = segments[-1] if segments else Segment(0, 0, 0)
    while len(vectors):
        if last.rows == CAPACITY:
            last = Segment(last.number + 1, last.first_row + last.rows, 0)
        part, vectors = vectors[: CAPACITY - last.rows], vectors[CAPACITY - last.rows :]
        _write(folder, last, part)
        last = Segment(last.number, last.first_row, last.rows + len(part))
        changed.append(last)
    return changed


def _write(folder: Path, segment: Segment, vectors: Vectors) -> None:
    file = segment_file(folder, segment.number)
    dimension = vectors.shape[1]
    is_new = segment.rows == 0
    with file.open("wb" if is_new else "r+b") as stream:
        if is_new:
            stream.write(_header(dimension))
        stream.seek(HEADER_BYTES + segment.rows * dimension * 4)
        stream.write(np.ascontiguousarray(vectors, dtype="<f4").data)
        stream.truncate()
        stream.flush()
        os.fsync(stream.fileno())
    if is_new:
        sync_folder(folder)


def _header(dimension: int) -> bytes:
    return (MAGIC + struct.pack("<II", VERSION, dimension)).ljust(HEADER_BYTES, b"\0")

"""Copying the vectors of a state to another folder: only what is not there yet."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import BinaryIO

from nearfield.durable import sync_folder
from nearfield.engine.local.care.inspection import SegmentFiles
from nearfield.engine.local.segments import HEADER_BYTES, Folder, Segment
from nearfield.errors import CorruptCollection
from nearfield.stages import stage

BLOCK = 1 << 22
"""Bytes that are copied at once."""


class Copier:
    """Brings the segments of a state to a folder.

    Args:
        source: The state's files.
        target: Where they go.

    `copied` and `kept` count bytes that were written, and that were there.
    """

    def __init__(self, source: SegmentFiles, target: Folder) -> None:
        self.target = target
        self.copied = 0
        self.kept = 0
        self._source = source
        self._grown: dict[int, int] = {}
        self._new: set[int] = set()

    def copy(self, there: Mapping[int, int]) -> None:
        """Copy what is not there.

        Args:
            there: Rows that the folder has of some segments, by their numbers.
        """
        for segment in self._source.segments:
            kept = self._end(min(there.get(segment.number, 0), segment.rows))
            if segment.number in there and self._is_same(segment, kept):
                self._append(segment, kept)
            else:
                if segment.number not in there:
                    self._new.add(segment.number)
                self.copy_whole([segment])
        sync_folder(self.target.path)

    def copy_whole(self, segments: Iterable[Segment]) -> None:
        """Copy some segments as if they were not there, in one step each."""
        for segment in segments:
            if segment.number not in self._source.files:
                raise CorruptCollection(f"{self._source.folder.file(segment.number)} is missing")
            file = self.target.file(segment.number)
            temporary = file.with_suffix(".new")
            with stage("snapshot vectors"):
                temporary.unlink(missing_ok=True)
                try:
                    self._write(segment, temporary.open("xb"), 0)
                    temporary.replace(file)
                except BaseException:
                    temporary.unlink(missing_ok=True)
                    raise
        sync_folder(self.target.path)

    def undo(self) -> None:
        """Take back what was written, as far as the folder's database doesn't name it."""
        with suppress(OSError):  # what stays is harmless, and overwritten by the next
            for number in self._new:
                self.target.file(number).unlink(missing_ok=True)
            for number, size in self._grown.items():
                os.truncate(self.target.file(number), size)

    def _append(self, segment: Segment, kept: int) -> None:
        self.kept += kept
        end = self._end(segment.rows)
        if kept == end:
            return
        self._grown[segment.number] = kept
        with stage("snapshot vectors"):
            self._write(segment, self.target.file(segment.number).open("r+b"), kept)

    def _write(self, segment: Segment, stream: BinaryIO, start: int) -> None:
        """Copy a segment's bytes from one on, durably; what lay behind them is cut off."""
        source, end = self._source.files[segment.number], self._end(segment.rows)
        source.seek(start)
        with stream:
            stream.seek(start)
            while start < end:
                block = source.read(min(BLOCK, end - start))
                if not block:
                    name = self._source.folder.file(segment.number)
                    raise CorruptCollection(f"{name} is truncated: it ends at byte {start} of {end}")
                stream.write(block)
                start += len(block)
                self.copied += len(block)
            stream.truncate()
            stream.flush()
            os.fsync(stream.fileno())

    def _is_same(self, segment: Segment, kept: int) -> bool:
        """Whether a file of the folder begins as the segment does, and is long enough to be gone on with."""
        source = self._source.files.get(segment.number)
        try:
            with self.target.file(segment.number).open("rb") as stream:
                header = stream.read(HEADER_BYTES)
                size = stream.seek(0, os.SEEK_END)
        except FileNotFoundError:
            return False
        if source is None or size < kept:
            return False
        source.seek(0)
        return source.read(HEADER_BYTES) == header

    def _end(self, rows: int) -> int:
        return HEADER_BYTES + rows * self._source.dimension * 4

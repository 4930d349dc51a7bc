"""Putting right the files of segments: their names, their headers, and what the database says of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from nearfield.durable import sync_folder
from nearfield.engine.local import segments as headers
from nearfield.engine.local.care.inspection import Findings, SegmentFiles, Table, check_vectors
from nearfield.engine.local.segments import HEADER_BYTES, Folder, Segment

SAMPLE = 32
"""Documents whose rows are compared to tell whether a file is the segment that it should be."""


@dataclass(slots=True)
class Mended:
    """What was put right.

    Args:
        segments: All whose files are there, with as many rows as these have.
        done: What was done, in words.
    """

    segments: list[Segment] = field(default_factory=list)
    done: list[str] = field(default_factory=list)


class Mender:
    """Puts right the segments of a collection.

    Args:
        folder: Where they lie, and the collection's identity.
        dimension: Of the vectors.
        table: The documents whose rows in the tables are whole.
        remains: Where files go that are replaced.
    """

    def __init__(self, folder: Folder, dimension: int, table: Table, remains: Path) -> None:
        self._folder = folder
        self._dimension = dimension
        self._table = table
        self._remains = remains
        self._mended = Mended()

    def mend(self, known: Iterable[Segment]) -> Mended:
        """Put right all segments; `known` are those that the database names."""
        self._rename()
        places = {segment.number: segment.first_row for segment in known}
        for file in sorted(self._folder.path.glob("*.vec")):
            if file.stem.isdecimal():
                self._mend(file, int(file.stem), places)
        sync_folder(self._folder.path)
        self._mended.segments.sort(key=lambda segment: segment.first_row)
        return self._mended

    def _rename(self) -> None:
        """Give files whose headers are whole the names that these say."""
        moves = {}
        # One that was cut off may have left files that it moved aside.
        for file in [*self._folder.path.glob("*.vec"), *self._folder.path.glob("*.moved")]:
            header = headers.read_header(file)
            if header is None or (header[0], header[2]) != (self._folder.identity, self._dimension):
                continue
            right = self._folder.file(header[1])
            if right != file and not self._is_right(right):
                moves[right] = file.rename(file.with_suffix(".moved")) if file.suffix == ".vec" else file
        for right, moved in moves.items():
            if right.exists():
                self._keep(right)
            moved.rename(right)
            self._mended.done.append(f"vectors/{right.name}: found under the name {moved.stem}.vec")

    def _is_right(self, file: Path) -> bool:
        return file.exists() and headers.read_header(file) == (self._folder.identity, int(file.stem), self._dimension)

    def _mend(self, file: Path, number: int, places: dict[int, int]) -> None:
        rows = (file.stat().st_size - HEADER_BYTES) // (4 * self._dimension)
        taken = {segment.first_row for segment in self._mended.segments}
        others = np.unique(self._table.firsts // headers.SLOT * headers.SLOT).tolist()
        claimed = {place for other, place in places.items() if other != number}
        candidates = [places[number]] if number in places else []
        candidates += [first for first in others if first not in claimed and first not in candidates]
        for first in candidates:
            segment = Segment(number, first, rows)
            if first not in taken and rows > 0 and self._fits(segment):
                self._mend_header(file, number)
                self._mended.segments.append(self._trimmed(segment))
                return
        if number in places:
            self._keep(file)
            self._mended.done.append(f"vectors/{file.name}: set aside, since it holds no document's vectors")

    def _fits(self, segment: Segment) -> bool:
        """Return whether a file holds the rows of one of some documents."""
        table = self._table
        inside = np.flatnonzero((table.firsts >= segment.first_row) & (table.firsts + table.counts <= segment.end))
        if not len(inside):
            return False
        chosen = inside[np.unique(np.linspace(0, len(inside) - 1, SAMPLE).astype(np.int64))]
        sample = Table(table.keys[chosen], table.firsts[chosen], table.counts[chosen], table.sums[chosen])
        findings = Findings()
        with closing(SegmentFiles(self._folder, [segment], self._dimension)) as files:
            check_vectors(sample, files, findings)
        return len(findings.vectors) < len(chosen)

    def _trimmed(self, segment: Segment) -> Segment:
        """Return a segment without what lies behind the last document's rows."""
        ends = self._table.firsts + self._table.counts
        inside = (self._table.firsts >= segment.first_row) & (ends <= segment.end)
        return replace(segment, rows=int(ends[inside].max()) - segment.first_row)

    def _mend_header(self, file: Path, number: int) -> None:
        right = headers.header_of(self._folder, number, self._dimension)
        with file.open("rb") as stream:
            found = stream.read(HEADER_BYTES)
        if found in (right, headers.header_of_version_1(self._dimension)):
            return
        temporary = file.with_suffix(".new")
        shutil.copyfile(file, temporary)
        with temporary.open("r+b") as stream:
            stream.write(right)
            stream.flush()
            os.fsync(stream.fileno())
        self._remains.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, self._remains / file.name)
        temporary.replace(file)
        self._mended.done.append(f"vectors/{file.name}: its header")

    def _keep(self, file: Path) -> None:
        self._remains.mkdir(parents=True, exist_ok=True)
        shutil.move(file, self._remains / file.name)

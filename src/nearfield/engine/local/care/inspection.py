"""What `check` looks through: the tables of one committed state, its documents and its vectors.

Nothing here raises for damage: it is written down in `Findings`, and the look goes on as far as it can.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.protocol import Vectors
from nearfield.engine.local.database import rising
from nearfield.engine.local.segments import HEADER_BYTES, Folder, Segment, check_header
from nearfield.engine.reports import Problem
from nearfield.errors import CorruptCollection

Integers = NDArray[np.int64]

AT_ONCE = 4096
"""Documents that are held at once."""

ROWS_AT_ONCE = 8192
"""Rows that are held at once: 12 MB of 384 dimensions."""

UNIT = 1e-3
"""By how much the length of a vector may differ from 1, or else it is 0."""

SHARED = "has vectors that are another document's"

# Bytes, so that a damaged text doesn't end the reading; the types, since a flipped bit makes a text a blob.
_DOCUMENTS = """
SELECT documents.key, CAST(doc_id AS BLOB), first_row, n_rows, CAST(metadata AS BLOB), text_sum, vector_sum,
    CAST(title AS BLOB), CAST(text AS BLOB), CAST(spans AS BLOB), texts.key IS NOT NULL,
    typeof(doc_id) = 'text' AND typeof(metadata) = 'text' AND typeof(title) = 'text' AND typeof(text) = 'text'
        AND typeof(spans) IN ('text', 'null') AND encoded IN (0, 1) AND typeof(encoded) = 'integer',
    typeof(first_row) = 'integer' AND typeof(n_rows) = 'integer' AND typeof(vector_sum) = 'integer'
        AND n_rows > 0 AND first_row >= 0 AND first_row + n_rows < 1 << 48 AND doc_id IS NOT NULL
FROM documents LEFT JOIN texts ON texts.key = documents.key WHERE documents.key > ? ORDER BY documents.key LIMIT ?
"""


@dataclass(slots=True)
class Findings:
    """What was found so far.

    Args:
        problems: What is wrong.
        notes: What is worth knowing and harms nothing.
        texts: What is wrong with documents' rows in the tables, by their keys.
        vectors: What is wrong with documents' vectors, by their keys.
    """

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    texts: dict[int, str] = field(default_factory=dict)
    vectors: dict[int, str] = field(default_factory=dict)

    def add(self, file: Path, what: str, doc_ids: list[str] | None = None) -> None:
        """Write down a problem."""
        what = what.removeprefix(f"{file} ").removeprefix(f"{file}: ")
        self.problems.append(Problem(str(file), what, doc_ids or []))


@dataclass(frozen=True, slots=True)
class Table:
    """All documents whose place is readable, in the order of their keys: int64 `(documents,)` each."""

    keys: Integers
    firsts: Integers
    counts: Integers
    sums: Integers


def read_documents(connection: sqlite3.Connection, findings: Findings) -> Table:
    """Return where the documents' vectors lie, and check what the tables say of each."""
    parts: list[Integers] = []
    last = 0
    while rows := connection.execute(_DOCUMENTS, (last, AT_ONCE)).fetchall():
        placed = []
        for row in rising(rows, last):
            trouble = trouble_of(row)
            if trouble:
                findings.texts[row[0]] = trouble
            if row[-1]:
                placed.append((row[0], row[2], row[3], row[6]))
        last = rows[-1][0]
        parts.append(np.array(placed, np.int64).reshape(-1, 4))
    columns = np.concatenate(parts).T if parts else np.empty((4, 0), np.int64)
    return Table(*(np.ascontiguousarray(column) for column in columns))


def trouble_of(row: tuple[Any, ...]) -> str:
    """Return what is wrong with a document's row in the tables; "" for nothing."""
    key, doc_id, _, n_rows, metadata, text_sum, _, title, text, spans, has_text, texts_typed, placed = row
    if not has_text:
        return "has no text"
    if not texts_typed:
        return "is not what was written (values of other types)"
    if zlib.crc32(b"\0".join((b"%d" % key, doc_id, title, text, metadata, spans or b""))) != text_sum:
        return "is not what was written (its checksum differs)"
    if not placed:
        return "has no place for its vectors"
    try:
        if not isinstance(json.loads(metadata.decode()), dict):
            return "has metadata that are no JSON object"
        length = len(text.decode()) if spans is not None else 0
        parsed = [(0, 0)] if spans is None else [(start, end) for start, end in json.loads(spans)]
    except (ValueError, TypeError) as error:
        return f"has metadata or spans that are no JSON ({error})"
    if any(not 0 <= start <= end <= length for start, end in parsed):
        return "has spans that reach beyond its text"
    return "" if len(parsed) == n_rows else f"has {len(parsed)} passages and {n_rows} vectors"


class SegmentFiles:
    """The files of a state's segments, kept open, so that they can be read when they have been dropped.

    Args:
        folder: Where they lie.
        segments: All of a state, by their addresses.
        dimension: Of the vectors.
    """

    def __init__(self, folder: Folder, segments: list[Segment], dimension: int) -> None:
        self.folder = folder
        self.segments = segments
        self.dimension = dimension
        self._stack = ExitStack()
        self.files: dict[int, BinaryIO] = {}
        for segment in segments:
            try:
                file = self._stack.enter_context(folder.file(segment.number).open("rb"))
            except (FileNotFoundError, IsADirectoryError):
                continue
            self.files[segment.number] = file

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    @property
    def all_there(self) -> bool:
        """Whether no file is missing."""
        return len(self.files) == len(self.segments)

    def rows_there(self, segment: Segment) -> int:
        """Return how many of a segment's committed rows its file has."""
        file = self.files.get(segment.number)
        if file is None:
            return 0
        return max(0, min(segment.rows, (file.seek(0, 2) - HEADER_BYTES) // (4 * self.dimension)))

    def check_headers(self, findings: Findings) -> None:
        """Look at each file's beginning and size."""
        for segment in self.segments:
            path, file = self.folder.file(segment.number), self.files.get(segment.number)
            if file is None:
                findings.add(path, "is missing")
                continue
            file.seek(0)
            try:
                check_header(self.folder, path, file.read(HEADER_BYTES), segment.number, self.dimension)
            except CorruptCollection:
                findings.add(
                    path,
                    f"does not begin as segment {segment.number} of {self.dimension}-dimensional vectors of this "
                    "collection: it is damaged, or the file of another segment or collection",
                )
            there = self.rows_there(segment)
            if there < segment.rows:
                findings.add(path, f"is truncated: it has {there} of {segment.rows} rows")

    def read(self, first: int, end: int) -> Vectors:
        """Return rows by their addresses, float32 `(end - first, d)`; all of them must be there."""
        parts = []
        for segment in self.segments:
            begin, stop = max(first, segment.first_row), min(end, segment.end)
            if begin < stop:
                file = self.files[segment.number]
                file.seek(HEADER_BYTES + (begin - segment.first_row) * self.dimension * 4)
                parts.append(np.fromfile(file, "<f4", (stop - begin) * self.dimension).reshape(-1, self.dimension))
        return np.concatenate(parts) if len(parts) != 1 else parts[0]


def runs(segments: list[tuple[int, int]]) -> Integers:
    """Return the stretches of addresses that some stretches form together, int64 `(n, 2)`; the rising order is theirs.

    >>> runs([(0, 10), (10, 12), (65536, 65540)]).tolist()
    [[0, 12], [65536, 65540]]
    """
    joined: list[list[int]] = []
    for first, end in segments:
        if joined and joined[-1][1] == first:
            joined[-1][1] = end
        elif end > first:
            joined.append([first, end])
    return np.array(joined, np.int64).reshape(-1, 2)


def within(table: Table, stretches: Integers) -> NDArray[np.bool_]:
    """Return which documents' rows lie within one of some stretches of addresses."""
    if not len(stretches):
        return np.zeros(len(table.keys), np.bool_)
    places = np.searchsorted(stretches[:, 0], table.firsts, side="right") - 1
    inside = (places >= 0) & (table.firsts + table.counts <= stretches[places, 1])
    return np.asarray(inside, np.bool_)


def sharing(table: Table) -> NDArray[np.bool_]:
    """Return which documents have a row that a document before them has."""
    order = np.argsort(table.firsts, kind="stable")
    reached = np.maximum.accumulate((table.firsts + table.counts)[order])[:-1]
    shared = np.zeros(len(order), np.bool_)
    shared[order[1:]] = table.firsts[order][1:] < reached
    return shared


def check_vectors(table: Table, files: SegmentFiles, findings: Findings) -> None:
    """Compare every document's rows with its checksum, and look at their lengths; says what is wrong by keys."""
    there = runs([(segment.first_row, segment.first_row + files.rows_there(segment)) for segment in files.segments])
    readable = within(table, there)
    for key in table.keys[~readable].tolist():
        findings.vectors[key] = "has vectors that are not there"
    order = np.flatnonzero(readable)
    order = order[np.argsort(table.firsts[order], kind="stable")]
    stretch = np.searchsorted(there[:, 0], table.firsts[order], side="right") if len(order) else order
    for part in _parts(table.firsts[order], table.counts[order], stretch):
        _check_rows(table, order[part], files, findings)


def _parts(firsts: Integers, counts: Integers, stretch: Integers) -> Iterator[slice]:
    """Yield which documents are read together: of one stretch, and of few rows."""
    ends = np.maximum.accumulate(firsts + counts) if len(firsts) else firsts
    start = 0
    while start < len(firsts):
        stop = int(np.searchsorted(ends, firsts[start] + ROWS_AT_ONCE, side="right"))
        stop = min(stop, int(np.searchsorted(stretch, stretch[start], side="right")))
        yield slice(start, max(stop, start + 1))
        start = max(stop, start + 1)


def _check_rows(table: Table, places: Integers, files: SegmentFiles, findings: Findings) -> None:
    firsts, counts = table.firsts[places], table.counts[places]
    begin = int(firsts[0])
    rows = files.read(begin, int((firsts + counts).max()))
    starts, ends = firsts - begin, firsts - begin + counts
    view = memoryview(rows.data).cast("B")
    width = rows.shape[1] * rows.itemsize
    slices = zip((starts * width).tolist(), (ends * width).tolist(), strict=True)
    sums = np.array([zlib.crc32(view[start:end]) for start, end in slices], np.int64)
    with np.errstate(all="ignore"):  # of damaged rows
        squares = np.einsum("ij,ij->i", rows, rows)
        short = ~((np.abs(np.sqrt(squares) - 1) <= UNIT) | (squares == 0))
    before = np.concatenate(([0], np.cumsum(short)))
    changed, odd = sums != table.sums[places], before[ends] > before[starts]
    for place in np.flatnonzero(changed | odd).tolist():
        what = "that are not what was written (their checksum differs)" if changed[place] else "not of unit length"
        findings.vectors[int(table.keys[places[place]])] = f"has vectors {what}"

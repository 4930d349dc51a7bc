"""What a write does inside its transaction."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nearfield import checks
from nearfield.encode.identity import Identity, check_probes, differences
from nearfield.encode.protocol import Vectors
from nearfield.engine.local import segments
from nearfield.engine.local.database import (
    Counters,
    counters,
    keys_of,
    read_settings,
    text_sum,
    write_counters,
    write_settings,
)
from nearfield.engine.local.database import segments as read_segments
from nearfield.engine.local.segments import Folder
from nearfield.engine.protocol import Bookmark, Record

_JSON = json.JSONEncoder(ensure_ascii=False)


def fix_settings(
    connection: sqlite3.Connection,
    records: Sequence[Record],
    fingerprint: str | None,
    identity: Identity | None = None,
) -> None:
    """Fix the dimension and the encoder's identity with the first batch that has them, and hold others to them.

    Raises:
        Conflict: they differ from what is fixed.
    """
    settings = read_settings(connection)
    dimension = records[0].vectors.shape[1]
    differing = differences(settings.identity or {}, identity or {})
    checks.same_vectors(settings, dimension, fingerprint, "the batch", differing)
    check_probes(settings.identity, identity, "that of the batch")
    fixed = replace(
        settings,
        dimension=dimension,
        fingerprint=settings.fingerprint or fingerprint,
        identity=settings.identity or identity,
    )
    if fixed != settings:
        write_settings(connection, fixed)


def store(
    connection: sqlite3.Connection, folder: Folder, records: Sequence[Record], *, replacing: bool, encoded: bool
) -> list[str]:
    """Store documents and vectors, and return the documents' doc_ids.

    Raises:
        Conflict: a doc_id exists, and `replacing` is false.
    """
    now = counters(connection)
    doc_ids, next_number = _number(connection, records, now.next_number)
    existing = keys_of(connection, doc_ids)
    if not replacing:
        checks.absent(doc_ids, existing)
    generation = now.generation + 1
    _forget(connection, list(existing.values()), generation)
    vectors = np.concatenate([record.vectors for record in records])
    counts = np.array([len(record.spans) for record in records], np.int64)
    firsts, next_segment = append(connection, folder, vectors, counts, now.next_segment)
    sums = vector_sums(vectors, counts)
    spans = [spans_of(record) for record in records]
    connection.executemany(
        "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        _document_rows(records, doc_ids, spans, now.next_key, firsts, sums, encoded),
    )
    connection.executemany("INSERT INTO texts VALUES (?, ?, ?, ?)", _text_rows(records, spans, now.next_key))
    after = Counters(generation, now.next_key + len(records), next_number, next_segment, now.history)
    write_counters(connection, after)
    return doc_ids


def delete(connection: sqlite3.Connection, keys: Sequence[int]) -> None:
    """Delete documents by their keys."""
    now = counters(connection)
    _forget(connection, keys, now.generation + 1)
    write_counters(connection, replace(now, generation=now.generation + 1))


def append(
    connection: sqlite3.Connection,
    folder: Folder,
    vectors: Vectors,
    counts: NDArray[np.int64],
    next_segment: int,
) -> tuple[list[int], int]:
    """Append the rows of documents, and return the address of each one's first row, and the next segment's number."""
    firsts: list[int] = []
    ends = np.cumsum(counts)
    for segment, documents in segments.place(read_segments(connection), counts, next_segment):
        done = len(firsts)
        start = int(ends[done - 1]) if done else 0
        end = int(ends[done + documents - 1])
        segments.append(folder, segment, vectors[start:end])
        connection.execute(
            "INSERT OR REPLACE INTO segments VALUES (?, ?, ?)", (segment.number, segment.first_row, segment.rows)
        )
        # The rows of the first of these documents begin where the segment ended.
        begin = segment.end - end
        firsts += (begin + ends[done : done + documents] - counts[done : done + documents]).tolist()
        next_segment = max(next_segment, segment.number + 1)
    return firsts, next_segment


def vector_sums(vectors: Vectors, counts: NDArray[np.int64]) -> list[int]:
    """Return the CRC-32 of each document's rows, which lie one after the other."""
    rows = np.ascontiguousarray(vectors, dtype="<f4")
    width = rows.shape[1] * rows.itemsize
    view = memoryview(rows.data).cast("B") if rows.size else memoryview(b"")
    ends = (np.cumsum(counts) * width).tolist()
    starts = [0, *ends[:-1]]
    return [zlib.crc32(view[start:end]) for start, end in zip(starts, ends, strict=True)]


def write_bookmark(connection: sqlite3.Connection, bookmark: Bookmark) -> None:
    """Replace a source's bookmark."""
    values = (bookmark.source, bookmark.position, bookmark.digest)
    connection.execute("INSERT OR REPLACE INTO bookmarks VALUES (?, ?, ?)", values)


def read_bookmark(connection: sqlite3.Connection, source: str) -> Bookmark | None:
    """Return a source's bookmark; None if it has none."""
    row = connection.execute("SELECT source, position, digest FROM bookmarks WHERE source = ?", (source,)).fetchone()
    return Bookmark(*row) if row else None


def remove_bookmark(connection: sqlite3.Connection, source: str) -> None:
    """Remove a source's bookmark."""
    connection.execute("DELETE FROM bookmarks WHERE source = ?", (source,))


def _number(connection: sqlite3.Connection, records: Sequence[Record], next_number: int) -> tuple[list[str], int]:
    given = [record.document.doc_id for record in records]
    taken = {doc_id for doc_id in given if doc_id is not None}
    free: list[str] = []
    while len(free) < given.count(None):
        proposed = [str(next_number + i) for i in range(given.count(None) - len(free))]
        next_number += len(proposed)
        existing = keys_of(connection, proposed)
        free += [number for number in proposed if number not in taken and number not in existing]
    numbers = iter(free)
    return [next(numbers) if doc_id is None else str(doc_id) for doc_id in given], next_number


def _forget(connection: sqlite3.Connection, keys: Sequence[int], generation: int) -> None:
    connection.executemany("INSERT INTO deletions VALUES (?, ?)", [(key, generation) for key in keys])
    connection.executemany("DELETE FROM documents WHERE key = ?", [(key,) for key in keys])
    connection.executemany("DELETE FROM texts WHERE key = ?", [(key,) for key in keys])
    connection.executemany("DELETE FROM moves WHERE key = ?", [(key,) for key in keys])


def _document_rows(
    records: Sequence[Record],
    doc_ids: Sequence[str],
    spans: Sequence[str | None],
    key: int,
    firsts: Sequence[int],
    sums: Sequence[int],
    encoded: bool,
) -> Iterator[tuple[int, str, int, int, str, bool, int, int]]:
    for record, doc_id, span, first, vector_sum in zip(records, doc_ids, spans, firsts, sums, strict=True):
        document = record.document
        metadata = _JSON.encode(document.metadata)
        known = text_sum(key, doc_id, document.title, document.text, metadata, span)
        yield key, doc_id, first, len(record.spans), metadata, encoded, known, vector_sum
        key += 1


def _text_rows(
    records: Sequence[Record], spans: Sequence[str | None], key: int
) -> Iterator[tuple[int, str, str, str | None]]:
    for record, span in zip(records, spans, strict=True):
        yield key, record.document.title, record.document.text, span
        key += 1


def spans_of(record: Record) -> str | None:
    """Return a document's spans as they are stored: None for one passage, the whole text."""
    whole = len(record.spans) == 1 and record.spans[0] == (0, len(record.document.text))
    return None if whole else json.dumps(record.spans)

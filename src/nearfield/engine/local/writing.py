"""What a write does inside its transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nearfield import checks
from nearfield.engine.local import segments
from nearfield.engine.local.database import (
    Counters,
    counters,
    keys_of,
    read_settings,
    select_in,
    write_counters,
    write_settings,
)
from nearfield.engine.local.database import segments as read_segments
from nearfield.engine.protocol import Record


def fix_settings(connection: sqlite3.Connection, records: Sequence[Record], fingerprint: str | None) -> None:
    """Fix the dimension and the encoder's fingerprint with the first batch that has them, and hold others to them.

    Raises:
        Conflict: they differ from what is fixed.
    """
    settings = read_settings(connection)
    dimension = records[0].vectors.shape[1]
    checks.same_vectors(settings, dimension, fingerprint, "the batch")
    fixed = replace(settings, dimension=dimension, fingerprint=settings.fingerprint or fingerprint)
    if fixed != settings:
        write_settings(connection, fixed)


def store(connection: sqlite3.Connection, folder: Path, records: Sequence[Record], *, replacing: bool) -> list[str]:
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
    _insert(connection, folder, records, doc_ids, now.next_key)
    write_counters(connection, Counters(generation, now.next_key + len(records), next_number))
    return doc_ids


def delete(connection: sqlite3.Connection, doc_ids: Sequence[str]) -> int:
    """Delete documents and return how many there were."""
    keys = list(keys_of(connection, doc_ids).values())
    if keys:
        now = counters(connection)
        _forget(connection, keys, now.generation + 1)
        write_counters(connection, replace(now, generation=now.generation + 1))
    return len(keys)


def count_rows(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return how many vectors belong to documents, and how many to deleted ones."""
    (total,) = connection.execute("SELECT coalesce(sum(rows), 0) FROM segments").fetchone()
    (dead,) = connection.execute("SELECT coalesce(sum(n_rows), 0) FROM deletions").fetchone()
    return total - dead, dead


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
    rows = select_in(connection, "SELECT key, n_rows FROM documents WHERE key IN", keys)
    dead = [(key, generation, n_rows) for key, n_rows in rows]
    connection.executemany("INSERT INTO deletions VALUES (?, ?, ?)", dead)
    connection.executemany("DELETE FROM documents WHERE key = ?", [(key,) for key in keys])
    connection.executemany("DELETE FROM texts WHERE key = ?", [(key,) for key in keys])


def _insert(
    connection: sqlite3.Connection, folder: Path, records: Sequence[Record], doc_ids: Sequence[str], first_key: int
) -> None:
    known = read_segments(connection)
    first_row = known[-1].first_row + known[-1].rows if known else 0
    changed = segments.append(folder, known, np.concatenate([record.vectors for record in records]))
    connection.executemany(
        "INSERT OR REPLACE INTO segments VALUES (?, ?, ?)", [(s.number, s.first_row, s.rows) for s in changed]
    )
    connection.executemany(
        "INSERT INTO documents VALUES (?, ?, ?, ?, ?)", _document_rows(records, doc_ids, first_key, first_row)
    )
    connection.executemany("INSERT INTO texts VALUES (?, ?, ?, ?)", _text_rows(records, first_key))


def _document_rows(
    records: Sequence[Record], doc_ids: Sequence[str], key: int, row: int
) -> Iterable[tuple[int, str, int, int, str]]:
    for record, doc_id in zip(records, doc_ids, strict=True):
        yield key, doc_id, row, len(record.spans), json.dumps(record.document.metadata, ensure_ascii=False)
        key += 1
        row += len(record.spans)


def _text_rows(records: Sequence[Record], key: int) -> Iterable[tuple[int, str, str, str | None]]:
    for record in records:
        text = record.document.text
        spans = None if record.spans == [(0, len(text))] else json.dumps(record.spans)
        yield key, record.document.title, text, spans
        key += 1

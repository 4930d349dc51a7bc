"""What `check` looks at in the derived parts: whether they say what the tables say."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfield.engine.local import saved
from nearfield.engine.local.blocks import NO_BLOCKS
from nearfield.engine.local.care.check_tables import Basis
from nearfield.engine.local.care.inspection import AT_ONCE, Findings, Table
from nearfield.engine.local.database import Database, session_of
from nearfield.engine.local.layout import Layout
from nearfield.engine.local.lexical import LexicalKeeper
from nearfield.engine.local.neighbours import NeighbourKeeper
from nearfield.engine.local.saved import Saved
from nearfield.engine.local.state import State
from nearfield.errors import CorruptCollection, NearfieldError
from nearfield.filters import Value


def check_lexical(
    layout: Layout, database: Database, connection: sqlite3.Connection, basis: Basis, table: Table, findings: Findings
) -> None:
    """Compare the BM25 index with the documents."""
    try:
        for file, what in LexicalKeeper(layout, database).verify(_state(basis, table), connection):
            findings.add(file, what)
    except CorruptCollection as error:
        findings.add(layout.lexical, str(error))
    except NearfieldError as error:
        findings.notes.append(f"{layout.lexical} could not be compared with the documents: {error}")


def check_index(
    layout: Layout, database: Database, connection: sqlite3.Connection, basis: Basis, table: Table, findings: Findings
) -> None:
    """Compare the files of the vectors' index with their checksums."""
    state = replace(_state(basis, table), fingerprint=basis.settings.fingerprint)
    try:
        for file, what in NeighbourKeeper(layout, database, basis.settings).verify(state, connection):
            findings.add(file, what)
    except NearfieldError as error:
        findings.notes.append(f"{layout.index} could not be looked at: {error}")


def _state(basis: Basis, table: Table) -> State:
    now = basis.counters
    live, rows = np.ones(len(table.keys), np.bool_), int(table.counts.sum())
    return State(now.generation, now.next_key, table.keys, live, table.firsts, table.counts, rows, NO_BLOCKS)


def check_columns(layout: Layout, connection: sqlite3.Connection, table: Table, findings: Findings) -> None:
    """Compare the saved columns with the documents."""
    path = layout.columns
    while True:
        try:
            before = saved.marker_of(path)
        except CorruptCollection as error:
            findings.add(path / "marker.json", str(error))
            return
        found = Findings()
        _check_saved(path, before, connection, table, found)
        if not found.problems or saved.marker_of(path) == before:  # else another process has saved anew
            findings.problems += found.problems
            return


def _check_saved(
    path: Path, marker: saved.Marker | None, connection: sqlite3.Connection, table: Table, findings: Findings
) -> None:
    for file, what in saved.verify(path):
        findings.add(file, what)
    if marker is None or findings.problems or session_of(connection, marker.generation) != marker.session:
        return
    found = saved.load(path, connection)
    if found is None or found.marker != marker:
        return
    (history,) = connection.execute("SELECT history FROM state").fetchone()
    if marker.generation < history:
        return  # nobody begins with it any more
    kept = _kept(found, connection)
    if marker.documents != len(found.keys) or not _same_places(found, kept, table, connection):
        findings.add(path / marker.folder, "names other documents, or other places of vectors, than the tables")
    else:
        _check_fields(found, kept, connection, findings)


def _kept(found: Saved, connection: sqlite3.Connection) -> NDArray[np.int64]:
    """Return the places of the saved documents that were not deleted since."""
    deleted = connection.execute("SELECT key FROM deletions WHERE generation > ?", (found.marker.generation,))
    return np.flatnonzero(~np.isin(found.keys, np.array(deleted.fetchall(), np.int64).reshape(-1)))


def _same_places(found: Saved, kept: NDArray[np.int64], table: Table, connection: sqlite3.Connection) -> bool:
    older = table.keys < found.next_key
    if not np.array_equal(found.keys[kept], table.keys[older]):
        return False
    moves = connection.execute("SELECT key FROM moves WHERE generation > ?", (found.marker.generation,)).fetchall()
    moved = np.isin(table.keys[older], np.array(moves, np.int64).reshape(-1))
    same = (found.firsts[kept] == table.firsts[older]) | moved
    return bool(same.all() and (found.counts[kept] == table.counts[older]).all())


def _check_fields(found: Saved, kept: NDArray[np.int64], connection: sqlite3.Connection, findings: Findings) -> None:
    """Compare the fields of the metadata with the tables', some documents at a time."""
    columns = {
        name: _Codes(*(found.column(name) or (np.zeros(len(found.keys), np.int32), []))) for name in found.marker.fields
    }
    wrong: set[str] = set()
    for start in range(0, len(kept), AT_ONCE):
        places = kept[start : start + AT_ONCE]
        keys = found.keys[places[[0, -1]]].tolist()
        rows = connection.execute("SELECT metadata FROM documents WHERE key BETWEEN ? AND ? ORDER BY key", keys)
        for number, (metadata,) in enumerate(rows):
            for name, value in saved.flat(json.loads(metadata)):
                if name in columns:
                    columns[name].expect(number, value)
                elif found.marker.complete:
                    wrong.add(name)
        wrong |= {name for name, column in columns.items() if not column.agrees(places)}
    for name in sorted(wrong):
        findings.add(found.path / found.marker.folder, f"has other values of the field {name!r} than the documents")


class _Codes:
    """A saved column, and what it should hold of some documents."""

    def __init__(self, codes: NDArray[np.int32], values: list[Value]) -> None:
        self._codes = codes
        self._book: dict[Any, int] = {}
        # The same value may have several codes.
        firsts = [self._book.setdefault(saved.token(value), code) for code, value in enumerate(values, start=1)]
        self._first = np.array([0, *firsts], np.int32)
        self._places: list[int] = []
        self._expected: list[int] = []

    def expect(self, place: int, value: Value) -> None:
        """Note the value of one of the documents."""
        self._places.append(place)
        self._expected.append(self._book.get(saved.token(value), -1))

    def agrees(self, places: NDArray[np.int64]) -> bool:
        """Return whether it holds what was noted, and nothing for the other documents; and forget what was noted."""
        expected = np.zeros(len(places), np.int32)
        expected[self._places] = self._expected
        self._places, self._expected = [], []
        codes = self._codes[places]
        if codes.min() < 0 or codes.max() >= len(self._first):
            return False
        return bool(np.array_equal(self._first[codes], expected))

"""What `check` looks at in the database as a whole: its pages, its tables, and what they say of each other."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

from nearfield.encode.identity import valid
from nearfield.engine.local import schema
from nearfield.engine.local.care.inspection import SHARED, Findings, SegmentFiles, Table, runs, sharing, within
from nearfield.engine.local.database import Counters, Database, counters, read_settings, segments
from nearfield.engine.local.layout import Layout
from nearfield.engine.local.segments import Folder, Segment
from nearfield.engine.protocol import Settings
from nearfield.errors import CorruptCollection, IncompatibleFormat

SHOWN = 5
"""Faults of SQLite's own check that are quoted."""

# What SQLite may say though the file is whole.
_NOT_THE_FILE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PERM}

_PRAGMAS = {"user_version": schema.VERSION, "encoding": "UTF-8", "auto_vacuum": 2}

_RULES = {
    "SELECT count(*) - 1 FROM state": "rows too many, or none, are in the table 'state'",
    "SELECT count(*) FROM texts WHERE key NOT IN (SELECT key FROM documents)": "texts belong to no document",
    "SELECT count(*) FROM documents, state WHERE key >= next_key OR key < 1": "documents have a key not given yet",
    "SELECT count(*) FROM segments, state WHERE number >= next_segment OR number < 0 OR rows < 0 OR first_row < 0": (
        "segments have a number not given yet"
    ),
    "SELECT count(*) FROM deletions JOIN documents USING (key)": "deletions are of documents that are there",
    "SELECT count(*) FROM moves WHERE key NOT IN (SELECT key FROM documents)": "moves are of no document",
    "SELECT (SELECT count(*) FROM deletions, state WHERE deletions.generation > state.generation)"
    " + (SELECT count(*) FROM moves, state WHERE moves.generation > state.generation)"
    " + (SELECT count(*) FROM sessions, state WHERE first_generation > state.generation + 1)": (
        "deletions, moves or sessions are of a state that is not reached yet"
    ),
    "SELECT count(*) FROM state WHERE history > generation OR history < 0 OR next_number < 0": (
        "counters contradict each other"
    ),
}

_SHAPE = """
SELECT 'column', tables.name, columns.name, upper(columns.type), columns."notnull", columns.pk, columns.cid
FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns WHERE tables.type = 'table'
UNION ALL
SELECT 'index', tables.name, columns.name, '', indexes."unique", 0, columns.seqno
FROM sqlite_schema AS tables, pragma_index_list(tables.name) AS indexes, pragma_index_info(indexes.name) AS columns
WHERE tables.type = 'table'
"""


@dataclass(frozen=True, slots=True)
class Basis:
    """What the tables say of the whole: enough to read the rest."""

    identity: str
    counters: Counters
    settings: Settings
    segments: list[Segment]

    @property
    def dimension(self) -> int:
        """Length of the vectors; 1 while there are none."""
        return self.settings.dimension or 1


def read_basis(connection: sqlite3.Connection, manifest_version: int | None) -> Basis:
    """Return what a state rests on.

    Raises:
        IncompatibleFormat: the tables and the manifest are of another version.
        sqlite3.DatabaseError, ValueError, TypeError: it is damaged.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != schema.VERSION and manifest_version not in (None, schema.VERSION):
        raise IncompatibleFormat(
            f"the collection has another format (version {manifest_version}); open it once with nearfield, or install "
            "a newer one"
        )
    basis = Basis(schema.identity_of(connection), counters(connection), read_settings(connection), segments(connection))
    if not re.fullmatch("[0-9a-f]{32}", basis.identity):
        raise ValueError(f"{basis.identity!r} is no identity")
    numbers = [*astuple(basis.counters), *(part for segment in basis.segments for part in astuple(segment))]
    if any(type(number) is not int for number in numbers):
        raise TypeError("counters or segments are no integers")
    _check_settings(basis)
    return basis


@contextmanager
def steady(
    layout: Layout, database: Database, manifest_version: int | None = None
) -> Iterator[tuple[sqlite3.Connection, Basis, SegmentFiles]]:
    """Give one committed state: a read transaction, what it rests on, and its segments' files, kept open.

    Raises:
        IncompatibleFormat, CorruptCollection: as `read_basis`.
    """
    seen: int | None = None
    while True:
        with database.reading() as connection:
            try:
                basis = read_basis(connection, manifest_version)
            except (sqlite3.DatabaseError, ValueError, TypeError) as error:
                if isinstance(error, sqlite3.DatabaseError):
                    unless_busy(error)
                raise CorruptCollection(f"{layout.database} can't be read as a collection's ({error})") from error
            folder = Folder(layout.vectors, bytes.fromhex(basis.identity))
            with closing(SegmentFiles(folder, basis.segments, basis.dimension)) as files:
                # Compaction may have dropped one since the transaction began.
                if files.all_there or basis.counters.generation == seen:
                    yield connection, basis, files
                    return
                seen = basis.counters.generation


def _check_settings(basis: Basis) -> None:
    settings = basis.settings
    dimension, recall = settings.dimension, settings.recall
    texts = [settings.encoder, settings.index, *([settings.fingerprint] if settings.fingerprint is not None else [])]
    if not all(isinstance(text, str) for text in texts) or not settings.index:
        raise ValueError("settings are not what can be set")
    if type(recall) not in (int, float) or not 0 < recall <= 1:
        raise ValueError(f"the setting 'recall' is {recall!r}")
    if settings.memory is not None and (type(settings.memory) is not int or settings.memory < 1):
        raise ValueError(f"the setting 'memory' is {settings.memory!r}")
    if settings.identity is not None and valid(settings.identity)["fingerprint"] != settings.fingerprint:
        raise ValueError("the setting 'identity' is of another fingerprint")
    if dimension is None and not basis.segments:
        return
    if type(dimension) is not int or not 1 <= dimension <= 1 << 20:
        raise ValueError(f"the setting 'dimension' is {dimension!r}")


def unless_busy(error: sqlite3.DatabaseError) -> str:
    """Return what an error of SQLite says of the file; raises it again if it says nothing of it."""
    if (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in _NOT_THE_FILE:
        raise error
    return str(error)


def check_structure(connection: sqlite3.Connection, file: Path, findings: Findings) -> None:
    """Check the database's pages, tables and counters."""
    faults = [str(fault) for (fault,) in connection.execute(f"PRAGMA integrity_check({SHOWN})")]
    if faults != ["ok"]:
        findings.add(file, f"is malformed: {'; '.join(faults)}")
    for name, expected in _PRAGMAS.items():
        (value,) = connection.execute(f"PRAGMA {name}").fetchone()
        if value != expected:
            findings.add(file, f"has {name} {value!r}, and not {expected!r}")
    if not has_tables(connection):
        findings.add(file, "has other tables than a collection")
        return
    for statement, what in _RULES.items():
        (count,) = connection.execute(statement).fetchone()
        if count:
            findings.add(file, f"{count} {what}")


def has_tables(connection: sqlite3.Connection) -> bool:
    """Return whether a database has the tables of a collection."""
    with closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(schema.TABLES)
        return set(fresh.execute(_SHAPE)) == set(connection.execute(_SHAPE))


def check_places(table: Table, basis: Basis, findings: Findings, file: Path) -> None:
    """Check that segments don't overlap, and every document has rows of its own within those committed."""
    ends = [segment.end for segment in basis.segments]
    if any(segment.first_row < end for segment, end in zip(basis.segments[1:], ends, strict=False)):
        findings.add(file, "segments overlap")
    outside = ~within(table, runs([(segment.first_row, segment.end) for segment in basis.segments]))
    for mask, what in ((outside, "has vectors beyond those committed"), (sharing(table), SHARED)):
        for key in table.keys[mask].tolist():
            findings.texts.setdefault(key, what)

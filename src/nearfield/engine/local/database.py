"""The SQLite file: its tables, its connections, and the statements on it."""

from __future__ import annotations

import json
import os
import queue
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from nearfield.engine.local.segments import Segment
from nearfield.engine.protocol import Settings, Span, Stored
from nearfield.errors import CorruptCollection, MissingDependency, NearfieldError

SCHEMA = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE state (
    generation INTEGER NOT NULL,   -- committed writes
    next_key INTEGER NOT NULL,     -- of the next document
    next_number INTEGER NOT NULL   -- the least that a document without a doc_id may get
);
CREATE TABLE segments (number INTEGER PRIMARY KEY, first_row INTEGER NOT NULL, rows INTEGER NOT NULL);
CREATE TABLE documents (
    key INTEGER PRIMARY KEY,
    doc_id TEXT NOT NULL UNIQUE,
    first_row INTEGER NOT NULL,
    n_rows INTEGER NOT NULL,
    metadata TEXT NOT NULL         -- a JSON object
);
CREATE TABLE texts (
    key INTEGER PRIMARY KEY,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    spans TEXT                     -- a JSON list of [start, end); NULL for one passage, the whole text
);
CREATE TABLE deletions (key INTEGER PRIMARY KEY, generation INTEGER NOT NULL, n_rows INTEGER NOT NULL);
CREATE INDEX deletions_by_generation ON deletions (generation);
CREATE TABLE sessions (first_generation INTEGER PRIMARY KEY, token TEXT NOT NULL);
INSERT INTO state VALUES (0, 1, 0);
"""

Found = TypeVar("Found")

VARIABLES = 900
"""Values bound to one statement; SQLite's limit was 999 for long."""


# A full disk, a folder that can't be written, a lock: the file itself is whole.
_NOT_THE_FILE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}


@dataclass(frozen=True, slots=True)
class Counters:
    """The one row of the table `state`."""

    generation: int
    next_key: int
    next_number: int


class Database:
    """A pool of connections for reading, and one for writing."""

    def __init__(self, file: Path) -> None:
        # The operator -> on JSON came with 3.38.
        if sqlite3.sqlite_version_info < (3, 38):
            raise MissingDependency(f"nearfield needs SQLite 3.38 or newer; this Python has {sqlite3.sqlite_version}")
        self._file = file
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._writer: sqlite3.Connection | None = None
        self._closed = False

    def create(self, settings: Settings) -> None:
        """Make the tables in a new file."""
        self._remove_leftovers()
        self._file.touch()
        writer = self.writer()
        writer.execute("PRAGMA journal_mode = WAL")
        writer.executescript("BEGIN;" + SCHEMA)
        write_settings(writer, settings)
        writer.execute("COMMIT")

    def _remove_leftovers(self) -> None:
        """Remove what a creation that was cut off left; never a database that holds documents."""
        if self._file.exists() and self._file.stat().st_size:
            with closing(self._connect()) as connection:
                tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'documents'").fetchone()
                if tables and connection.execute("SELECT 1 FROM documents LIMIT 1").fetchone():
                    raise CorruptCollection(
                        f"{self._file} holds documents, but the manifest.json beside it is missing; restore it from a "
                        "backup"
                    )
        for leftover in self._file.parent.glob(self._file.name + "*"):
            leftover.unlink()

    def writer(self) -> sqlite3.Connection:
        """Return the connection for writing; the caller lets one thread at a time use it."""
        if self._writer is None:
            self._writer = self._connect()
            # A commit returns when the write-ahead log is on disk.
            self._writer.execute("PRAGMA synchronous = FULL")
        return self._writer

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection inside a read transaction: one committed state."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._connect()
        try:
            connection.execute("BEGIN")
            yield connection
        except sqlite3.DatabaseError as error:
            raise self.failure(error) from error
        finally:
            connection.rollback()
            self._idle.put(connection)
            if self._closed:
                self._close_idle()

    def _connect(self) -> sqlite3.Connection:
        if not self._file.exists():
            raise CorruptCollection(f"{self._file} is missing; restore it from a backup")
        address = f"{self._file.absolute().as_uri()}?{self._access()}"
        connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=30.0)
        try:
            connection.execute("PRAGMA schema_version")  # reads the file's head
        except sqlite3.DatabaseError as error:
            connection.close()
            raise self.failure(error) from error
        return connection

    def _access(self) -> str:
        if os.access(self._file, os.W_OK) and os.access(self._file.parent, os.W_OK):
            return "mode=rw"
        # Reading a write-ahead log needs a file beside it. Where there is no log, nobody is writing, and where the
        # folder can't be written either, SQLite must be told so.
        return "mode=ro" if self._file.with_name(self._file.name + "-wal").exists() else "mode=ro&immutable=1"

    def failure(self, error: sqlite3.DatabaseError) -> NearfieldError:
        """Return what an error of SQLite means for the collection."""
        # The low byte is the kind of error, the rest its details.
        if (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in _NOT_THE_FILE:
            return NearfieldError(f"{self._file}: {error}; nothing was changed, and what was stored before is whole")
        return CorruptCollection(
            f"{self._file} can't be read as a collection's database ({error}); restore it from a backup"
        )

    def close(self) -> None:
        """Close every connection; those that are in use close when they come back."""
        self._closed = True
        self._close_idle()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _close_idle(self) -> None:
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                break


def counters(connection: sqlite3.Connection) -> Counters:
    """Return the counters of the transaction's state."""
    return Counters(*connection.execute("SELECT generation, next_key, next_number FROM state").fetchone())


def write_counters(connection: sqlite3.Connection, counters: Counters) -> None:
    """Replace the counters."""
    connection.execute(
        "UPDATE state SET generation = ?, next_key = ?, next_number = ?",
        (counters.generation, counters.next_key, counters.next_number),
    )


def begin_session(connection: sqlite3.Connection, first_generation: int, token: str) -> None:
    """Record that generations from one on come from a process that calls itself `token`."""
    connection.execute("INSERT OR REPLACE INTO sessions VALUES (?, ?)", (first_generation, token))


def session_of(connection: sqlite3.Connection, generation: int) -> str:
    """Return the token of the process that wrote a generation; "" if that is not in the database."""
    row = connection.execute(
        "SELECT token FROM sessions, state WHERE first_generation <= ? AND ? <= generation "
        "ORDER BY first_generation DESC LIMIT 1",
        (generation, generation),
    ).fetchone()
    return row[0] if row else ""


def read_settings(connection: sqlite3.Connection) -> Settings:
    """Return the collection's settings."""
    rows = connection.execute("SELECT name, value FROM settings").fetchall()
    return Settings(**{name: json.loads(value) for name, value in rows})


def write_settings(connection: sqlite3.Connection, settings: Settings) -> None:
    """Replace the collection's settings."""
    connection.executemany(
        "INSERT OR REPLACE INTO settings VALUES (?, ?)",
        [(name, json.dumps(value)) for name, value in asdict(settings).items()],
    )


def segments(connection: sqlite3.Connection) -> list[Segment]:
    """Return the segments of the transaction's state, by their rows."""
    return [Segment(*row) for row in connection.execute("SELECT number, first_row, rows FROM segments ORDER BY number")]


def select_in(connection: sqlite3.Connection, statement: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a statement that ends in `IN`, for any number of values."""
    for start in range(0, len(values), VARIABLES):
        part = values[start : start + VARIABLES]
        yield from connection.execute(f"{statement} ({','.join('?' * len(part))})", part)


def keys_of(connection: sqlite3.Connection, doc_ids: Sequence[str]) -> dict[str, int]:
    """Return the keys of those doc_ids that exist."""
    return dict(select_in(connection, "SELECT doc_id, key FROM documents WHERE doc_id IN", doc_ids))


def doc_ids_of(connection: sqlite3.Connection, keys: Sequence[int]) -> list[str]:
    """Return the doc_id of each key."""
    names = dict(select_in(connection, "SELECT key, doc_id FROM documents WHERE key IN", keys))
    return _each(names, keys)


def stored(connection: sqlite3.Connection, keys: Sequence[int]) -> list[Stored]:
    """Return the document of each key."""
    statement = "SELECT key, doc_id, title, text, metadata, spans FROM documents JOIN texts USING (key) WHERE key IN"
    found = {row[0]: _stored(*row) for row in select_in(connection, statement, keys)}
    return _each(found, keys)


def _each(found: dict[int, Found], keys: Sequence[int]) -> list[Found]:
    """Return what was found for each key; the state says that all of them are there."""
    if len(found) < len(set(keys)):
        raise sqlite3.DatabaseError(f"{len(set(keys)) - len(found)} documents are missing from the tables")
    return [found[key] for key in keys]


def _stored(key: int, doc_id: str, title: str, text: str, metadata: str, spans: str | None) -> Stored:
    parsed: list[Span] = [(0, len(text))] if spans is None else [(start, end) for start, end in json.loads(spans)]
    return Stored(key, doc_id, title, text, json.loads(metadata), parsed)

"""The SQLite file: its connections, and the statements on its tables (see schema.py)."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from nearfield.engine.local import schema
from nearfield.engine.local.connecting import UNUSABLE, Connection, connect, failure
from nearfield.engine.local.segments import Segment
from nearfield.engine.protocol import Settings, Span, Stored
from nearfield.errors import CorruptCollection, MissingDependency, NearfieldError

Found = TypeVar("Found")
Row = TypeVar("Row", bound=tuple[Any, ...])

VARIABLES = 900
"""Values bound to one statement; SQLite's limit was 999 for long."""


LOG_BYTES = 4_000_000
"""To which the write-ahead log is cut when its content is in the database."""

MOST_IDLE = 16
"""Connections that are kept for the next readers."""

READER_PAGES = 60
"""Pages that a reader's connection keeps, for those at the tables' roots; the system has all in memory anyhow.

Ten hits are read in a fifth less time than with the usual 500, whose copies don't stay in the processor's cache.
"""

_NEVER_CLOSED: list[sqlite3.Connection] = []


@dataclass(frozen=True, slots=True)
class Counters:
    """The one row of the table `state`; schema.py says what they count."""

    generation: int
    next_key: int
    next_number: int
    next_segment: int
    history: int


_COUNTERS = f"SELECT {', '.join(field.name for field in fields(Counters))} FROM state"
_DECODE = json.JSONDecoder().raw_decode  # half as long as `loads`, for text that has nothing around it
_DOCUMENTS = "asked CROSS JOIN documents USING (key)"
_WITH_TEXTS = f"{_DOCUMENTS} CROSS JOIN texts USING (key)"


class Database:
    """A pool of connections for reading, and one for writing."""

    def __init__(self, file: Path, *, read_only: bool = False) -> None:
        # The operator -> on JSON came with 3.38.
        if sqlite3.sqlite_version_info < (3, 38):
            raise MissingDependency(f"nearfield needs SQLite 3.38 or newer; this Python has {sqlite3.sqlite_version}")
        self._file = file
        self._read_only = read_only  # then not even the write-ahead log is taken into the file at the end
        self._idle: list[Connection] = []
        self._writer: sqlite3.Connection | None = None
        self._in_use: dict[Connection, int] = {}  # with the threads that use them
        self._lock = threading.RLock()
        self._turn = threading.Condition(self._lock)
        self._forking = False
        self._closed = False

    def create(self, settings: Settings, identity: str) -> None:
        """Make the tables in a new file."""
        self._remove_leftovers()
        self._file.touch()
        writer = self.writer()
        try:
            schema.create(writer, identity)
            write_settings(writer, settings)
            writer.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise self.failure(error) from error
        finally:
            self._let_go()

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
            self._writer.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        return self._writer

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """Give a connection inside a read transaction: one committed state."""
        return _Reading(self)

    def take(self) -> Connection:
        """Return a connection that nobody else uses until it is put back."""
        thread = threading.get_ident()
        with self._lock:  # by itself it is taken in a third of the time that it takes by way of the condition
            if self._forking:
                # Nobody begins to read while the process forks, unless he must in order to come to an end.
                self._turn.wait_for(lambda: not self._forking or thread in self._in_use.values())
            connection = self._idle.pop() if self._idle else self._connect(READER_PAGES)
            self._in_use[connection] = thread
        return connection

    def put_back(self, connection: Connection) -> None:
        """Let others use a connection."""
        with self._lock:
            del self._in_use[connection]
            if self._closed or self._forking or connection.immutable or len(self._idle) >= MOST_IDLE:
                connection.close()
            else:
                self._idle.append(connection)
            if self._forking:
                self._turn.notify_all()

    def _connect(self, pages: int | None = None) -> Connection:
        return connect(self._file, read_only=self._read_only, pages=pages)

    def failure(self, error: sqlite3.DatabaseError) -> NearfieldError:
        """Return what an error of SQLite means for the collection."""
        return failure(self._file, error)

    def before_fork(self, deadline: float, *, nobody_writes: bool) -> None:
        """Close all connections that can be closed: others may end their reading until then, and nobody may begin."""
        me = threading.get_ident()
        with self._turn:
            self._forking = True
            seconds = max(0.0, deadline - time.monotonic())
            self._turn.wait_for(lambda: all(user == me for user in self._in_use.values()), seconds)
            self._close_idle()
            if nobody_writes and self._writer is not None and not self._writer.in_transaction:
                self._writer.close()
                self._writer = None

    def after_fork(self) -> None:
        """Let the parent's threads read again."""
        with self._turn:
            self._forking = False
            self._turn.notify_all()

    def _let_go(self) -> None:
        """Close the connections that are not in use; they are opened again when needed."""
        self._close_idle()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def abandon(self) -> None:
        """Forget the connections, in a child process: closing them there would release locks that are not its own.

        If the parent was reading or writing at the fork, SQLite's notes of its locks are wrong in the child for good,
        and the file can't be opened there.
        """
        left: list[sqlite3.Connection] = [*self._in_use, *self._idle]
        if self._writer is not None:
            left.append(self._writer)
        if left:
            UNUSABLE.add(self._file)
            _NEVER_CLOSED.extend(left)

    def close(self) -> None:
        """Close every connection; those that are in use close when they come back."""
        with self._turn:
            self._closed = True
            self._let_go()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()


class _Reading:
    """A read transaction; a generator would take longer to begin and to end than the transaction does."""

    __slots__ = ("_connection", "_database")

    def __init__(self, database: Database) -> None:
        self._database = database

    def __enter__(self) -> sqlite3.Connection:
        self._connection = self._database.take()
        try:
            self._connection.execute("BEGIN")
        except BaseException as error:
            self._end(error)
            raise
        return self._connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        try:
            self._connection.rollback()
        finally:
            self._database.put_back(self._connection)
        if isinstance(error, UnicodeDecodeError):  # of an error message that quotes a damaged schema
            raise self._database.failure(sqlite3.DatabaseError(str(error))) from error
        if isinstance(error, sqlite3.DatabaseError):
            raise self._database.failure(error) from error


def counters(connection: sqlite3.Connection) -> Counters:
    """Return the counters of the transaction's state."""
    return Counters(*_state_row(connection, _COUNTERS))


def generation_of(connection: sqlite3.Connection) -> int:
    """Return the generation of the transaction's state; it alone is asked for at every look at a collection."""
    generation: int
    (generation,) = _state_row(connection, "SELECT generation FROM state")
    return generation


def _state_row(connection: sqlite3.Connection, statement: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(statement).fetchone()
    if row is None:
        raise sqlite3.DatabaseError("the table 'state' is empty")
    return row


def write_counters(connection: sqlite3.Connection, counters: Counters) -> None:
    """Replace the counters."""
    values = asdict(counters)
    connection.execute(f"UPDATE state SET {', '.join(f'{name} = :{name}' for name in values)}", values)


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
    try:
        return Settings(**{name: json.loads(value) for name, value in rows})
    except (TypeError, ValueError) as error:
        raise sqlite3.DatabaseError(f"the table 'settings' is damaged: {error}") from error


def read_origin(connection: sqlite3.Connection) -> tuple[int | None, str | None]:
    """Return what is asked of the settings with each state: the dimension, and the encoder's fingerprint."""
    rows = connection.execute("SELECT name, value FROM settings WHERE name IN ('dimension', 'fingerprint')").fetchall()
    try:
        values = {name: json.loads(value) for name, value in rows}
        return values["dimension"], values["fingerprint"]
    except (TypeError, ValueError, KeyError) as error:
        raise sqlite3.DatabaseError(f"the table 'settings' is damaged: {error!r}") from error


def write_settings(connection: sqlite3.Connection, settings: Settings) -> None:
    """Replace the collection's settings."""
    connection.executemany(
        "INSERT OR REPLACE INTO settings VALUES (?, ?)",
        [(name, json.dumps(value)) for name, value in asdict(settings).items()],
    )


def segments(connection: sqlite3.Connection) -> list[Segment]:
    """Return the segments of the transaction's state, by their rows."""
    rows = connection.execute("SELECT number, first_row, rows FROM segments ORDER BY first_row")
    return [Segment(*row) for row in rows]


def select_in(connection: sqlite3.Connection, statement: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a statement that ends in `IN`, for any number of values."""
    for start in range(0, len(values), VARIABLES):
        part = values[start : start + VARIABLES]
        # Fetched at once: a caller that stops leaves no cursor open behind a connection that is closed.
        yield from connection.execute(f"{statement} ({','.join('?' * len(part))})", part).fetchall()


def rising(rows: Iterable[Row], last: int = 0) -> Iterator[Row]:
    """Yield rows whose first value is a rising key; a table whose pages form a ring has no end otherwise.

    Args:
        rows: From a table of a collection.
        last: The key before the first.

    Raises:
        sqlite3.DatabaseError: a key does not rise.
    """
    for row in rows:
        if not last < row[0]:
            raise sqlite3.DatabaseError(f"keys are out of order: {row[0]} comes after {last}")
        last = row[0]
        yield row


def keys_of(connection: sqlite3.Connection, doc_ids: Sequence[str]) -> dict[str, int]:
    """Return the keys of those doc_ids that exist."""
    return dict(select_in(connection, "SELECT doc_id, key FROM documents WHERE doc_id IN", doc_ids))


def doc_ids_of(connection: sqlite3.Connection, keys: Sequence[int]) -> list[str]:
    """Return the doc_id of each key."""
    return _each(dict(_rows_of(connection, "key, doc_id", _DOCUMENTS, keys)), keys)


def vector_sums_of(connection: sqlite3.Connection, keys: Sequence[int]) -> list[int]:
    """Return the checksum of each key's rows."""
    return _each(dict(_rows_of(connection, "key, vector_sum", _DOCUMENTS, keys)), keys)


def stored(connection: sqlite3.Connection, keys: Sequence[int]) -> list[Stored]:
    """Return the document of each key.

    Raises:
        CorruptCollection: a document is not what was written.
    """
    columns = "key, doc_id, title, text, metadata, spans, encoded, text_sum"
    rows = _rows_of(connection, columns, _WITH_TEXTS, keys)
    return _each({row[0]: _stored(connection, *row) for row in rows}, keys)


def _rows_of(connection: sqlite3.Connection, columns: str, source: str, keys: Sequence[int]) -> list[tuple[Any, ...]]:
    """Return what is there of some keys; quicker than by `IN`, for which SQLite sorts the keys into a table first."""
    found: list[tuple[Any, ...]] = []
    for start in range(0, len(keys), VARIABLES):
        part = keys[start : start + VARIABLES]
        asked = ",".join(["(?)"] * len(part))
        found += connection.execute(f"WITH asked(key) AS (VALUES {asked}) SELECT {columns} FROM {source}", part)
    return found


def text_sum(key: int, doc_id: str, title: str, text: str, metadata: str, spans: str | None) -> int:
    """Return the CRC-32 of a document's row in `documents` and `texts`, its place in the segments apart."""
    return zlib.crc32(f"{key}\0{doc_id}\0{title}\0{text}\0{metadata}\0{spans or ''}".encode())


def _each(found: dict[int, Found], keys: Sequence[int]) -> list[Found]:
    """Return what was found for each key; the state says that all of them are there."""
    try:
        return [found[key] for key in keys]
    except KeyError:
        raise sqlite3.DatabaseError(f"{len(set(keys) - found.keys())} documents are missing from the tables") from None


def _stored(
    connection: sqlite3.Connection,
    key: int,
    doc_id: str,
    title: str,
    text: str,
    metadata: str,
    spans: str | None,
    encoded: int,
    known_sum: int,
) -> Stored:
    if text_sum(key, doc_id, title, text, metadata, spans) != known_sum:
        (_, _, file) = connection.execute("PRAGMA database_list").fetchone()
        raise CorruptCollection(
            f"{file}: document {doc_id!r} is not what was written (its checksum differs); restore it from a snapshot, "
            "or see `nearfield repair`"
        )
    parsed: list[Span] = [(0, len(text))] if spans is None else [(start, end) for start, end in json.loads(spans)]
    return Stored(key, doc_id, title, text, _DECODE(metadata)[0], parsed, bool(encoded))

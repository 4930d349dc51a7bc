"""The file behind `CachedEncoder`: vectors by key in SQLite, bounded, shared by processes, and never a reason to fail.

What goes wrong with the file is told in the log once, and otherwise means that a vector isn't found.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.cache_files import CacheFiles
from nearfield.encode.protocol import Vectors
from nearfield.forks import tell_of_forks

log = logging.getLogger("nearfield.encode.cache")

T = TypeVar("T")

VERSION = 1
APPLICATION = 0x6E665643
"""SQLite's application_id of the file: "nfVC"."""

AT_ONCE = 4096
"""Keys in a statement, and vectors in a transaction, which takes some tens of milliseconds."""

BATCH_BYTES = 8 << 20
"""Of vectors in a transaction, at most."""

PATIENCE = 2.0
"""Seconds to wait for another process that writes; then this call's vectors are not kept."""

PAUSE = 60.0
"""Seconds without the cache after an error that may pass, such as a full disk."""

KEPT = 0.9
"""Share of the bound that is left when the least recently used vectors are removed."""

TOUCHES = 4096
"""Uses that are remembered in memory until there is something to write."""

_TABLES = f"""
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
CREATE TABLE spaces (id BLOB PRIMARY KEY, fingerprint TEXT NOT NULL, precision TEXT NOT NULL, probe TEXT NOT NULL);
CREATE TABLE vectors (id INTEGER PRIMARY KEY, sum INTEGER NOT NULL, vector BLOB NOT NULL);
CREATE TABLE entries (key BLOB PRIMARY KEY, id INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX by_use ON entries (used);
CREATE TABLE clock (time INTEGER NOT NULL);
INSERT INTO clock VALUES (0);
"""
# Errors that say nothing of the file's content; with all others it is begun anew.
_PASSING = {
    sqlite3.SQLITE_AUTH, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOLFS, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_TOOBIG,
}  # fmt: skip


class VectorStore:
    """Vectors by key in a folder; safe to use from several threads and processes.

    Args:
        folder: Made when it is needed.
        max_bytes: Of the file; a batch may exceed it for a moment, and SQLite's log has 8 MiB of its own.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._files = CacheFiles(folder)
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._file = folder
        self._off_until = 0.0
        self._told: set[str] = set()
        self._touched: dict[bytes, None] = {}
        self._damaged: set[bytes] = set()
        self._held_for_fork = False
        tell_of_forks(self)

    # -- reading and writing ---------------------------------------------------------------------------------------

    def fill(self, keys: Sequence[bytes], vectors: Vectors) -> NDArray[np.bool_]:
        """Put the vectors that are there into the rows of their keys, and return which rows those are."""
        found = np.zeros(len(keys), bool)
        rows = {key: row for row, key in enumerate(keys)}
        width = vectors.shape[1] * 4

        def read(connection: sqlite3.Connection) -> None:
            for start in range(0, len(keys), AT_ONCE):
                part = keys[start : start + AT_ONCE]
                for key, known, blob in connection.execute(_select(len(part)), part).fetchall():
                    if isinstance(blob, bytes) and len(blob) == width and known == _sum(key, blob):
                        vectors[rows[key]] = np.frombuffer(blob, "<f4")
                        found[rows[key]] = True
                        self._touched[key] = None
                    else:
                        self._damaged.add(key)

        self._try(read)
        if len(self._touched) > TOUCHES:
            self.put([], vectors[:0])
        return found

    def put(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Keep vectors, a row for each key, and remove the least recently used beyond the bound."""
        step = max(1, min(AT_ONCE, BATCH_BYTES // (vectors.shape[1] * 4)))
        for start in range(0, max(len(keys), 1), step):
            part, rows = keys[start : start + step], np.asarray(vectors[start : start + step], "<f4")
            if not self._try(lambda connection, part=part, rows=rows: self._write(connection, part, rows)):  # type: ignore[misc]
                return  # rather than wait for the same writer with each part

    def space(
        self, fingerprint: str, precision: str, agrees: Callable[[Any], bool], probe: Any, new: bytes
    ) -> bytes | None:
        """Return the space of the encoder that a probe agrees with, `new` if there is none; None without a file."""

        def find(connection: sqlite3.Connection) -> bytes:
            wanted = (fingerprint, precision)
            statement = "SELECT id, probe FROM spaces WHERE fingerprint = ? AND precision = ?"
            for known, text in connection.execute(statement, wanted).fetchall():
                with suppress(ValueError, TypeError):
                    if isinstance(known, bytes) and agrees(json.loads(text)):
                        return known
            connection.execute("INSERT OR IGNORE INTO spaces VALUES (?, ?, ?, ?)", (new, *wanted, json.dumps(probe)))
            return new

        return self._try(find)

    def figures(self) -> tuple[int, int]:
        """Return how many vectors there are, and the bytes on disk."""
        count = self._try(lambda connection: int(connection.execute("SELECT count(*) FROM entries").fetchone()[0]))
        return count or 0, self._files.size(self._file) if count is not None else 0

    def close(self) -> None:
        """Write what is in memory, and close the file; it is opened again by the next use."""
        with self._lock:
            if self._connection is not None and (self._touched or self._damaged):
                self.put([], np.empty((0, 1), np.float32))
            self._drop()

    def __del__(self) -> None:
        """Close the file."""
        self._drop()

    # -- forks -----------------------------------------------------------------------------------------------------

    def before_fork(self, deadline: float) -> None:
        """Close the connection, so that the child doesn't inherit it."""
        self._held_for_fork = self._lock.acquire(timeout=max(0.0, deadline - time.monotonic()))
        if self._held_for_fork:
            self._drop()

    def after_fork(self, *, in_child: bool) -> None:
        """Begin anew in the child."""
        if in_child:
            self._lock = threading.RLock()
            self._connection = None
        elif self._held_for_fork:
            self._lock.release()
        self._held_for_fork = False

    # -- the connection --------------------------------------------------------------------------------------------

    def _try(self, use: Callable[[sqlite3.Connection], T]) -> T | None:
        """Return what comes of using the file; None if that failed, or is no use at present."""
        with self._lock:
            if time.monotonic() < self._off_until:
                return None
            try:
                if self._connection is None:
                    self._connection = self._open()
                return use(self._connection)
            except (sqlite3.Error, OSError, UnicodeError, OverflowError) as error:
                self._failed(error)
                return None

    def _failed(self, error: Exception) -> None:
        self._drop()
        self._off_until = time.monotonic() + PAUSE
        code = getattr(error, "sqlite_errorcode", None)
        # Text that is none, and numbers beyond SQLite's, come from damaged pages.
        broken = code & 0xFF not in _PASSING if code is not None else isinstance(error, ValueError | OverflowError)
        if broken:
            self._tell(f"the cache of vectors {self._file} is damaged ({error}); it is set aside, and begun anew")
            with suppress(OSError):
                self._files.set_aside(self._file)
                self._off_until = 0.0
        elif code is None or code & 0xFF != sqlite3.SQLITE_BUSY:
            self._tell(f"the cache of vectors {self._file} can't be used ({error}); texts are encoded without it")
        else:
            self._off_until = 0.0  # somebody else writes

    def _tell(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            log.warning(message)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _open(self) -> sqlite3.Connection:
        with self._files.exclusive():
            self._file = self._files.newest()
            new = self._files.size(self._file) == 0
            connection = sqlite3.connect(self._file, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
            try:
                _prepare(connection, new=new)
            except BaseException:
                connection.close()
                raise
        return connection

    def _write(self, connection: sqlite3.Connection, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> bool:
        touched, self._touched = self._touched, {}
        damaged, self._damaged = self._damaged, set()
        with _transaction(connection):
            (now,) = connection.execute("UPDATE clock SET time = time + 1 RETURNING time").fetchone() or (0,)
            connection.executemany("UPDATE entries SET used = ? WHERE key = ?", [(now, key) for key in touched])
            _remove(connection, [(key,) for key in damaged])
            there = {key for (key,) in connection.execute(_select(len(keys), of="key"), keys)} if keys else set()
            (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM vectors").fetchone()
            new = [(row, key) for row, key in enumerate(keys) if key not in there]
            blobs = [vectors[row].tobytes() for row, _ in new]
            connection.executemany(
                "INSERT INTO vectors VALUES (?, ?, ?)",
                [(last + 1 + i, _sum(new[i][1], blob), blob) for i, blob in enumerate(blobs)],
            )
            connection.executemany(
                "INSERT INTO entries VALUES (?, ?, ?)", [(key, last + 1 + i, now) for i, (_, key) in enumerate(new)]
            )
            _evict(connection, self._max_bytes)
        _shrink(connection, self._max_bytes)
        return True


def _prepare(connection: sqlite3.Connection, *, new: bool) -> None:
    if new:  # with any file, it would wait for writers
        connection.execute("PRAGMA page_size = 8192")  # takes five vectors of 384 dimensions
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA synchronous = OFF")  # after a loss of power, sums tell what can't be used
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if not application and not tables:
        connection.execute("PRAGMA journal_mode = WAL")
        with _transaction(connection):
            for statement in _TABLES.split(";"):
                connection.execute(statement)
    elif application != APPLICATION:
        raise _Foreign()
    connection.execute("PRAGMA journal_size_limit = 8388608")


class _Foreign(sqlite3.DatabaseError):
    sqlite_errorcode = sqlite3.SQLITE_NOTADB

    def __str__(self) -> str:
        return "another program's database"


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.rollback()


def _select(count: int, of: str = "key, sum, vector") -> str:
    tables = "entries" if of == "key" else "entries JOIN vectors USING (id)"
    return f"SELECT {of} FROM {tables} WHERE key IN ({','.join('?' * count)})"


def _sum(key: bytes, blob: bytes) -> int:
    # Of the key too: a damaged page must not give one text's vector for another.
    return zlib.crc32(blob, zlib.crc32(key))


def _remove(connection: sqlite3.Connection, keys: Sequence[tuple[bytes]]) -> None:
    connection.executemany("DELETE FROM vectors WHERE id = (SELECT id FROM entries WHERE key = ?)", keys)
    connection.executemany("DELETE FROM entries WHERE key = ?", keys)


def _evict(connection: sqlite3.Connection, max_bytes: int) -> None:
    while (used := _pages(connection, "page_count") - _pages(connection, "freelist_count")) > max_bytes:
        (count,) = connection.execute("SELECT count(*) FROM entries").fetchone()
        if not count:
            return
        # Rows differ in size only between encoders, so that one step mostly does.
        least = max(1, int(count * (1 - KEPT * max_bytes / used)))
        oldest = connection.execute("SELECT key FROM entries ORDER BY used, id LIMIT ?", (least,)).fetchall()
        _remove(connection, oldest)


def _shrink(connection: sqlite3.Connection, max_bytes: int) -> None:
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    beyond = -(-(_pages(connection, "page_count") - max_bytes) // size)
    if beyond > 0:
        # Not by `execute`, which takes one step of the statement, and so frees one page.
        connection.executescript(f"PRAGMA incremental_vacuum({beyond})")


def _pages(connection: sqlite3.Connection, what: str) -> int:
    """Return the bytes of all pages, or of those that are free."""
    (count,) = connection.execute(f"PRAGMA {what}").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int(count) * int(size)

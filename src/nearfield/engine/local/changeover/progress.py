"""The vectors that a migration has made so far, in a folder of their own: they are no part of the collection yet.

The folder has segments of vectors and progress.sqlite, which says which of their rows are whose. A batch counts once
its transaction is committed, after its rows were synced; what a killed process leaves behind that is overwritten.
docs/formats.md describes both.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfield.durable import make_folder, sync_folder
from nearfield.encode.protocol import Vectors
from nearfield.engine.local import writing
from nearfield.engine.local.blocks import NO_BLOCKS, Blocks
from nearfield.engine.local.database import Database, read_settings, write_settings
from nearfield.engine.local.database import segments as read_segments
from nearfield.engine.local.segments import Folder, Segment, header_of
from nearfield.engine.protocol import Settings
from nearfield.errors import NearfieldError
from nearfield.stages import stage

FILE = "progress.sqlite"

AT_ONCE = 10_000
"""Rows of the table that are held at once."""

TABLES = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE origin (identity TEXT NOT NULL, fingerprint TEXT);
CREATE TABLE segments (number INTEGER PRIMARY KEY, first_row INTEGER NOT NULL, rows INTEGER NOT NULL);
CREATE TABLE migrated (
    key INTEGER PRIMARY KEY,
    first_row INTEGER NOT NULL,
    n_rows INTEGER NOT NULL,
    vector_sum INTEGER NOT NULL,
    old_sum INTEGER NOT NULL,         -- the document's text_sum as it is
    new_sum INTEGER NOT NULL,         -- and with the new spans
    resplit INTEGER NOT NULL,         -- 1: the spans are others than before, and those here
    spans TEXT
);
"""


@dataclass(frozen=True, slots=True)
class Made:
    """What is recorded of a document beside its rows."""

    key: int
    old_sum: int
    new_sum: int
    resplit: bool
    spans: str | None


@dataclass(frozen=True, slots=True)
class Places:
    """Where the new vectors of documents lie, in the order of their keys: int64 `(documents,)` each."""

    keys: NDArray[np.int64]
    firsts: NDArray[np.int64]
    counts: NDArray[np.int64]
    sums: NDArray[np.int64]


class Progress:
    """What a migration has made; one thread at a time changes it.

    Args:
        path: The folder.
        identity: The collection's, 32 hexadecimal digits.
        read_only: Change nothing, not even what SQLite would tidy up.
    """

    def __init__(self, path: Path, identity: str, *, read_only: bool = False) -> None:
        self.folder = Folder(path, bytes.fromhex(identity))
        self._file = path / FILE
        self._identity = identity
        self._read_only = read_only
        self._open()

    def _open(self) -> None:
        self._database = Database(self._file, read_only=self._read_only)
        self._turn = threading.Lock()
        self._held_for_fork = False
        self._blocks = NO_BLOCKS
        self._places: Places | None = None

    def begin(self, settings: Settings, fingerprint: str | None) -> None:
        """Begin anew, whatever is there.

        Args:
            settings: Those that the collection is to have.
            fingerprint: That it has now.
        """
        self.remove()
        make_folder(self.folder.path)
        self._file.touch()
        self._database.writer().execute("PRAGMA journal_mode = WAL")
        with self._changing() as connection:
            for statement in TABLES.strip().split(";")[:-1]:
                connection.execute(statement)
            write_settings(connection, settings)
            connection.execute("INSERT INTO origin VALUES (?, ?)", (self._identity, fingerprint))
        sync_folder(self.folder.path)

    def target(self, fingerprint: str | None) -> Settings | None:
        """Return the settings that the collection is to have; None if there is no migration of use.

        It is of none if it was begun for another collection, or for one whose vectors were of another encoder than
        `fingerprint`, or can't be read: a process may have been killed before it began in earnest.
        """
        if not self._file.exists():
            return None
        try:
            with self._database.reading() as connection:
                row = connection.execute("SELECT identity, fingerprint FROM origin").fetchone()
                settings = read_settings(connection)
        except NearfieldError:
            return None
        return settings if row == (self._identity, fingerprint) else None

    def rename(self, settings: Settings) -> None:
        """Replace the settings by others of the same encoder."""
        with self._changing() as connection:
            write_settings(connection, settings)

    def count(self) -> int:
        """Return how many documents have new vectors, those included that were deleted since."""
        with self._database.reading() as connection:
            (count,) = connection.execute("SELECT count(*) FROM migrated").fetchone()
        return int(count)

    def keys(self) -> NDArray[np.int64]:
        """Return the keys of documents that have new vectors, rising, int64 `(n,)`."""
        return self.places().keys

    def places(self) -> Places:
        """Return where all new vectors lie."""
        if self._places is None:
            parts = [np.array(rows, np.int64) for rows in self._rows("key, first_row, n_rows, vector_sum")]
            table = np.concatenate(parts).T if parts else np.empty((4, 0), np.int64)
            self._places = Places(*(np.ascontiguousarray(column) for column in table))
        return self._places

    def spans(self, keys: Sequence[int]) -> dict[int, str | None]:
        """Return the spans of those of some documents that are split otherwise than before."""
        found: dict[int, str | None] = {}
        with self._database.reading() as connection:
            for key in keys:
                row = connection.execute("SELECT spans FROM migrated WHERE key = ? AND resplit", (key,)).fetchone()
                if row:
                    found[key] = row[0]
        return found

    def sums(self) -> Iterator[list[tuple[Any, ...]]]:
        """Yield each document's key and the text_sum that it had, many at a time."""
        yield from self._rows("key, old_sum")

    def changes(self) -> Iterator[tuple[Any, ...]]:
        """Yield what the switch does: first_row, n_rows, text_sum, vector_sum, key, and the old text_sum."""
        for rows in self._rows("key, first_row, n_rows, new_sum, vector_sum, key, old_sum"):
            yield from (row[1:] for row in rows)

    def resplit(self) -> Iterator[tuple[Any, ...]]:
        """Yield the spans and the key of each document that is split otherwise than before."""
        for rows in self._rows("key, spans, key", "AND resplit"):
            yield from (row[1:] for row in rows)

    def _rows(self, columns: str, condition: str = "") -> Iterator[list[tuple[Any, ...]]]:
        last = -1
        statement = f"SELECT {columns} FROM migrated WHERE key > ? {condition} ORDER BY key LIMIT ?"
        while True:
            with self._database.reading() as connection:
                rows = connection.execute(statement, (last, AT_ONCE)).fetchall()
            if not rows:
                return
            yield rows
            last = rows[-1][0]

    def segments(self) -> list[Segment]:
        """Return the segments of the new vectors, by their addresses."""
        with self._database.reading() as connection:
            return read_segments(connection)

    def blocks(self, dimension: int) -> Blocks:
        """Return the new vectors as arrays."""
        self._blocks = self._blocks.advanced(self.folder, self.segments(), dimension)
        return self._blocks

    def add(self, made: Sequence[Made], vectors: Vectors, counts: NDArray[np.int64]) -> None:
        """Add documents and their new vectors; when it returns, they are on disk.

        Args:
            made: Of each document.
            vectors: Of all of them, one document after the other.
            counts: How many each has.
        """
        if not made:
            return
        sums = writing.vector_sums(vectors, counts)
        with self._changing() as connection:
            (number,) = connection.execute("SELECT coalesce(max(number) + 1, 0) FROM segments").fetchone()
            firsts, _ = writing.append(connection, self.folder, vectors, counts, number)
            connection.executemany(
                "INSERT OR REPLACE INTO migrated VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (one.key, first, count, vector_sum, one.old_sum, one.new_sum, one.resplit, one.spans)
                    for one, first, count, vector_sum in zip(made, firsts, counts.tolist(), sums, strict=True)
                ],
            )

    def stamp(self, dimension: int) -> None:
        """Have each segment's file begin with its number here; a switch that was cut off gave it another."""
        for segment in self.segments():
            header = header_of(self.folder, segment.number, dimension)
            with suppress(FileNotFoundError), self.folder.file(segment.number).open("r+b") as stream:
                if stream.read(len(header)) != header:
                    stream.seek(0)
                    stream.write(header)

    def forget(self, keys: Iterable[int], segments: Iterable[int] = ()) -> None:
        """Forget documents, and segments by their numbers, with all that lies in them."""
        with self._changing() as connection:
            connection.executemany("DELETE FROM migrated WHERE key = ?", [(key,) for key in keys])
            for segment in read_segments(connection):
                if segment.number in set(segments):
                    within = (segment.first_row, segment.end)
                    connection.execute("DELETE FROM migrated WHERE first_row >= ? AND first_row < ?", within)
                    connection.execute("DELETE FROM segments WHERE number = ?", (segment.number,))
        self._blocks = NO_BLOCKS

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._turn:
            connection = self._database.writer()
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                with stage("migrate batch"):
                    connection.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                raise self._database.failure(error) from error
            finally:
                connection.rollback()
                self._places = None

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        self.close()
        with stage("remove migration"):
            # The tables first: without them, the rest is litter.
            self._file.unlink(missing_ok=True)
            if self.folder.path.exists():
                shutil.rmtree(self.folder.path)
        self._open()

    def close(self) -> None:
        """Close the file; it is opened again when needed."""
        self._database.close()
        self._database = Database(self._file, read_only=self._read_only)

    def before_fork(self, deadline: float) -> None:
        """Close what a child must not inherit; waits for a change that is under way."""
        self._held_for_fork = self._turn.acquire(timeout=max(0.0, deadline - time.monotonic()))
        self._database.before_fork(deadline, nobody_writes=self._held_for_fork)

    def after_fork(self, *, in_child: bool) -> None:
        """Let the parent go on; the child has nothing to do with it."""
        if in_child:
            self._database.abandon()
            self._open()
            return
        self._database.after_fork()
        if self._held_for_fork:
            self._held_for_fork = False
            self._turn.release()

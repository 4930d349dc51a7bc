"""`LocalEngine`: a collection in a folder."""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from nearfield.engine.local import layout as files
from nearfield.engine.local import writing
from nearfield.engine.local.columns import Columns
from nearfield.engine.local.database import Database, begin_session, counters, read_settings
from nearfield.engine.local.layout import Layout
from nearfield.engine.local.lexical import LexicalKeeper
from nearfield.engine.local.lock import FileLock
from nearfield.engine.local.state import EMPTY, State, advance
from nearfield.engine.local.view import LocalView
from nearfield.engine.protocol import Capabilities, Record, Settings, Stats
from nearfield.errors import InvalidInput, Locked, NearfieldError

CREATION_SECONDS = 10.0
"""How long to wait for another process that is making the same collection."""

LAG = 20_000
"""Documents that may be missing from the BM25 index before a write brings it up to date; a search always does."""


class LocalEngine:
    """Documents in SQLite, vectors in mapped segments, words in a derived BM25 index.

    Args:
        root: The folder.
        settings: Makes a new collection with these if there is none at `root`.

    Raises:
        NotFound: there is no collection, and no settings to make one.
        InvalidInput: there is something else at the path.
        IncompatibleFormat: a newer version wrote it.
        CorruptCollection: its files can't be read.
    """

    capabilities = Capabilities(lexical=True, atomic_batches=True)

    def __init__(self, root: Path, settings: Settings | None = None) -> None:
        self._layout = Layout(root)
        self._database = Database(self._layout.database)
        self._writer_lock = FileLock(self._layout.writer_lock)
        self._writing = threading.RLock()
        self._advancing = threading.Lock()
        self._session = uuid.uuid4().hex
        self._columns = Columns()
        self._lexical = LexicalKeeper(self._layout, self._database)
        self._state = EMPTY
        self._has_written = False
        self._closed = False
        if settings is None:
            files.require(self._layout)
        else:
            self._create_if_absent(settings)
        with self._database.reading() as connection:
            self._settings = read_settings(connection)

    def _create_if_absent(self, settings: Settings) -> None:
        deadline = time.monotonic() + CREATION_SECONDS
        while not files.check_exists(self._layout):
            try:
                self._layout.vectors.mkdir(parents=True, exist_ok=True)
                with self._writer_lock:
                    # Another process may have made it, and written to it, since the check.
                    if not files.check_exists(self._layout):
                        self._database.create(settings)
                        files.write_manifest(self._layout)
            except Locked:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            except OSError as error:
                raise InvalidInput(f"can't make a collection at {self._layout.root}: {error}") from error

    @property
    def location(self) -> str:
        """The folder's path."""
        return str(self._layout.root)

    @property
    def settings(self) -> Settings:
        """What is fixed for this collection."""
        if self._settings.fingerprint is None:
            # Another process may have written the first batch.
            with self._database.reading() as connection:
                self._settings = read_settings(connection)
        return self._settings

    @contextmanager
    def view(self) -> Iterator[LocalView]:
        """Give the newest committed state."""
        self._check_open()
        with self._database.reading() as connection:
            state = self._advance(connection)
            yield LocalView(connection, state, self._columns, self._lexical)

    def _advance(self, connection: sqlite3.Connection) -> State:
        # One line of states for all threads: slots of one state mean the same in all that follow it.
        with self._advancing:
            while counters(connection).generation < self._state.generation:
                # Another thread has seen a later state than this transaction; begin again, to see it too.
                connection.rollback()
                connection.execute("BEGIN")
            self._state = advance(self._state, connection, self._layout.vectors)
            return self._state

    def write(self, records: Sequence[Record], *, replace: bool, fingerprint: str | None = None) -> list[str]:
        """Store a batch, all or nothing, and return its doc_ids."""
        with self._transaction() as connection:
            writing.fix_settings(connection, records, fingerprint)
            doc_ids = writing.store(connection, self._layout.vectors, records, replacing=replace)
        # The batch is stored; what fails here fails again, and is told, at the next lexical search.
        with suppress(NearfieldError), self._database.reading() as connection:
            self._lexical.index(self._advance(connection), connection, tolerated=LAG)
        return doc_ids

    def delete(self, doc_ids: Iterable[str]) -> int:
        """Delete documents and return how many there were."""
        with self._transaction() as connection:
            return writing.delete(connection, list(doc_ids))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._writing, self._told_failures():
            self._check_open()  # another thread may have closed it while this one waited
            self._writer_lock.acquire()
            connection = self._database.writer()
            try:
                connection.execute("BEGIN IMMEDIATE")
                if not self._has_written:
                    begin_session(connection, counters(connection).generation + 1, self._session)
                yield connection
                connection.execute("COMMIT")
                self._has_written = True
            finally:
                # After a commit there is nothing to roll back.
                connection.rollback()

    @contextmanager
    def _told_failures(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise self._database.failure(error) from error
        except OSError as error:
            raise NearfieldError(f"writing to {self._layout.root} failed: {error}; nothing was changed") from error

    def stats(self) -> Stats:
        """Return counts and sizes."""
        settings = self.settings
        self._check_open()
        with self._database.reading() as connection:
            state = self._advance(connection)
            passages, dead = writing.count_rows(connection)
        return Stats(
            documents=state.count,
            passages=passages,
            dead_passages=dead,
            dimension=settings.dimension,
            bytes=self._layout.sizes(),
            index={"kind": "exact", "asked": settings.index, "recall_target": settings.recall, "recall": 1.0},
            encoder=settings.encoder,
            generation=state.generation,
            format=files.VERSION,
            path=self.location,
        )

    def close(self) -> None:
        """Bring the BM25 index up to date, and release files and locks; calling it again does nothing."""
        if self._closed:
            return
        try:
            # What fails here fails again, and is told, at the next lexical search.
            with suppress(NearfieldError):
                if self._has_written:
                    with self._database.reading() as connection:
                        self._lexical.index(self._advance(connection), connection)
        finally:
            with self._writing:
                self._closed = True
                self._database.close()
                self._writer_lock.release()

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidInput(f"the collection at {self._layout.root} is closed; open it again")

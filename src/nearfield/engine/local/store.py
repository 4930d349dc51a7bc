"""`LocalEngine`: a collection in a folder."""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from nearfield.durable import make_folder
from nearfield.encode.identity import Identity
from nearfield.encode.protocol import Vectors
from nearfield.engine.local import compaction, migration, schema, writing
from nearfield.engine.local import layout as files
from nearfield.engine.local.care import check, snapshot
from nearfield.engine.local.changeover import making
from nearfield.engine.local.columns import Columns
from nearfield.engine.local.database import Database, begin_session, counters, keys_of, read_settings
from nearfield.engine.local.indexes import Indexes
from nearfield.engine.local.layout import Layout
from nearfield.engine.local.lock import FileLock
from nearfield.engine.local.segments import Folder
from nearfield.engine.local.state import State
from nearfield.engine.local.states import States
from nearfield.engine.local.upkeep import Upkeep
from nearfield.engine.local.view import LocalView, Viewing
from nearfield.engine.open import folder_of
from nearfield.engine.protocol import Bookmark, Capabilities, Record, Settings, Stats
from nearfield.engine.reports import Health, Snapshot
from nearfield.errors import CorruptCollection, InvalidInput, Locked, NearfieldError, NotFound
from nearfield.filters import Condition
from nearfield.forks import tell_of_forks
from nearfield.index.kinds import EXACT
from nearfield.index.tuning import Tuning
from nearfield.stages import stage

CLOSING_SECONDS = 5.0
"""How long a writer may go on, before it closes, giving back the space of what was deleted."""

CREATION_SECONDS = 10.0
"""How long to wait for another process that is making the same collection."""


class LocalEngine:
    """Documents in SQLite, vectors in mapped segments, words in a derived BM25 index.

    Args:
        root: The folder.
        settings: Makes a new collection with these if there is none at `root`.

    Raises:
        NotFound: there is no collection, and no settings to make one.
        InvalidInput: there is something else at the path.
        IncompatibleFormat: a newer version wrote it, or an older one, and it can't be written.
        CorruptCollection: its files can't be read.
    """

    capabilities = Capabilities(lexical=True, atomic_batches=True, migration=True, tuning=True)

    def __init__(self, root: Path, settings: Settings | None = None) -> None:
        self._layout = Layout(root)
        self._closed = False
        if settings is not None:
            self._create_if_absent(settings)
        manifest = files.read_manifest(self._layout)
        if manifest is None:
            raise NotFound(f"there is no collection at {root}; create one with nearfield.open or `nearfield add`")
        if manifest.version < files.VERSION:
            migration.migrate(self._layout)
            manifest = files.read_manifest(self._layout) or manifest
        self._database = Database(self._layout.database)
        with self._database.reading() as connection:
            self._settings = read_settings(connection)
            identity = schema.identity_of(connection)
        self._folder = Folder(self._layout.vectors, bytes.fromhex(identity))
        self._begin()
        if manifest.identity != identity:
            raise CorruptCollection(
                f"{self._layout.database} belongs to the collection {identity}, and {self._layout.manifest} to "
                f"{manifest.identity}; restore the collection from a snapshot"
            )
        tell_of_forks(self)

    def _begin(self) -> None:
        """Make what a process has of its own."""
        self._held_for_fork = False
        self._writer_lock = FileLock(self._layout.writer_lock)
        self._writing = threading.RLock()
        self._session = uuid.uuid4().hex
        self._has_written = False
        self._states = States(self._layout, self._folder)
        self._indexes = Indexes(self._layout, self._database, self._settings, self._states, self._told_failures)
        self._upkeep = Upkeep(self._layout, self._folder, self._database, self._states, self._transaction)

    def before_fork(self, deadline: float) -> None:
        """Close the connections, so that the child inherits none; waits for other threads to read and write."""
        self._held_for_fork = self._writing.acquire(timeout=max(0.0, deadline - time.monotonic()))
        self._indexes.pause(deadline)
        self._database.before_fork(deadline, nobody_writes=self._held_for_fork)

    def after_fork(self, *, in_child: bool) -> None:
        """Begin anew in the child: with connections, locks and a session of its own."""
        if not in_child:
            self._database.after_fork()
            self._indexes.go_on()
            if self._held_for_fork:
                self._held_for_fork = False
                self._writing.release()
            return
        self._writer_lock.release()
        self._indexes.neighbours.abandon()
        self._database.abandon()
        self._database = Database(self._layout.database)
        self._begin()

    def _create_if_absent(self, settings: Settings) -> None:
        deadline = time.monotonic() + CREATION_SECONDS
        while files.read_manifest(self._layout) is None:
            try:
                make_folder(self._layout.vectors)
                with FileLock(self._layout.writer_lock):
                    # Another process may have made it, and written to it, since the check.
                    if files.read_manifest(self._layout) is None:
                        identity = uuid.uuid4().hex
                        Database(self._layout.database).create(settings, identity)
                        files.write_manifest(self._layout, identity)
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
        if self._settings.identity is None or self._states.fingerprint not in (None, self._settings.fingerprint):
            # A process may have written the first batch since, or switched to another encoder's vectors.
            with self._database.reading() as connection:
                self._settings = read_settings(connection)
        return self._settings

    def view(self) -> Viewing:
        """Give the newest committed state."""
        self._check_open()
        return Viewing(self._database.reading(), self._view_of)

    def _view_of(self, connection: sqlite3.Connection) -> LocalView:
        state, columns = self._states.read(connection)
        self._indexes.before_search(state)
        return LocalView(connection, state, columns, self._indexes.lexical, self._indexes.neighbours)

    @contextmanager
    def _reading(self) -> Iterator[tuple[sqlite3.Connection, State, Columns]]:
        self._check_open()
        with self._database.reading() as connection:
            yield connection, *self._states.read(connection)

    def write(
        self,
        records: Sequence[Record],
        *,
        replace: bool,
        fingerprint: str | None = None,
        identity: Identity | None = None,
        bookmark: Bookmark | None = None,
    ) -> list[str]:
        """Store a batch, all or nothing, and return its doc_ids."""
        doc_ids: list[str] = []
        with self._transaction() as connection:
            if records:
                writing.fix_settings(connection, records, fingerprint, identity)
                doc_ids = writing.store(
                    connection, self._folder, records, replacing=replace, encoded=fingerprint is not None
                )
            if bookmark is not None:
                writing.write_bookmark(connection, bookmark)
        self._after_write(len(records))
        return doc_ids

    def delete(self, which: Iterable[str] | Condition) -> int:
        """Delete documents, by doc_ids or by a condition, and return how many there were."""
        with self._transaction() as connection:
            if isinstance(which, Condition):
                with self._database.reading() as reader:
                    # The same state as the transaction's: nobody else writes.
                    state, columns = self._states.read(reader)
                    keys = state.keys[columns.mask(which, state, reader)].tolist()
            else:
                keys = list(keys_of(connection, list(which)).values())
            if keys:
                writing.delete(connection, keys)
        self._after_write(len(keys))
        return len(keys)

    def bookmark(self, source: str) -> Bookmark | None:
        """Return how far the ingestion of a source has come; None if there is no bookmark."""
        self._check_open()
        with self._database.reading() as connection:
            return writing.read_bookmark(connection, source)

    def remove_bookmark(self, source: str) -> None:
        """Forget how far the ingestion of a source has come."""
        with self._transaction() as connection:
            writing.remove_bookmark(connection, source)

    def migration(self, settings: Settings) -> making.LocalMigration:
        """Begin to make vectors of another encoder, or go on with that."""
        return making.begin(self._home(), settings)

    def give_up_migration(self) -> bool:
        """Remove what a migration has made, and return whether there was one."""
        return making.give_up(self._home())

    def _home(self) -> making.Home:
        self._check_open()
        return making.Home(
            self._layout,
            self._folder,
            self._database,
            self._indexes.lexical,
            self._reading,
            self._alone,
            self._transaction,
        )

    def tune(self, asked: Vectors | None = None, *, build: bool = True) -> Tuning | None:
        """Bring the index up to date now, and return what it was measured to do."""
        self._check_open()
        if build:
            with self._told_failures():
                state = self._indexes.state()
                if asked is None:
                    self._indexes.neighbours.settle(state)  # waits for a thread that is at it already
                if asked is not None or self._index_lags(state):
                    self._indexes.neighbours.renew(state, asked)
        with self._reading() as (connection, state, _):
            return self._indexes.neighbours.tuning(state, connection)

    def _index_lags(self, state: State) -> bool:
        """Return whether the index isn't the one that would be built now."""
        with self._database.reading() as connection:
            told = self._indexes.neighbours.report(state, connection)
        if not told["wanted"]:
            return bool(told["indexed"])
        return bool(told["scanned"] or told["dead"] or told["kind"] not in (told["wanted"], EXACT))

    def compact(self) -> None:
        """Free the space of deleted and replaced documents now."""
        with self._writing, self._told_failures():
            with self._transaction():
                pass  # takes the lock, and tells that somebody else has it
            self._indexes.compact()
            self._upkeep.compact()
            self._states.compress()
            self._indexes.neighbours.compact(self._indexes.state())

    def _after_write(self, changed: int) -> None:
        # The batch is stored; damage in one derived part must not keep the others from being looked after.
        with self._writing:
            if self._closed:  # by another thread
                return
            with self._indexes.noted_failures():
                self._indexes.after_write()
            with self._indexes.noted_failures():
                self._upkeep.after_write(changed)

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
                with stage("commit"):
                    connection.execute("COMMIT")
                first, self._has_written = not self._has_written, True
                if first:
                    # A process that was killed may have left files that it didn't commit, or didn't remove.
                    compaction.remove_dropped(connection, self._folder)
            finally:
                # After a commit there is nothing to roll back.
                connection.rollback()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let nobody else write, in this process or another."""
        with self._writing, self._told_failures():
            self._check_open()
            self._writer_lock.acquire()
            yield

    @contextmanager
    def _told_failures(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise self._database.failure(error) from error
        except OSError as error:
            raise NearfieldError(f"writing to {self._layout.root} failed: {error}; nothing was changed") from error

    def check(self) -> Health:
        """Return what a look through all files finds."""
        self._check_open()
        return check.check(self._layout.root)

    def snapshot(self, path: str | Path) -> Snapshot:
        """Copy the newest committed state to a folder, or bring an older snapshot there up to date."""
        self._check_open()
        return snapshot.take(self._layout, self._database, folder_of(path))

    def stats(self) -> Stats:
        """Return counts and sizes."""
        settings = self.settings
        self._check_open()
        with self._database.reading() as connection:
            state, _ = self._states.read(connection)
            free, _ = compaction.free_pages(connection)
            (page,) = connection.execute("PRAGMA page_size").fetchone()
            self._indexes.before_search(state)  # who waits for the index asks here how far it is
            index = self._indexes.neighbours.report(state, connection)
        return Stats(
            documents=state.count,
            passages=state.live_rows,
            dead_passages=state.dead_rows,
            dimension=settings.dimension,
            bytes=self._layout.sizes(),
            dead_bytes=state.dead_rows * (settings.dimension or 0) * 4 + free * page,
            index=index,
            encoder=settings.encoder,
            generation=state.generation,
            format=files.VERSION,
            path=self.location,
            migration=making.under_way(self._layout, self._folder.identity.hex(), state),
        )

    def settle(self) -> None:
        """Bring the derived parts up to date: indexes, and the saved columns; give back space for a while.

        Raises:
            Locked: another process is writing.
        """
        with self._alone():
            deadline = time.monotonic() + CLOSING_SECONDS
            with self._indexes.settling_vectors():
                try:
                    self._indexes.settle_words()
                finally:
                    self._upkeep.before_close(deadline)
                self._indexes.settle(deadline)

    def close(self) -> None:
        """Bring the indexes up to date, and release files and locks; calling it again does nothing."""
        if self._closed:
            return
        try:
            self._indexes.close()
            # What fails here fails again, and is told, at the next lexical search.
            with suppress(NearfieldError):
                if self._has_written:
                    self.settle()
        finally:
            self._indexes.end()
            with self._writing:
                self._closed = True
                self._database.close()
                self._writer_lock.release()
            self._indexes.end()

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidInput(f"the collection at {self._layout.root} is closed; open it again")

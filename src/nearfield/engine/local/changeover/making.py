"""`LocalMigration`: makes a collection's vectors anew beside those that are searched, and puts them in their place."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass

import numpy as np

from nearfield.engine.local import writing
from nearfield.engine.local.changeover import switch
from nearfield.engine.local.changeover.candidate import CandidateView
from nearfield.engine.local.changeover.damage import damage
from nearfield.engine.local.changeover.progress import Made, Progress
from nearfield.engine.local.columns import Columns
from nearfield.engine.local.database import Database, select_in, stored, text_sum
from nearfield.engine.local.layout import Layout
from nearfield.engine.local.lexical import LexicalKeeper
from nearfield.engine.local.lock import FileLock
from nearfield.engine.local.segments import Folder
from nearfield.engine.local.state import State
from nearfield.engine.protocol import Keys, Record, Settings, Stored
from nearfield.errors import Conflict, CorruptCollection, Locked, NearfieldError
from nearfield.forks import tell_of_forks

Reading = Callable[[], AbstractContextManager[tuple[sqlite3.Connection, State, Columns]]]
Transaction = Callable[[], AbstractContextManager[sqlite3.Connection]]

AT_ONCE = 256
"""Documents that are encoded together while writers wait."""

REPEATS = 3
"""How often vectors are made again that are not what was written, before that is an error."""


@dataclass(frozen=True, slots=True)
class Home:
    """What a migration needs of the collection's engine.

    Args:
        layout: Its files.
        folder: Its segments.
        database: Its tables.
        lexical: Searches its words.
        reading: Gives the newest committed state.
        alone: Within it, nobody else writes to the collection.
        transaction: Gives the writer's connection within a transaction that is committed at the end.
    """

    layout: Layout
    folder: Folder
    database: Database
    lexical: LexicalKeeper
    reading: Reading
    alone: Callable[[], AbstractContextManager[None]]
    transaction: Transaction


def begin(home: Home, settings: Settings) -> LocalMigration:
    """Return the migration to an encoder; one that was begun goes on.

    Args:
        home: The collection.
        settings: Those that it is to have.

    Raises:
        Conflict: a migration to another encoder was begun.
        Locked: another process or thread is migrating the collection.
    """
    lock = _locked(home)
    progress = _progress(home)
    try:
        with _told(home):
            with home.reading() as (_, state, _):
                fingerprint = state.fingerprint
            known = progress.target(fingerprint)
            if known is not None and known.fingerprint != settings.fingerprint:
                raise Conflict(
                    f"a migration of {home.layout.root} to the encoder {known.encoder!r} has made the vectors of "
                    f"{progress.count()} documents; finish it, or give it up (Collection.give_up_migration, `nearfield "
                    "migrate --give-up`)"
                )
            migration = LocalMigration(home, progress, lock, settings)
            migration.prepare(known, fingerprint)
    except BaseException:
        progress.close()
        lock.release()
        raise
    return migration


def give_up(home: Home) -> bool:
    """Remove what a migration has made so far; return whether there was one.

    Raises:
        Locked: another process or thread is migrating the collection.
    """
    lock = _locked(home)
    try:
        with _told(home), closing(_progress(home)) as progress:
            with home.reading() as (_, state, _):
                was = progress.target(state.fingerprint) is not None
            progress.remove()
    finally:
        lock.release()
    return was


def under_way(layout: Layout, identity: str, state: State) -> dict[str, object] | None:
    """Return the migration that was begun: encoder, done and total documents; None if there is none."""
    if not layout.migration.exists():
        return None
    with closing(Progress(layout.migration, identity, read_only=True)) as progress:
        try:
            target = progress.target(state.fingerprint)
            done = progress.count() if target is not None else 0
        except NearfieldError:  # removed meanwhile, or to begin anew
            return None
    if target is None:
        return None
    return {"encoder": target.encoder, "done": min(done, state.count), "total": state.count}


def _progress(home: Home) -> Progress:
    return Progress(home.layout.migration, home.folder.identity.hex())


def _locked(home: Home) -> FileLock:
    lock = FileLock(home.layout.migration_lock)
    try:
        lock.acquire()
    except Locked as error:
        raise Locked(
            f"{home.layout.root} is being migrated by another process or thread already; `nearfield stats` shows how "
            "far it is"
        ) from error
    except OSError as error:
        raise NearfieldError(f"{home.layout.root} can't be migrated, since it can't be written: {error}") from error
    return lock


@contextmanager
def _told(home: Home) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise home.database.failure(error) from error
    except OSError as error:
        raise NearfieldError(
            f"the migration of {home.layout.root} failed: {error}; what is searched was not changed, and the same "
            "call goes on from here"
        ) from error


class LocalMigration:
    """Vectors of another encoder in the making; `nearfield.engine.migration.Migration` describes the methods."""

    def __init__(self, home: Home, progress: Progress, lock: FileLock, settings: Settings) -> None:
        self._home = home
        self._progress = progress
        self._lock = lock
        self._settings = settings
        tell_of_forks(self)

    def before_fork(self, deadline: float) -> None:
        """Let the progress close its connections."""
        self._progress.before_fork(deadline)

    def after_fork(self, *, in_child: bool) -> None:
        """Leave the migration to the parent."""
        self._progress.after_fork(in_child=in_child)
        if in_child:
            self._lock.release()

    def prepare(self, known: Settings | None, fingerprint: str | None) -> None:
        """Begin, or look at what was made before: what is missing, damaged, or of other documents is made again."""
        if known is None or known.dimension != self._settings.dimension:
            self._progress.begin(self._settings, fingerprint)
            return
        try:
            if known != self._settings:
                self._progress.rename(self._settings)
            self._progress.stamp(self._settings.dimension or 0)
            self._drop_damaged()
            self._drop_strange()
        except NearfieldError as error:
            if not isinstance(error, CorruptCollection):
                raise
            self._progress.begin(self._settings, fingerprint)

    @property
    def settings(self) -> Settings:
        """What the collection is to have."""
        return self._settings

    def pending(self) -> Keys:
        """Return the keys of the documents without new vectors, in the order of addition."""
        with _told(self._home), self._home.reading() as (_, state, _):
            keys = state.keys[state.live]
            return keys[~np.isin(keys, self._progress.keys(), assume_unique=True)]

    def given(self) -> int:
        """Return how many documents have vectors that were given."""
        with _told(self._home), self._home.reading() as (connection, _, _):
            (count,) = connection.execute("SELECT count(*) FROM documents WHERE NOT encoded").fetchone()
        return int(count)

    def read(self, keys: Keys) -> list[Stored]:
        """Return those of some documents that are still there."""
        with _told(self._home), self._home.reading() as (connection, _, _):
            there = {key for (key,) in select_in(connection, "SELECT key FROM documents WHERE key IN", keys.tolist())}
            return stored(connection, [key for key in keys.tolist() if key in there])

    def store(self, documents: Sequence[Stored], records: Sequence[Record]) -> None:
        """Keep the new vectors of documents; those that were deleted meanwhile are passed over."""
        with _told(self._home):
            made = self._made(documents, records)
            kept = [record for record, one in zip(records, made, strict=True) if one is not None]
            if not kept:
                return
            vectors = np.concatenate([record.vectors for record in kept])
            counts = np.array([len(record.spans) for record in kept], np.int64)
            self._progress.add([one for one in made if one is not None], vectors, counts)

    def _made(self, documents: Sequence[Stored], records: Sequence[Record]) -> list[Made | None]:
        statement = (
            "SELECT key, text_sum, doc_id, title, text, metadata FROM documents JOIN texts USING (key) WHERE key IN"
        )
        with self._home.reading() as (connection, _, _):
            keys = [document.key for document in documents]
            rows = {row[0]: row[1:] for row in select_in(connection, statement, keys)}
        return [
            None if document.key not in rows else _made(document, record, *rows[document.key])
            for document, record in zip(documents, records, strict=True)
        ]

    @contextmanager
    def view(self) -> Iterator[CandidateView]:
        """Give the newest committed state with the new vectors, of the documents that have them."""
        with self._home.reading() as (connection, state, columns):
            yield CandidateView(connection, state, columns, self._home.lexical, self._progress, self._settings)

    def switch(self, encode: Callable[[Sequence[Stored]], Sequence[Record]]) -> None:
        """Give the collection the new vectors, in one step."""
        with _told(self._home):
            with self._home.alone():
                self._complete(encode)
                switch.carry_out(self._home.folder, self._progress, self._settings, self._home.transaction)
                switch.clear(self._home.database.writer(), self._home.folder)
            with suppress(OSError):  # what stays is of no use, and the next migration removes it
                self._progress.remove()

    def _complete(self, encode: Callable[[Sequence[Stored]], Sequence[Record]]) -> None:
        for _ in range(REPEATS):
            pending = self.pending()
            for start in range(0, len(pending), AT_ONCE):
                documents = self.read(pending[start : start + AT_ONCE])
                self.store(documents, encode(documents))
            if not self._drop_damaged():
                return
        raise CorruptCollection(
            f"{self._progress.folder.path}: vectors are not what was written, again and again; is the disk at fault?"
        )

    def _drop_damaged(self) -> bool:
        """Forget new vectors that are not what was written, and return whether there were any."""
        documents, segments = damage(self._progress, self._settings)
        if documents or segments:
            self._progress.forget(documents, segments)
        return bool(documents or segments)

    def _drop_strange(self) -> None:
        """Forget the new vectors of documents that are others now: the tables may have been put back from a backup."""
        for sums in self._progress.sums():
            with self._home.reading() as (connection, _, _):
                statement = "SELECT key, text_sum FROM documents WHERE key IN"
                there = dict(select_in(connection, statement, [key for key, _ in sums]))
            strange = [key for key, known in sums if there.get(key) != known]
            if strange:
                self._progress.forget(strange)

    def give_up(self) -> None:
        """Remove what was made."""
        with _told(self._home):
            self._progress.remove()

    def close(self) -> None:
        """Release files and the lock; what was made stays."""
        self._progress.close()
        self._lock.release()


def _made(document: Stored, record: Record, known: int, doc_id: str, title: str, text: str, metadata: str) -> Made:
    if record.spans == document.spans:
        return Made(document.key, known, known, resplit=False, spans=None)
    spans = writing.spans_of(record)
    return Made(
        document.key, known, text_sum(document.key, doc_id, title, text, metadata, spans), resplit=True, spans=spans
    )

"""Older formats become today's when a process that may write opens them."""

from __future__ import annotations

import sqlite3
import uuid

import numpy as np

from nearfield.engine.local import layout as files
from nearfield.engine.local import schema, writing
from nearfield.engine.local.blocks import NO_BLOCKS
from nearfield.engine.local.database import Database, read_settings, segments, text_sum
from nearfield.engine.local.layout import Layout
from nearfield.engine.local.lock import FileLock
from nearfield.engine.local.segments import Folder
from nearfield.errors import IncompatibleFormat
from nearfield.index.rows import Rows

WAIT_SECONDS = 60.0
"""How long to wait for another process that is doing the same."""

AT_ONCE = 1000

_FROM_1 = """
ALTER TABLE state ADD COLUMN next_segment INTEGER NOT NULL DEFAULT 0;
ALTER TABLE state ADD COLUMN history INTEGER NOT NULL DEFAULT 0;
ALTER TABLE state ADD COLUMN identity TEXT NOT NULL DEFAULT '';
ALTER TABLE documents ADD COLUMN encoded INTEGER NOT NULL DEFAULT 0;
ALTER TABLE documents ADD COLUMN text_sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE documents ADD COLUMN vector_sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deletions DROP COLUMN n_rows;
CREATE TABLE moves (key INTEGER PRIMARY KEY, generation INTEGER NOT NULL);
CREATE INDEX moves_by_generation ON moves (generation);
CREATE TABLE bookmarks (source TEXT PRIMARY KEY, position INTEGER NOT NULL, digest TEXT NOT NULL) WITHOUT ROWID;
"""


def migrate(layout: Layout) -> None:
    """Bring a collection of an older format to today's; one that was cut off is done again.

    Raises:
        IncompatibleFormat: the folder can't be written.
        Locked: another process is writing.
    """
    try:
        with FileLock(layout.writer_lock, WAIT_SECONDS):
            manifest = files.read_manifest(layout)
            if manifest is None or manifest.version == files.VERSION:
                return
            database = Database(layout.database)
            try:
                files.write_manifest(layout, _migrate_tables(database.writer(), layout))
            except sqlite3.DatabaseError as error:
                raise database.failure(error) from error
            finally:
                database.close()
    except OSError as error:
        raise IncompatibleFormat(
            f"{layout.root} has an older format, and can't be written ({error}); let a process that may write open it "
            "once"
        ) from error


def _migrate_tables(connection: sqlite3.Connection, layout: Layout) -> str:
    """Change the tables in one transaction, and return the collection's identity."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < schema.VERSION:
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in _FROM_1.strip().split(";")[:-1]:
                connection.execute(statement)
            _fill_sums(connection, Folder(layout.vectors, bytes(16)))
            # A number is left out, so that no old segment grows: its header names neither it nor the collection.
            connection.execute(
                "UPDATE state SET identity = ?, next_segment = (SELECT coalesce(max(number), -2) + 2 FROM segments)",
                (uuid.uuid4().hex,),
            )
            connection.execute(f"PRAGMA user_version = {schema.VERSION}")
            connection.execute("COMMIT")
        finally:
            connection.rollback()
    # From now on, free pages can be cut off the file.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("VACUUM")
    return schema.identity_of(connection)


def _fill_sums(connection: sqlite3.Connection, folder: Folder) -> None:
    dimension = read_settings(connection).dimension or 0
    blocks = NO_BLOCKS.advanced(folder, segments(connection), dimension)
    last = 0
    while rows := connection.execute(
        "SELECT key, doc_id, title, text, metadata, spans, first_row, n_rows FROM documents JOIN texts USING (key) "
        "WHERE key > ? ORDER BY key LIMIT ?",
        (last, AT_ONCE),
    ).fetchall():
        firsts, counts = np.array([row[6:] for row in rows], np.int64).T
        places = Rows(blocks.arrays, blocks.starts, firsts, counts)
        vectors = places.gather(places.of(np.arange(len(rows))))
        sums = zip(rows, writing.vector_sums(vectors, counts), strict=True)
        connection.executemany(
            "UPDATE documents SET text_sum = ?, vector_sum = ? WHERE key = ?",
            [(text_sum(*row[:6]), vector_sum, row[0]) for row, vector_sum in sums],
        )
        last = rows[-1][0]

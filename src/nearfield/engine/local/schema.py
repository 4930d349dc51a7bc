"""The tables of the local engine's database, and how those of older formats become today's."""

from __future__ import annotations

import re
import sqlite3

VERSION = 2
"""Of the tables; kept as SQLite's `user_version`, which version 1 left at 0."""

TABLES = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE state (
    generation INTEGER NOT NULL,      -- committed writes
    next_key INTEGER NOT NULL,        -- of the next document
    next_number INTEGER NOT NULL,     -- the least that a document without a doc_id may get
    next_segment INTEGER NOT NULL,    -- number of the next segment
    history INTEGER NOT NULL,         -- the generation from which deletions and moves are all known
    identity TEXT NOT NULL            -- of the collection: 32 hexadecimal digits, also in the manifest and segments
);
CREATE TABLE segments (number INTEGER PRIMARY KEY, first_row INTEGER NOT NULL, rows INTEGER NOT NULL);
CREATE TABLE documents (
    key INTEGER PRIMARY KEY,
    doc_id TEXT NOT NULL UNIQUE,
    first_row INTEGER NOT NULL,
    n_rows INTEGER NOT NULL,
    metadata TEXT NOT NULL,           -- a JSON object
    encoded INTEGER NOT NULL,         -- 1: the vectors are the encoder's; 0: they were given
    text_sum INTEGER NOT NULL,        -- CRC-32 of the document without its vectors
    vector_sum INTEGER NOT NULL       -- CRC-32 of its rows
);
CREATE TABLE texts (
    key INTEGER PRIMARY KEY,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    spans TEXT                        -- a JSON list of [start, end); NULL for one passage, the whole text
);
CREATE TABLE deletions (key INTEGER PRIMARY KEY, generation INTEGER NOT NULL);
CREATE INDEX deletions_by_generation ON deletions (generation);
CREATE TABLE moves (key INTEGER PRIMARY KEY, generation INTEGER NOT NULL);
CREATE INDEX moves_by_generation ON moves (generation);
CREATE TABLE sessions (first_generation INTEGER PRIMARY KEY, token TEXT NOT NULL);
CREATE TABLE bookmarks (source TEXT PRIMARY KEY, position INTEGER NOT NULL, digest TEXT NOT NULL) WITHOUT ROWID;
"""


def create(connection: sqlite3.Connection, identity: str) -> None:
    """Make the tables in an empty file, in a transaction that the caller commits."""
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript("BEGIN;" + TABLES)
    connection.execute("INSERT INTO state VALUES (0, 1, 0, 0, 0, ?)", (identity,))
    connection.execute(f"PRAGMA user_version = {VERSION}")


def identity_of(connection: sqlite3.Connection) -> str:
    """Return the collection's identity."""
    (identity,) = connection.execute("SELECT identity FROM state").fetchone() or ("",)
    if not re.fullmatch("[0-9a-f]{32}", str(identity)):
        raise sqlite3.DatabaseError(f"the collection's identity is {identity!r}")
    return str(identity)

"""A connection to the SQLite file, and what SQLite's errors mean for the collection."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from nearfield.errors import CorruptCollection, NearfieldError

UNUSABLE: set[Path] = set()
"""Files that this process can't open, since it was forked while its parent used them."""

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


class Connection(sqlite3.Connection):
    """A connection that knows whether it takes the file for one that never changes."""

    immutable = False


def connect(file: Path, *, read_only: bool, pages: int | None = None) -> Connection:
    """Return a connection that any thread may use, one at a time; it keeps so many pages of the file, if given.

    Raises:
        CorruptCollection: the file is missing, or is no database.
        NearfieldError: it can't be opened for another reason.
    """
    if file in UNUSABLE:
        raise NearfieldError(
            f"{file} was in use when this process was forked from another, and can't be used here; fork while nobody "
            "reads or writes, or start processes by 'spawn'"
        )
    if not file.exists():
        raise CorruptCollection(f"{file} is missing; restore it from a snapshot")
    access = _access(file, read_only)
    connection = sqlite3.connect(
        f"{file.absolute().as_uri()}?{access}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=30.0,
        factory=Connection,
    )
    connection.immutable = "immutable" in access
    try:
        connection.execute("PRAGMA schema_version")  # reads the file's head
        if pages is not None:
            connection.execute(f"PRAGMA cache_size = {pages}")
    except sqlite3.DatabaseError as error:
        connection.close()
        raise failure(file, error) from error
    return connection


def _access(file: Path, read_only: bool) -> str:
    if os.access(file, os.W_OK) and os.access(file.parent, os.W_OK):
        return "mode=ro" if read_only else "mode=rw"
    # Reading a write-ahead log needs a file beside it. Where there is no log, nobody is writing, and where the folder
    # can't be written either, SQLite must be told so.
    return "mode=ro" if file.with_name(file.name + "-wal").exists() else "mode=ro&immutable=1"


def failure(file: Path, error: sqlite3.DatabaseError) -> NearfieldError:
    """Return what an error of SQLite means for the collection."""
    # The low byte is the kind of error, the rest its details.
    if (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in _NOT_THE_FILE:
        return NearfieldError(f"{file}: {error}; nothing was changed, and what was stored before is whole")
    return CorruptCollection(f"{file} can't be read as a collection's database ({error}); restore it from a snapshot")

"""Reading a damaged SQLite file: row by row, around what can't be read.

All of it happens on a copy, since SQLite may write to what it opens. If the first page is damaged, which holds the
names and places of the tables, that of a new database takes its place: the same tables, made in the same order, lie in
the same places.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeAlias

from nearfield.engine.local import schema
from nearfield.engine.local.care.check_tables import has_tables
from nearfield.engine.local.care.inspection import AT_ONCE, trouble_of
from nearfield.errors import CorruptCollection

MOST_KEYS = 1 << 20
"""Keys that are tried where nothing says which there are."""

MOST_FAILURES = 200_000
"""Readings that fail before no more is tried."""

Row: TypeAlias = tuple[Any, ...]

_DOCUMENT = """
SELECT key, CAST(doc_id AS BLOB), first_row, n_rows, CAST(metadata AS BLOB), text_sum, vector_sum, encoded,
    typeof(doc_id) = 'text' AND typeof(metadata) = 'text' AND encoded IN (0, 1) AND typeof(encoded) = 'integer',
    typeof(first_row) = 'integer' AND typeof(n_rows) = 'integer' AND typeof(vector_sum) = 'integer'
        AND n_rows > 0 AND first_row >= 0 AND first_row + n_rows < 1 << 48 AND doc_id IS NOT NULL
FROM documents WHERE key BETWEEN ? AND ? ORDER BY key
"""
_TEXT = """
SELECT key, CAST(title AS BLOB), CAST(text AS BLOB), CAST(spans AS BLOB),
    typeof(title) = 'text' AND typeof(text) = 'text' AND typeof(spans) IN ('text', 'null')
FROM texts WHERE key BETWEEN ? AND ? ORDER BY key
"""
_NOTHING = (None, None, None, False)


class Found:
    """A document as it was found: its rows in the two tables, as far as they can be read, and what is wrong."""

    def __init__(self, key: int, document: Row | None, text: Row | None) -> None:
        self.key = key
        self._document = document
        self._text = text
        self.trouble = "has a row in the table 'documents' that can't be read"
        if document is not None:
            _, doc_id, first, count, metadata, text_sum, vector_sum, _, typed, placed = document
            title, content, spans, text_typed = text[1:] if text else _NOTHING
            texts = (title, content, spans, text is not None, typed and text_typed)
            self.trouble = trouble_of((key, doc_id, first, count, metadata, text_sum, vector_sum, *texts, placed))

    @property
    def doc_id(self) -> str:
        """Its doc_id; "" if that can't be read."""
        return _text_of(self._document[1]) if self._document else ""

    def rows(self) -> tuple[Row, Row]:
        """Return what goes into the two tables; for a document without trouble."""
        assert self._document and self._text  # or there were trouble
        key, doc_id, first, count, metadata, text_sum, vector_sum, encoded, _, _ = self._document
        _, title, text, spans, _ = self._text
        document = (key, doc_id.decode(), first, count, metadata.decode(), encoded, text_sum, vector_sum)
        return document, (key, title.decode(), text.decode(), None if spans is None else spans.decode())

    def remains(self) -> dict[str, Any]:
        """Return what can be read, for people; bytes that are no UTF-8 as \\xNN."""
        names = ("doc_id", "metadata", "title", "text", "spans")
        values = [*((self._document[1], self._document[4]) if self._document else (None, None))]
        values += self._text[1:4] if self._text else (None, None, None)
        return {"key": self.key, **{name: _text_of(value) for name, value in zip(names, values, strict=True)}}


def _text_of(value: object) -> str:
    return (
        value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else "" if value is None else str(value)
    )


class Salvage:
    """A damaged database, open for reading what can be read.

    Args:
        copy: A copy of the file, with its write-ahead log beside it; it is changed.

    `all_rows` and `all_names` tell, once they were read, whether all documents and all doc_ids in the index were.

    Raises:
        CorruptCollection: nothing can be read.
    """

    def __init__(self, copy: Path) -> None:
        self.all_rows = self.all_names = True
        self._failures = 0
        self.connection = _opened(copy)
        if not _readable(self.connection):
            self.connection.close()
            _replace_first_page(copy)
            self.connection = _opened(copy)
            if not _readable(self.connection):
                self.connection.close()
                raise CorruptCollection(f"nothing can be read of {copy.name}; restore the collection from a snapshot")

    def close(self) -> None:
        """Close the copy."""
        self.connection.close()

    def rows(self, statement: str) -> list[Row]:
        """Return what a statement finds until it fails."""
        found: list[Row] = []
        with suppress(sqlite3.DatabaseError):
            found.extend(self.connection.execute(statement))
        return found

    def number(self, statement: str) -> int:
        """Return the integer that a statement finds; 0 if there is none."""
        rows = self.rows(statement)
        return rows[0][0] if rows and type(rows[0][0]) is int else 0

    def documents(self) -> Iterator[Found]:
        """Yield every document of which a row can be read, in the order of the keys."""
        try:
            (last,) = self.connection.execute(
                "SELECT max(coalesce((SELECT max(key) FROM documents), 0), coalesce((SELECT max(key) FROM texts), 0))"
            ).fetchone()
        except sqlite3.DatabaseError:
            self.all_rows = False
            last = self.number("SELECT next_key FROM state") or MOST_KEYS
        first = 1
        while first <= last:
            documents = self._between(_DOCUMENT, first, first + AT_ONCE - 1)
            texts = self._between(_TEXT, first, first + AT_ONCE - 1)
            for key in sorted(documents.keys() | texts.keys()):
                yield Found(key, documents.get(key), texts.get(key))
            first = self._next(first + AT_ONCE)

    def _next(self, first: int) -> int:
        """Return the next key that there may be."""
        found = []
        for table in ("documents", "texts"):
            try:
                (key,) = self.connection.execute(f"SELECT min(key) FROM {table} WHERE key >= ?", (first,)).fetchone()
            except sqlite3.DatabaseError:
                self.all_rows = False
                self._failures += 1
                return first if self._failures < MOST_FAILURES else 1 << 62
            found += [key] if key is not None else []
        return min(found, default=1 << 62)

    def _between(self, statement: str, first: int, last: int) -> dict[int, Row]:
        """Return the rows of some keys, by these, halving the range around each that can't be read."""
        found: dict[int, Row] = {}
        ranges = [(first, last)]
        while ranges:
            low, high = ranges.pop()
            try:
                # From a page of zeros, SQLite reads keys that were not asked for.
                rows = self.connection.execute(statement, (low, high)).fetchall()
                found |= {row[0]: row for row in rows if low <= row[0] <= high}
            except sqlite3.DatabaseError:
                self.all_rows = False
                self._failures += 1
                middle = (low + high) // 2
                if low < high and self._failures < MOST_FAILURES:
                    ranges += [(middle + 1, high), (low, middle)]
        return found

    def named(self) -> dict[int, str]:
        """Return the doc_ids by their keys that the table's index has, which lies apart from the table."""
        statement = "SELECT key, CAST(doc_id AS BLOB) FROM documents INDEXED BY sqlite_autoindex_documents_1"
        rows: list[Row] = []
        for order in ("ASC", "DESC"):
            try:
                rows += self.connection.execute(f"{statement} ORDER BY doc_id {order}").fetchall()
                break
            except sqlite3.DatabaseError:
                self.all_names = False
                rows += self.rows(f"{statement} ORDER BY doc_id {order}")
        return {key: _text_of(doc_id) for key, doc_id in rows if key > 0 and doc_id}


def _opened(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None)
    with suppress(sqlite3.DatabaseError):
        # Lets a file open that is shorter than it says, or has a table that can't be understood.
        connection.execute("PRAGMA writable_schema = ON")
    return connection


def _readable(connection: sqlite3.Connection) -> bool:
    try:
        return has_tables(connection)
    except sqlite3.DatabaseError:
        return False


def _replace_first_page(file: Path) -> None:
    fresh = file.with_name("fresh.sqlite")
    with closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
        schema.create(connection, "0" * 32)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = DELETE").fetchall()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    page = bytearray(fresh.read_bytes()[:size])
    fresh.unlink()
    # Pages in the file, and a list of free pages that is empty (https://www.sqlite.org/fileformat2.html, 1.3).
    struct.pack_into(">III", page, 28, max(1, file.stat().st_size // size), 0, 0)
    page[92:96] = page[24:28]
    with file.open("r+b") as stream:
        stream.write(page)

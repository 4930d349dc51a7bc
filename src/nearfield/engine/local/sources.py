"""Where the BM25 index takes documents from: one transaction, or many short ones."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from nearfield.engine.local.database import Database, counters, rising, session_of
from nearfield.engine.local.state import State
from nearfield.lexical.marker import Marker

PORTION = 1000
"""Documents that are read in one short transaction."""

_TEXTS = "SELECT key, title || char(10) || text FROM texts WHERE key >= ? AND key < ? ORDER BY key"


class Source(Protocol):
    """Gives documents, and says what they are."""

    def connection(self) -> AbstractContextManager[sqlite3.Connection]:
        """Give a connection in a transaction, for looking something up."""
        ...

    def texts(self, first: int, end: int) -> Iterator[tuple[int, str]]:
        """Yield the keys from one up to another, each with its document's title and text."""
        ...

    def after(self, next_key: int) -> Marker:
        """Return generation and session of the state up to which documents were read, with a `next_key`."""
        ...


class OneState:
    """The documents of one state, read in its transaction."""

    def __init__(self, state: State, connection: sqlite3.Connection) -> None:
        self._state = state
        self._connection = connection

    def connection(self) -> AbstractContextManager[sqlite3.Connection]:
        """Give the transaction's connection."""
        return nullcontext(self._connection)

    def texts(self, first: int, end: int) -> Iterator[tuple[int, str]]:
        """Yield keys and texts."""
        return rising(self._connection.execute(_TEXTS, (first, end)))

    def after(self, next_key: int) -> Marker:
        """Return what is read by then."""
        generation = self._state.generation
        return Marker(generation=generation, next_key=next_key, session=session_of(self._connection, generation))


class Portions:
    """The documents of the newest states, a portion from each, so that no transaction holds up the write-ahead log.

    Documents that are deleted between two portions may be read or not: they are in no state from `after` on.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def connection(self) -> AbstractContextManager[sqlite3.Connection]:
        """Give a connection that sees the newest state."""
        return self._database.reading()

    def texts(self, first: int, end: int) -> Iterator[tuple[int, str]]:
        """Yield keys and texts."""
        while True:
            with self._database.reading() as connection:
                rows = connection.execute(f"{_TEXTS} LIMIT {PORTION}", (first, end)).fetchall()
            yield from rising(rows, first - 1)
            if len(rows) < PORTION:
                return
            first = rows[-1][0] + 1

    def after(self, next_key: int) -> Marker:
        """Return what is read by then."""
        with self._database.reading() as connection:
            generation = counters(connection).generation
            return Marker(generation=generation, next_key=next_key, session=session_of(connection, generation))

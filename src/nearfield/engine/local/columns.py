"""Fields of the metadata as columns in memory, so that a condition on 100,000 documents takes milliseconds.

A column holds a code for each slot and the distinct values that the codes stand for. A test is then one look at each
distinct value, and it means exactly what `nearfield.filters` says, since that is what decides each value.
"""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfield.engine.local.state import State
from nearfield.filters import MISSING, Condition, Test, Value, kind, look_up

MASKS = 64
"""Conditions whose answers are kept."""

EXACT_INTEGERS = 2**53
"""Integers below it are exact as float64."""

# Keys that SQLite's JSON path can quote as they are.
_PLAIN_KEY = re.compile(r'[^"\\\x00-\x1f]+')
_ORDERINGS = {"$gt": np.greater, "$gte": np.greater_equal, "$lt": np.less, "$lte": np.less_equal, "$eq": np.equal}


@dataclass(frozen=True, slots=True)
class Column:
    """One field of all documents.

    Args:
        generation: The state it was read from; it serves that and later ones.
        next_key: Documents below this key are in it.
        codes: int32 `(slots,)`, places in `values`.
        codebook: The code of each value's JSON text.
        values: The distinct values; the first is `MISSING`.
    """

    generation: int
    next_key: int
    codes: NDArray[np.int32]
    codebook: dict[str | None, int]
    values: list[Value]


NEW = Column(-1, 1, np.empty(0, np.int32), {None: 0}, [MISSING])


class Columns:
    """The columns that were asked for, and the answers to recent conditions."""

    def __init__(self) -> None:
        self._columns: dict[str, Column] = {}
        self._masks: OrderedDict[tuple[int, str], NDArray[np.bool_]] = OrderedDict()
        self._lock = threading.Lock()

    def mask(self, condition: Condition, state: State, connection: sqlite3.Connection) -> NDArray[np.bool_]:
        """Return which slots hold a document that matches, bool `(slots,)`.

        Raises:
            InvalidInput: a document's value can't compare with the condition's.
        """
        asked = (state.generation, repr(condition))
        with self._lock:
            if asked in self._masks:
                self._masks.move_to_end(asked)
                return self._masks[asked]
        mask = condition.evaluate(lambda test: _holds(test, self._column(test.field, state, connection), state.live))
        mask = mask & state.live
        with self._lock:
            self._masks[asked] = mask
            if len(self._masks) > MASKS:
                self._masks.popitem(last=False)
        return mask

    def _column(self, field: str, state: State, connection: sqlite3.Connection) -> Column:
        with self._lock:
            known = self._columns.get(field, NEW)
        # A column of a later state lacks the documents deleted since this one.
        column = _extend(known if known.generation <= state.generation else NEW, field, state, connection)
        with self._lock:
            if column.generation >= self._columns.get(field, NEW).generation:
                self._columns[field] = column
        return column


def _extend(column: Column, field: str, state: State, connection: sqlite3.Connection) -> Column:
    if column.next_key == state.next_key:
        return column
    rows = _read(field, column.next_key, connection)
    codebook = dict(column.codebook)
    values = list(column.values)
    fresh = np.zeros(len(state.keys) - len(column.codes), np.int32)
    if rows:
        codes = [codebook.setdefault(text, len(codebook)) for _, text in rows]
        values += [json.loads(text) for text in list(codebook)[len(values) :] if text is not None]
        slots = np.searchsorted(state.keys, np.fromiter((key for key, _ in rows), np.int64, len(rows)))
        fresh[slots - len(column.codes)] = codes
    return Column(state.generation, state.next_key, np.concatenate((column.codes, fresh)), codebook, values)


def _read(field: str, next_key: int, connection: sqlite3.Connection) -> list[tuple[int, str | None]]:
    """Return the key, and the field's JSON text or None, of the documents from a key on."""
    keys = field.split(".")
    if all(_PLAIN_KEY.fullmatch(key) for key in keys):
        whole, nested = f'$."{field}"', "$" + "".join(f'."{key}"' for key in keys)
        return connection.execute(
            "SELECT key, coalesce(metadata -> ?, metadata -> ?) FROM documents WHERE key >= ? ORDER BY key",
            (whole, nested, next_key),
        ).fetchall()
    rows = connection.execute("SELECT key, metadata FROM documents WHERE key >= ? ORDER BY key", (next_key,))
    found = ((key, look_up(json.loads(metadata), field)) for key, metadata in rows)
    return [(key, None if value is MISSING else json.dumps(value)) for key, value in found]


def _holds(test: Test, column: Column, live: NDArray[np.bool_]) -> NDArray[np.bool_]:
    # Values that only deleted documents had must not raise.
    present = np.flatnonzero(np.bincount(column.codes[live], minlength=len(column.values)))
    values = [column.values[code] for code in present]
    truth = np.zeros(len(column.values), np.bool_)
    truth[present] = _compare_numbers(test, values)
    return truth[column.codes]


def _compare_numbers(test: Test, values: list[Value]) -> Any:
    """Test all values in one step if they are numbers that float64 holds exactly, and else one by one."""
    others = [value for value in values if value is not MISSING and value is not None]
    fits = all(kind(value) == "number" and abs(value) < EXACT_INTEGERS for value in [*others, test.operand])
    if test.operator not in _ORDERINGS or len(values) < 100 or not fits:
        return [test.holds(value) for value in values]
    numbers = np.array([np.nan if value is MISSING or value is None else value for value in values], dtype=np.float64)
    return _ORDERINGS[test.operator](numbers, test.operand)

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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfield.engine.local.database import rising, select_in
from nearfield.engine.local.growing import extended
from nearfield.engine.local.saved import Saved
from nearfield.engine.local.state import State
from nearfield.filters import MISSING, Condition, Test, Value, kind, look_up

MASKS = 64
"""Conditions whose answers are kept."""

EXACT_INTEGERS = 2**53
"""Integers below it are exact as float64."""

UNKNOWN = -1
"""Code of a document that was deleted before it was read; an older state may still have it."""

# Keys that SQLite's JSON path can quote as they are.
_PLAIN_KEY = re.compile(r'[^"\\\x00-\x1f]+')
_ORDERINGS = {"$gt": np.greater, "$gte": np.greater_equal, "$lt": np.less, "$lte": np.less_equal, "$eq": np.equal}


@dataclass(slots=True)
class Column:
    """One field of all documents. It grows in place; what an older state reads of it never changes.

    Args:
        next_key: Documents below this key are in it.
        codes: int32 `(slots,)`, places in `values`, or `UNKNOWN`.
        values: The distinct values; the first is `MISSING`. A value may occur twice.
        codebook: Codes by JSON text.
    """

    next_key: int
    codes: NDArray[np.int32]
    values: list[Value]
    codebook: dict[str | None, int]

    def compressed(self, live: NDArray[np.bool_]) -> Column:
        """Return a column for the slots that are live, with the values that these have."""
        codes = self.codes[live[: len(self.codes)]]
        used = np.bincount(codes + 1, minlength=len(self.values) + 1)[1:] > 0
        used[0] = True
        renumbered = np.concatenate((np.cumsum(used) - 1, [UNKNOWN])).astype(np.int32)  # the last is for UNKNOWN
        values = [value for value, keep in zip(self.values, used.tolist(), strict=True) if keep]
        codebook = {text: int(renumbered[code]) for text, code in self.codebook.items() if used[code]}
        return Column(self.next_key, renumbered[codes], values, codebook)

    def code(self, text: str | None) -> int:
        """Return the code of a value, given as JSON."""
        code = self.codebook.get(text)
        if code is None:
            code = self.codebook[text] = len(self.values)
            self.values.append(json.loads(text or ""))
        return code


class Columns:
    """The columns that were asked for, and the answers to recent conditions, for states of one lineage.

    Args:
        lineage: Of the states.
        saved: What was saved of the first of these states.
        places: int64, those of the saved slots that the states have; None: all, as they are.
    """

    def __init__(self, lineage: object, saved: Saved | None = None, places: NDArray[np.int64] | None = None) -> None:
        self.lineage = lineage
        self._saved = saved
        self._places = places
        self._columns: dict[str, Column] = {}
        self._masks: OrderedDict[tuple[int, str], NDArray[np.bool_]] = OrderedDict()
        self._lock = threading.Lock()
        self._extending = threading.Lock()

    def compressed(self, live: NDArray[np.bool_], lineage: object) -> Columns:
        """Return the same columns for states that have only the slots that are live."""
        places = self._places
        if self._saved is not None:
            places = np.arange(len(self._saved.keys)) if places is None else places
            places = places[live[: len(places)]]
        kept = Columns(lineage, self._saved, places)
        with self._extending:
            for name, column in self._columns.items():
                kept._columns[name] = column.compressed(live)
        return kept

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
        mask = condition.evaluate(lambda test: self._holds(test, state, connection)) & state.live
        with self._lock:
            self._masks[asked] = mask
            if len(self._masks) > MASKS:
                self._masks.popitem(last=False)
        return mask

    def _holds(self, test: Test, state: State, connection: sqlite3.Connection) -> NDArray[np.bool_]:
        with self._extending:
            column = self._columns.get(test.field) or self._first(test.field)
            self._columns[test.field] = column
            _extend(column, test.field, state, connection)
            codes = _known(column, test.field, state, connection)
            values = column.values[:]
        # Values that only deleted documents had must not raise.
        present = np.flatnonzero(np.bincount(codes[state.live], minlength=len(values)))
        truth = np.zeros(len(values), np.bool_)
        truth[present] = _compare_numbers(test, [values[code] for code in present])
        return truth[codes]

    def _first(self, field: str) -> Column:
        """Return the column as it was saved; an empty one, if it was not."""
        found = self._saved.column(field) if self._saved is not None else None
        if found is None or self._saved is None:
            return Column(1, np.empty(0, np.int32), [MISSING], {None: 0})
        codes, values = found
        kept = codes if self._places is None else codes[self._places]
        return Column(self._saved.next_key, kept, [MISSING, *values], {None: 0})


def _extend(column: Column, field: str, state: State, connection: sqlite3.Connection) -> None:
    """Read the documents that the column lacks, as far as the state has them."""
    if column.next_key >= state.next_key:
        return
    fresh = np.full(len(state.keys) - len(column.codes), UNKNOWN, np.int32)
    keys, texts = _read(field, column.next_key, connection)
    slots = np.searchsorted(state.keys, keys)
    fresh[slots - len(column.codes)] = [column.code(text) for text in texts]
    column.codes = extended(column.codes, fresh)
    column.next_key = state.next_key


def _known(column: Column, field: str, state: State, connection: sqlite3.Connection) -> NDArray[np.int32]:
    """Return the codes of the state's slots: also of documents that a newer state has deleted."""
    codes = column.codes[: len(state.keys)]
    unknown = np.flatnonzero((codes == UNKNOWN) & state.live)
    if not len(unknown):
        return codes
    codes = codes.copy()
    keys = state.keys[unknown]
    found = select_in(connection, "SELECT key, metadata FROM documents WHERE key IN", keys.tolist())
    texts = {key: _json_of(metadata, field) for key, metadata in found}
    codes[unknown] = [column.code(texts[key]) for key in keys.tolist()]
    return codes


def _read(field: str, next_key: int, connection: sqlite3.Connection) -> tuple[NDArray[np.int64], Sequence[str | None]]:
    """Return the keys, and the field's JSON text or None, of the documents from a key on."""
    names = field.split(".")
    rows: Iterable[tuple[int, str | None]]
    if all(_PLAIN_KEY.fullmatch(name) for name in names):
        whole, nested = f'$."{field}"', "$" + "".join(f'."{name}"' for name in names)
        rows = connection.execute(
            "SELECT key, coalesce(metadata -> ?, metadata -> ?) FROM documents WHERE key >= ? ORDER BY key",
            (whole, nested, next_key),
        )
    else:
        all_rows = connection.execute("SELECT key, metadata FROM documents WHERE key >= ? ORDER BY key", (next_key,))
        rows = ((key, _json_of(metadata, field)) for key, metadata in all_rows)
    keys, texts = [], []
    for key, text in rising(rows):
        keys.append(key)
        texts.append(text)
    return np.array(keys, np.int64), texts


def _json_of(metadata: str, field: str) -> str | None:
    value = look_up(json.loads(metadata), field)
    return None if value is MISSING else json.dumps(value)


def _compare_numbers(test: Test, values: list[Value]) -> Any:
    """Test all values in one step if they are numbers that float64 holds exactly, and else one by one."""
    others = [value for value in values if value is not MISSING and value is not None]
    fits = all(kind(value) == "number" and abs(value) < EXACT_INTEGERS for value in [*others, test.operand])
    if test.operator not in _ORDERINGS or len(values) < 100 or not fits:
        return [test.holds(value) for value in values]
    numbers = np.array([np.nan if value is MISSING or value is None else value for value in values], dtype=np.float64)
    return _ORDERINGS[test.operator](numbers, test.operand)

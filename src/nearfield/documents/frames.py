"""Rows of data frames as dicts of Python values; the libraries are recognised, never imported."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from nearfield.errors import InvalidInput

_FRAMES = {("pandas", "DataFrame"), ("polars", "DataFrame"), ("pyarrow", "Table"), ("pyarrow", "RecordBatch")}


def is_frame(value: object) -> bool:
    """Return whether a value is a pandas or polars DataFrame, or an Arrow Table or RecordBatch."""
    return any((kind.__module__.partition(".")[0], kind.__name__) in _FRAMES for kind in type(value).__mro__)


def frame_rows(frame: Any, index_names: Iterable[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield each row as a dict, without the fields that are null or NaN.

    NumPy scalars become Python's, arrays lists, and dates and times ISO 8601 strings.

    Args:
        frame: What `is_frame` recognises.
        index_names: A level of a pandas index with one of these names counts as a column; other indexes are left out.

    Raises:
        InvalidInput: a column's name is not a str, or two columns have the same one.
    """
    if hasattr(frame, "to_pylist"):
        names, rows = frame.schema.names, frame.to_pylist
    elif hasattr(frame, "to_dicts"):
        names, rows = frame.columns, frame.to_dicts
    else:
        if set(index_names) & set(frame.index.names):
            frame = frame.reset_index()
        names = list(frame.columns)

        def rows() -> Iterator[dict[str, Any]]:
            columns = [frame.iloc[:, at].tolist() for at in range(len(names))]
            return (dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True))

    _check_names(names)
    return (plain_row(row) for row in rows())


def plain_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without its empty cells, the others as Python values; see `frame_rows`.

    >>> plain_row({"text": "Learn Python", "year": float("nan"), "title": None})
    {'text': 'Learn Python'}
    """
    return {name: _plain(value) for name, value in row.items() if not _empty(value)}


def _check_names(names: Sequence[Any]) -> None:
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str):
            raise InvalidInput(f"the columns of a frame must have str names, got {name!r} ({type(name).__name__})")
        if name in seen:
            raise InvalidInput(f"a frame must have one column of each name, got two named {name!r}")
        seen.add(name)


def _empty(value: object) -> bool:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    return type(value).__name__ in ("NaTType", "NAType")


def _plain(value: Any) -> Any:
    if type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {name: None if _empty(cell) else _plain(cell) for name, cell in value.items()}
    if isinstance(value, list | tuple):
        return [None if _empty(cell) else _plain(cell) for cell in value]
    if hasattr(value, "isoformat"):  # datetime, date, time, pandas' Timestamp and Timedelta
        return value.isoformat()
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays
        return _plain(value.tolist())
    return float(value) if type(value).__name__ == "Decimal" else value

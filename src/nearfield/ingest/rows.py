"""Given vectors, taken in step with documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from nearfield.errors import InvalidInput

EXPECTED = "vectors must have a row for each document"


class Rows:
    """Vectors that are read as they are needed.

    Args:
        vectors: Anything with a shape that gives rows for a slice (an array, a memory-mapped one, an HDF5 or Zarr
            dataset), or an iterable of rows.
        documents: How many documents there are, if that is known.

    Raises:
        InvalidInput: it is neither, or it is known to have more or fewer rows than there are documents.
    """

    def __init__(self, vectors: Any, documents: int | None) -> None:
        sliced = hasattr(vectors, "shape") and hasattr(vectors, "__getitem__")
        if not sliced and (isinstance(vectors, str | bytes) or not isinstance(vectors, Iterable)):
            raise InvalidInput(
                f"vectors must be an array of shape (n, d) or an iterable of rows, got {type(vectors).__name__}"
            )
        self._array = vectors if sliced else None
        self._rest: Iterator[Any] = iter(()) if sliced else iter(vectors)
        self._taken = 0
        known = len(vectors) if hasattr(vectors, "__len__") else None
        if known is not None and documents is not None and known != documents:
            raise InvalidInput(f"{EXPECTED}, got {known:,} rows and {documents:,} documents")

    def take(self, count: int) -> Any:
        """Return the next rows, `(count, d)`.

        Raises:
            InvalidInput: there are fewer.
        """
        start, self._taken = self._taken, self._taken + count
        rows: Any = list(islice(self._rest, count)) if self._array is None else self._array[start : self._taken]
        if len(rows) < count:
            raise InvalidInput(f"{EXPECTED}, got {start + len(rows):,} rows and more documents")
        try:
            return np.asarray(rows)
        except ValueError as error:
            raise InvalidInput(f"vectors must be rows of one length: {error}") from None

    def end(self) -> None:
        """Check that every row was taken.

        Raises:
            InvalidInput: there are more.
        """
        more = len(self._array) > self._taken if self._array is not None else any(True for _ in self._rest)
        if more:
            raise InvalidInput(f"{EXPECTED}, got {self._taken:,} documents and more rows")

"""Checks of arguments that several rooms share; each returns what is right and raises what is not."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nearfield.errors import Conflict, InvalidInput, NotFound

if TYPE_CHECKING:
    from nearfield.encode.protocol import Vectors
    from nearfield.engine.protocol import Keys, Settings


SCALED_TOGETHER = 128
"""Vectors that are scaled in one step: their copies in double precision stay in the processor's cache."""

_TINY = float(np.finfo(np.float64).tiny)  # what zero vectors are divided by
_ROUNDING = 1e-6


def count(value: object, what: str, least: int = 1) -> int:
    """Return a whole number of at least 1, or another least; a bool or a float is none."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InvalidInput(f"{what} must be an int of at least {least}, got {value!r}")
    return int(value)


def share(value: object, what: str) -> float:
    """Return a number in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= float(value) <= 1:
        raise InvalidInput(f"{what} must be a number from 0 to 1, got {value!r}")
    return float(value)


def choice(value: object, what: str, choices: Sequence[str]) -> str:
    """Return one of some words."""
    if value not in choices or not isinstance(value, str):
        raise InvalidInput(f"{what} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def unit_vectors(vectors: object, rows: int | None, dimension: int | None, what: str = "vectors") -> Vectors:
    """Return vectors as float32 `(n, d)` of unit length; zero vectors stay zero.

    Args:
        vectors: Anything that NumPy makes a real matrix of.
        rows: How many there must be; None: any number.
        dimension: Their length; None: any from 1.
        what: Their name in messages.

    Raises:
        InvalidInput: another shape, no numbers, NaN or infinite.
    """
    try:
        array = np.asarray(vectors)
    except ValueError as error:
        raise InvalidInput(f"{_expected(what, rows, dimension)}: {error}") from None
    if array.dtype.kind not in "fiu":
        raise InvalidInput(f"{_expected(what, rows, dimension)}, got dtype {array.dtype}")
    if (
        array.ndim != 2
        or rows not in (None, len(array))
        or dimension not in (None, array.shape[1])
        or not array.shape[1]
    ):
        raise InvalidInput(f"{_expected(what, rows, dimension)}, got shape {array.shape}")
    if len(array) == 1 and array.dtype == np.float32 and abs(float(array[0].dot(array[0])) - 1.0) < _ROUNDING:
        return array.copy()  # as queries are that an encoder made, which then take a fifth of the time
    if array.dtype.kind != "f":
        array = array.astype(np.float64)  # the least integer has no absolute value
    units = np.empty(array.shape, np.float32)
    for start in range(0, len(array), SCALED_TOGETHER):
        part = array[start : start + SCALED_TOGETHER]
        # Of each row, its largest entry; NaN where there is one.
        largest = np.maximum.reduce(np.abs(part), axis=1, keepdims=True, initial=0, dtype=np.float64)
        if not math.isfinite(np.maximum.reduce(largest, axis=None)):
            raise _not_finite(array, what)
        units[start : start + SCALED_TOGETHER] = _scaled(part, largest)
    return units


def _expected(what: str, rows: int | None, dimension: int | None) -> str:
    shape = f"({rows if rows is not None else 'n'}, {dimension if dimension is not None else 'd'})"
    return f"{what} must be a float32 array of shape {shape}"


def _scaled(rows: NDArray[Any], largest: NDArray[np.float64]) -> NDArray[np.float64]:
    # By the largest entry first: squares of very large or very small entries leave the range of floats.
    wide: NDArray[np.float64] = rows / np.maximum(largest, _TINY)
    norms = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    wide /= np.maximum(norms, _TINY)[:, np.newaxis]
    return wide


def _not_finite(array: NDArray[Any], what: str) -> InvalidInput:
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    return InvalidInput(f"{what} must be finite; row {bad[0]} has NaN or an infinity ({len(bad)} such rows)")


def found(doc_ids: Sequence[str], keys: Sequence[int | None]) -> Keys:
    """Return the keys, int64 `(n,)`, of doc_ids that are all in the collection.

    Raises:
        NotFound: some are not; names the first.
    """
    missing = [doc_id for doc_id, key in zip(doc_ids, keys, strict=True) if key is None]
    if missing:
        others = f" ({len(missing)} of {len(doc_ids)} are not)" if len(missing) > 1 else ""
        raise NotFound(f"doc_id {missing[0]!r} is not in the collection{others}")
    return np.array(keys, dtype=np.int64)


def absent(doc_ids: Sequence[str], existing: Container[str]) -> None:
    """Raise Conflict if one of some doc_ids exists already; names the first."""
    taken = [doc_id for doc_id in doc_ids if doc_id in existing]
    if taken:
        raise Conflict(f"doc_id {taken[0]!r} exists already ({len(taken)} of the batch do); use upsert to replace them")


ANOTHER_ENCODER = (
    "open it with the encoder that it was made with, or encode its documents again with Collection.migrate(encoder=...)"
)
"""What to do if an encoder is not the collection's."""


def same_vectors(
    settings: Settings, dimension: int, fingerprint: str | None, given: str, differing: Sequence[str] = ()
) -> None:
    """Raise Conflict unless vectors belong with those of a collection.

    Args:
        settings: What is fixed for the collection.
        dimension: Of the vectors.
        fingerprint: Of the encoder that makes them; None for vectors that were given.
        given: Where they come from, in words for the message.
        differing: What is known to differ, in words for the message.
    """
    if None not in (settings.fingerprint, fingerprint) and settings.fingerprint != fingerprint:
        what = f": {'; '.join(differing)}" if differing else ""
        raise Conflict(
            f"the collection's vectors come from another encoder ({settings.encoder!r}, fingerprint "
            f"{settings.fingerprint}) than those of {given} (fingerprint {fingerprint}){what}; {ANOTHER_ENCODER}"
        )
    if settings.dimension not in (None, dimension):
        raise Conflict(
            f"the collection's vectors have {settings.dimension} dimensions, and those of {given} have {dimension}; "
            "search with vectors, or open it with the encoder that made them"
        )

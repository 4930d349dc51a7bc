"""Kinds of approximate index: names, FAISS factory strings, and which of them suits a collection."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import log2, sqrt
from typing import Any

from nearfield.errors import InvalidInput
from nearfield.index.faiss import import_faiss

EXACT = "exact"
AUTO = "auto"

NAMES = {
    "flat": "Flat",
    "ivf-flat": "IVF{lists},Flat",
    "ivf-pq": "IVF{lists},PQ{wide}x8",
    "ivf-sq8": "IVF{lists},SQ8",
    "ivf-fastscan": "IVF{lists},PQ{parts}x4fs",
    "ivf-rabitq": "IVF{lists},RaBitQfs",
    "fastscan": "PQ{parts}x4fs",
    "hnsw": "HNSW32",
    "hnsw-sq8": "HNSW32_SQ8",
    "lsh": "LSH",
    "sq8": "SQ8",
    "rabitq": "RaBitQfs",
}
"""Names of kinds that the number and the dimension of the vectors complete; any other is a factory string."""

AUTO_ROWS = 20_000
"""Vectors below which "auto" scans: it takes less than a millisecond there."""

LEAST_ROWS = 1_000
"""Vectors below which every kind scans: FAISS can't learn from fewer, and a scan is as fast."""

ROWS_PER_LIST = 39
"""The fewest vectors for each list that FAISS wants to learn from."""

MOST_LISTS = 1_000_000

MOST_DIMENSIONS = 4_096
"""The longest vectors with which a factory string is tried."""

PART = 4
"""Dimensions of a part that gets 4 bits, which is 32 times smaller than float32: of 200,000 titles, the nearest 80 by
these codes hold 99 % of the nearest 10."""

WIDE = 8
"""Dimensions of a part that gets 8 bits; to learn these takes FAISS minutes for parts of 4."""

LEAST_CODED = 16
"""Dimensions below which a vector is as small with a byte for each."""

OVERHEAD = 32
"""Bytes of a vector besides its code, measured: its number, its key, its doc_id, and the lists' spare room."""

_TRIAL_DIMENSIONS = (64, 384, 768, 1024, 300, 1)
_NUMBERS = re.compile(r"\d+")
_LISTS = re.compile(r"IVF(\d+)")
_ENDLESS = re.compile(r"NSG|NND")
_REFINED = re.compile(r"Refine|RFlat|IDMap")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Which index to build, and why.

    Args:
        factory: FAISS's factory string; "" for none: the exact scan.
        reason: In words.
    """

    factory: str
    reason: str


def check_kind(kind: str) -> None:
    """Raise InvalidInput unless a kind is "auto", "exact", one of `NAMES`, or a factory string that FAISS takes."""
    if isinstance(kind, str) and (kind in (AUTO, EXACT) or kind in NAMES):
        return
    expected = f"index must be 'auto', 'exact', {', '.join(map(repr, NAMES))} or a FAISS factory string, got {kind!r}"
    if not isinstance(kind, str):
        raise InvalidInput(expected)
    if _REFINED.search(kind):
        raise InvalidInput(f"{expected}: nearfield numbers and rescores vectors itself; leave out IDMap and Refine")
    if _ENDLESS.search(kind):
        raise InvalidInput(f"{expected}: of some vectors FAISS never finishes such a graph; 'hnsw' is one, too")
    lists = _LISTS.search(kind)
    if lists and not 0 < int(lists[1]) <= MOST_LISTS:
        raise InvalidInput(f"{expected}: it may have 1 to {MOST_LISTS:,} lists")
    failures = [_failure(kind, dimension) for dimension in (*_TRIAL_DIMENSIONS, *_numbers(kind))]
    if all(failures):
        raise InvalidInput(f"{expected}: FAISS says {failures[0]!r}")


def _numbers(kind: str) -> list[int]:
    """Return what stands in a factory string and may be a dimension, or what one must be a multiple of."""
    return sorted({number for text in _NUMBERS.findall(kind) if 0 < (number := int(text)) <= MOST_DIMENSIONS})


def check_dimension(kind: str, dimension: int) -> None:
    """Raise InvalidInput if a factory string can't be built for vectors of a dimension."""
    if kind in (AUTO, EXACT) or kind in NAMES:
        return
    failure = _failure(kind, dimension)
    if failure:
        raise InvalidInput(f"index {kind!r} can't hold vectors of {dimension} dimensions: FAISS says {failure!r}")


def _failure(kind: str, dimension: int) -> str:
    try:
        make(kind, dimension)
    except (RuntimeError, MemoryError, ValueError) as error:
        return str(error).rsplit(": ", 1)[-1].strip()
    return ""


def is_mapped(factory: str) -> bool:
    """Return whether FAISS searches an index of a kind in its mapped file; codes of fast scans it copies from there."""
    return "fs" not in factory


def make(factory: str, dimension: int) -> Any:
    """Return an empty index; by inner product, where FAISS has that for the kind, and by distance otherwise.

    Of vectors of one length, both find the same.
    """
    faiss = import_faiss()
    try:
        return faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        if "METRIC_L2" not in str(error) and "mt ==" not in str(error):
            raise
        return faiss.index_factory(dimension, factory, faiss.METRIC_L2)


def recipe(kind: str, rows: int, dimension: int, memory: int | None = None) -> Recipe:
    """Return what to build for some vectors.

    Args:
        kind: As `check_kind` takes it.
        rows: How many vectors.
        dimension: Their length.
        memory: Bytes that an index that "auto" chooses may take; None: no limit.
    """
    if kind == EXACT:
        return Recipe("", "the exact scan was asked for")
    if kind == AUTO:
        return _auto(rows, dimension, memory)
    factory = NAMES.get(kind, kind).format(
        lists=_lists(rows), parts=dimension // _part(dimension), wide=dimension // _part(dimension, WIDE)
    )
    found = _LISTS.search(factory)
    least = max(LEAST_ROWS, ROWS_PER_LIST * int(found[1]) if found else 0)
    if rows < least:
        return Recipe("", f"{rows} vectors are too few for {factory}: it is built from {least} on")
    return Recipe(factory, f"{kind} was asked for")


def _auto(rows: int, dimension: int, memory: int | None) -> Recipe:
    if rows < AUTO_ROWS:
        return Recipe("", f"scanning {rows} vectors takes less than a millisecond")
    for code, size in _codes(dimension):
        needed = int(rows * (size + OVERHEAD))
        if memory is None or needed <= memory:
            return Recipe(
                f"IVF{_lists(rows)},{code}",
                f"{rows} vectors of {dimension} dimensions take {needed / 1e6:.1f} MB as codes; the best are compared "
                "with the vectors on disk",
            )
    return Recipe("", f"{memory} bytes can't hold {rows} vectors, not even as small codes; a scan needs no memory")


def _codes(dimension: int) -> list[tuple[str, float]]:
    """Return the codes that auto may choose, the best first, and each one's bytes."""
    if dimension < LEAST_CODED:
        return [("SQ8", float(dimension))]
    parts = [_part(dimension), *(part for part in (8, 16) if dimension % part == 0)]
    return [(f"PQ{dimension // part}x4fs", dimension / part / 2) for part in parts]


def _lists(rows: int) -> int:
    """Return how many lists: about a third of the square root, measured on 200,000 titles, as a power of two."""
    return 1 << max(0, round(log2(max(1.0, sqrt(rows) / 2.6))))


def _part(dimension: int, wanted: int = PART) -> int:
    """Return how many dimensions share a code: as wanted, or what else divides the dimension."""
    return next((part for part in (wanted, PART, 3, 2, 5) if dimension % part == 0), 1)

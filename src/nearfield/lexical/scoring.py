"""The formula of BM25 (Robertson & Zaragoza 2009; k1 = 1.2, b = 0.75), on the numbers that tantivy has."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

K1 = 1.2
B = 0.75


def _length(code: int) -> int:
    """Return the length that a byte stands for: exact up to 40, then with three bits after the leading one."""
    if code < 24:
        return code
    leading, rest = divmod(code - 24, 8)
    return 24 + (rest if leading == 0 else (8 + rest) << (leading - 1))


_LENGTHS = np.array([_length(code) for code in range(256)], dtype=np.int64)


def quantised(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the lengths that an index stores, in one byte for each document: rounded down, by at most a ninth.

    >>> quantised(np.array([7, 40, 41, 100]))
    array([ 7, 40, 40, 96])
    """
    return _LENGTHS[np.searchsorted(_LENGTHS, lengths, side="right") - 1]


def idf(having: int, documents: int) -> float:
    """Return the weight of a term, ln(1 + (N - n + 0.5) / (n + 0.5)): above 0, and higher for rarer terms.

    Args:
        having: n, how many documents have it.
        documents: N, how many there are.

    >>> round(idf(1, 3), 4)
    0.9808
    """
    return math.log(1 + (documents - having + 0.5) / (having + 0.5))


def saturation(counts: NDArray[np.int64], lengths: NDArray[np.int64], average: float) -> NDArray[np.float64]:
    """Return what a term is worth in each document, before its idf: (k1 + 1) f / (f + k1 (1 - b + b l / L)).

    Args:
        counts: f, how often the document has the term; int64 `(n,)`.
        lengths: l, how many terms the document has, quantised; int64 `(n,)`.
        average: L, the mean length.
    """
    return (K1 + 1) * counts / (counts + K1 * (1 - B + B * lengths / average))


def rounded(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores to 20 significant bits (within 1e-6 of their value).

    tantivy adds in 32 bits and in no fixed order; equal documents should tie wherever they lie.
    """
    fractions, exponents = np.frexp(scores)
    kept: NDArray[np.float64] = np.ldexp(np.round(fractions * 2**20), exponents - 20)
    return kept

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


def idf(having: int, documents: int) -> np.float32:
    """Return the weight of a term, ln(1 + (N - n + 0.5) / (n + 0.5)): above 0, and higher for rarer terms.

    Args:
        having: n, how many documents have it.
        documents: N, how many there are.

    >>> round(float(idf(1, 3)), 4)
    0.9808
    """
    odds = (np.float32(documents - having) + np.float32(0.5)) / (np.float32(having) + np.float32(0.5))
    return np.float32(math.log(np.float32(1) + odds))


def weight(base: np.float32, boost: float) -> np.float32:
    """Return (k1 + 1) times an idf times a boost."""
    return base * np.float32(1 + K1) * np.float32(boost)


def scores(
    weight: np.float32, counts: NDArray[np.int64], lengths: NDArray[np.int64], average: float
) -> NDArray[np.float32]:
    """Return what a term adds to each document's score, w f / (f + k1 (1 - b + b l / L)); float32 `(n,)`.

    Each step is one of 32 bits, as tantivy does it, so that a document has the same score in memory and in an index.

    Args:
        weight: w, see `weight`.
        counts: f, how often the document has the term; int64 `(n,)`.
        lengths: l, how many terms the document has, quantised; int64 `(n,)`.
        average: L, the mean length.
    """
    single = np.float32
    frequencies = counts.astype(single)
    norms = np.multiply(lengths.astype(single), single(B), dtype=single) / single(average)
    norms = np.multiply(norms + single(1 - B), single(K1), dtype=single)
    return np.multiply(frequencies / (frequencies + norms), weight, dtype=single)


def rounded(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return scores to 20 significant bits (within 1e-6 of their value).

    tantivy adds in 32 bits and in no fixed order; equal documents should tie wherever they lie.
    """
    fractions, exponents = np.frexp(values.astype(np.float64))
    kept: NDArray[np.float64] = np.ldexp(np.round(fractions * 2**20), exponents - 20)
    return kept

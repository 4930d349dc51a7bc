"""Which lists of an inverted file a query looks at: those whose centres are nearly as near as the nearest.

A query between many lists needs more of them than one in the middle of a list. With a margin instead of a number of
lists, as many of the true neighbours were found among 583,128 titles by looking at two fifths fewer lists on the median
and a tenth fewer on the mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.protocol import Vectors

FEW_CENTRES = 128
"""Centres whose product with a query BLAS computes in the caller's thread."""


class Lists:
    """The lists of an inverted file that measures nearness by inner products.

    Args:
        centres: float32 `(lists, d)`.
    """

    def __init__(self, centres: Vectors) -> None:
        self._centres = centres
        starts = range(0, len(centres), FEW_CENTRES)
        self._parts = [(slice(start, start + FEW_CENTRES), centres[start : start + FEW_CENTRES]) for start in starts]

    def within(self, queries: Vectors, margin: float) -> tuple[NDArray[np.int64], Vectors]:
        """Return, for each query, the lists whose centres are at most so much less near than the nearest.

        Args:
            queries: float32 `(q, d)`.
            margin: At least 0.

        Returns:
            The lists, int64 `(q, n)`, of several queries with -1 in the place of others; and how near they are, float32
            `(q, n)`.
        """
        near = self._nearness(queries)
        if len(queries) == 1:
            lists = (near[0] >= near[0].max() - margin).nonzero()[0]
            return lists[np.newaxis], near[:, lists]
        inside = near >= near.max(axis=1, keepdims=True) - margin
        return np.where(inside, np.arange(len(self._centres)), -1), near

    def margins(self, queries: Vectors, reaches: Sequence[int]) -> dict[int, float]:
        """Return the margins within which there are so many lists on the mean of some queries."""
        near = self._nearness(queries)
        gaps = np.sort((near.max(axis=1, keepdims=True) - near).ravel())
        return {reach: float(gaps[reach * len(queries) - 1]) for reach in reaches}

    def _nearness(self, queries: Vectors) -> Vectors:
        # Not all at once: after a large product BLAS's threads go on spinning, beside FAISS's, for 20 ms.
        near = np.empty((len(queries), len(self._centres)), np.float32)
        for query, row in zip(queries, near, strict=True):
            for places, centres in self._parts:
                centres.dot(query, out=row[places])
        return near

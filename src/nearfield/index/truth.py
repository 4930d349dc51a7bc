"""The true neighbours of some queries among the vectors of an index, by an exact scan of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.protocol import Vectors
from nearfield.index.ann import Positions, Read
from nearfield.index.keys import places_of

SIZE = 1 << 40
"""More than any position."""

AT_ONCE = 4096
"""Vectors that are compared at once: their scores with a thousand queries stay in the processor's cache."""

FIRST_LOOK = 512
"""Positions from which the first ones are chosen."""

TIES = 8
"""Vectors beyond the k-th that are kept; if they are all as near as that, there may be more."""

EQUAL = 1e-6
"""Difference of float32 cosines that is rounding."""


@dataclass(frozen=True, slots=True)
class Truth:
    """The k nearest vectors of each query.

    Args:
        k: Their number.
        queries: float32 `(q, d)`.
        own: int64 `(q,)`, each query's own position, which is no neighbour; -1 for none.
        codes: int64, rising: `row * SIZE + position` of each neighbour, and of some that are as near as the k-th.
        least: float32 `(q,)`, the cosine of each query's k-th neighbour.
        tied: bool `(q,)`, whether there may be more that are as near.
    """

    k: int
    queries: Vectors
    own: Positions
    codes: Positions
    least: Vectors
    tied: NDArray[np.bool_]

    def first(self, count: int) -> Truth:
        """Return the truth of the first queries."""
        codes = self.codes[: np.searchsorted(self.codes, count * SIZE)]
        return Truth(self.k, self.queries[:count], self.own[:count], codes, self.least[:count], self.tied[:count])

    def found(self, candidates: Positions, read: Read) -> NDArray[np.bool_]:
        """Return which candidates are neighbours, or as near as the last of these; bool `(q, c)`."""
        rows = np.arange(len(candidates))[:, np.newaxis]
        codes = np.where(candidates >= 0, rows * SIZE + candidates, -1)
        places = places_of(self.codes, codes)
        found: NDArray[np.bool_] = self.codes[places] == codes
        for row in np.flatnonzero(self.tied):
            there = np.flatnonzero((candidates[row] >= 0) & (candidates[row] != self.own[row]))
            cosines = np.einsum("ij,j->i", read(candidates[row][there]), self.queries[row])
            found[row, there] = cosines >= self.least[row] - EQUAL
        return found


def neighbours(
    read: Read, live: Positions, queries: Vectors, own: Positions, wanted: Mapping[int, int]
) -> dict[int, Truth]:
    """Return the truth for several k.

    Args:
        read: Gives the vectors.
        live: int64, rising, the positions of those that may be found; more than the greatest k.
        queries: float32 `(q, d)`.
        own: int64 `(q,)`, each query's own position, or -1.
        wanted: For each k, how many of the queries it is needed for.
    """
    best = {k: _Best(min(count, len(queries)), k + TIES) for k, count in wanted.items()}
    buffer = np.empty(len(queries) * AT_ONCE, np.float32)
    for start in range(0, len(live), AT_ONCE):
        positions = live[start : start + AT_ONCE]
        scores = buffer[: len(queries) * len(positions)].reshape(len(queries), -1)
        np.matmul(queries, read(positions).T, out=scores)
        places = places_of(positions, own)
        there = np.flatnonzero(positions[places] == own)
        scores[there, places[there]] = -np.inf
        for one in best.values():
            one.see(scores, positions)
    return {k: one.truth(k, queries, own) for k, one in best.items()}


class _Best:
    """The best positions so far of the first queries, and what may be better, which is sorted in when it is much."""

    def __init__(self, rows: int, k: int) -> None:
        self._k = k
        self._rows = np.repeat(np.arange(rows), k)
        self._scores = np.full((rows, k), -np.inf, np.float32)
        self._positions = np.full((rows, k), -1, np.int64)
        self._is_empty = True
        self._more: list[tuple[NDArray[np.int64], Vectors, Positions]] = []

    def see(self, scores: Vectors, positions: Positions) -> None:
        """Take in more positions, and their scores `(queries, n)`."""
        scores = scores[: len(self._scores)]
        begin = max(FIRST_LOOK, 2 * self._k)
        if self._is_empty and len(positions) > 2 * begin:
            # To choose from few, and then to see which of the rest are better, takes a fraction of choosing from all.
            self.see(scores[:, :begin], positions[:begin])
            scores, positions = scores[:, begin:], positions[begin:]
        if self._is_empty and len(positions) > self._k:
            chosen = np.argpartition(-scores, self._k - 1, axis=1)[:, : self._k]
            rows, columns = self._rows, chosen.ravel()
        else:
            better = np.flatnonzero(scores > self._scores[:, -1:])  # a tenth of the time of two indices
            rows, columns = np.divmod(better, scores.shape[1])
        self._more.append((rows, scores[rows, columns], positions[columns]))
        if self._is_empty or sum(len(rows) for rows, *_ in self._more) > len(self._rows):
            self._sort_in()
        self._is_empty = False

    def _sort_in(self) -> None:
        known = (self._rows, self._scores.ravel(), self._positions.ravel())
        rows, scores, positions = (np.concatenate(parts) for parts in zip(known, *self._more, strict=True))
        order = np.lexsort((-scores, rows))
        firsts = np.searchsorted(rows[order], np.arange(len(self._scores)))
        kept = order[firsts[:, np.newaxis] + np.arange(self._k)]
        self._scores, self._positions = scores[kept], positions[kept]
        self._more = []

    def truth(self, k: int, queries: Vectors, own: Positions) -> Truth:
        """Return what was found of the k nearest."""
        self._sort_in()
        rows = np.arange(len(self._scores))[:, np.newaxis]
        least = self._scores[:, k - 1]
        # Where fewer than k are there, and of the query itself, scores are infinitely low.
        near = (self._scores >= least[:, np.newaxis] - EQUAL) & np.isfinite(self._scores)
        codes = np.sort((rows * SIZE + self._positions)[near])
        count = len(self._scores)
        return Truth(k, queries[:count], own[:count], codes, least, near[:, -1])

"""Setting an index's effort by measuring it: the cheapest that finds the asked share of the true neighbours.

Queries are some of the index's own vectors, each without itself among its neighbours, and those that users asked, if
there are any. The truth is the exact scan of all vectors. A neighbour counts as found if the index's candidates hold a
vector that is as near: of equal vectors any will do.
"""

from __future__ import annotations

import itertools
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, inf, isfinite, sqrt

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.protocol import Vectors
from nearfield.index.ann import SEED, Ann, Effort, Positions, Read
from nearfield.index.truth import Truth, neighbours

SAMPLE = {10: 1000, 100: 200, 1000: 60}
"""Numbers of hits for which the effort is set, and how many queries each is measured with."""

FACTORS: dict[int, tuple[tuple[float, ...], ...]] = {
    10: ((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 24), (32, 64, 128, 256)),
    100: ((1, 2, 3, 4, 6, 8, 12), (16, 32)),
    1000: ((1, 1.5, 2, 3, 4), (8,)),
}
"""Candidates for each hit to choose from; the latter, if none of the former are enough."""

SHOWN_RECALL = 0.99
"""Up to which the curve for 10 hits goes, reach by reach, even if less was asked for; it ends with the greatest."""

SHOWN_STEP = 1.2
"""Times a reach, from which on the next is shown, where reaches lie closer."""

ROUGHLY = 100
FAR = 4.0
"""Queries that an effort is measured with first, and by how many standard errors it then falls short if it needs no
more."""

MORE_REACHES = {10: 2, 100: 1, 1000: 1}
"""For each number of hits, the reaches that are measured beyond the first that keeps the target: with fewer candidates
one may be cheaper."""

SURE = 2.326
"""Standard errors by which the mean must exceed the target: 99 % of normal means lie within, on one side."""

RESERVE = 0.15
"""Share of the neighbours that the target lets go of, which is not let go of: users ask other things than a sample, and
the cheapest of many efforts that seem to be enough was measured with luck."""

RESERVE_OF_GRAPHS = 0.75
"""The same for a graph: an own vector is one of its nodes, linked to its neighbours, and misses a third as many of them
as another query does (HNSW16 and HNSW32 on 6,000 clustered vectors)."""

SHOWN = 1.96
"""Standard errors of the 95 % interval that is shown."""

TIMED = {10: 60, 100: 12, 1000: 6}
TIMED_ROUGHLY = 30
"""For each number of hits, the queries whose median time is an effort's cost; and how many at most of an effort that is
measured roughly. For the fewest hits they are others each time: the few candidates of the same ones would be in the
processor's cache from the effort before, and comparing them would seem to take half the time."""


@dataclass(frozen=True, slots=True)
class Point:
    """An effort, and what it was measured to do.

    Args:
        k: Number of hits.
        effort: For that many.
        recall: Mean share of the true k neighbours among the candidates.
        low: Lower end of its 95 % interval.
        high: Upper end.
        sure: What the mean exceeds at a confidence of 99 %.
        milliseconds: Median time of a query in one thread, rescoring included; measured with the fewest and the most
            candidates of a reach, and between these on a line.
    """

    k: int
    effort: Effort
    recall: float
    low: float
    high: float
    sure: float
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """The efforts that keep a target.

    Args:
        target: Share of the true neighbours.
        queries: How many were measured for 10 hits.
        chosen: The cheapest point that surely keeps the target and a reserve, for each k that has one.
        whole: For each k, the candidates needed when all lists are looked at, as is done for a filter.
        curve: For 10 hits, the cheapest points by rising recall.
    """

    target: float
    queries: int
    chosen: dict[int, Point]
    whole: dict[int, int]
    curve: list[Point]

    def effort(self, k: int) -> Effort | None:
        """Return the effort for k hits; None if only a scan keeps the target."""
        point = self.chosen.get(_measured(k))
        return None if point is None else point.effort

    def candidates(self, k: int) -> int | None:
        """Return the candidates to compare for k hits when all lists are looked at; None as in `effort`."""
        return self.whole.get(_measured(k))


def _measured(k: int) -> int:
    """Return the number of hits whose effort serves k; 0 if it is more than any that is measured."""
    return next((known for known in sorted(SAMPLE) if k <= known), 0)


def tune(ann: Ann, read: Read, live: Positions, target: float, asked: Vectors | None = None) -> Tuning:
    """Return the efforts with which an index keeps a target.

    Args:
        ann: The index.
        read: Gives its vectors.
        live: int64, rising, the positions that a search may find.
        target: In (0, 1].
        asked: float32 `(q, d)`, queries of users; half of the sample is of these, if there are so many.
    """
    is_live = np.zeros(ann.count, np.bool_)
    is_live[live] = True
    queries, own = _sample(read, live, asked)
    aim = target + (RESERVE_OF_GRAPHS if ann.is_graph else RESERVE) * (1 - target)
    chosen: dict[int, Point] = {}
    whole: dict[int, int] = {}
    curve: list[Point] = []
    first = 0
    wanted = {k: count for k, count in SAMPLE.items() if k == min(SAMPLE) or k < len(live)}
    margins = ann.margins(queries)
    for k, truth in neighbours(read, live, queries, own, wanted).items():
        trial = _Trial(ann, read, is_live, truth, aim, margins)
        points = trial.points(first)
        keeping = [point for point in points if point.sure >= aim]
        if keeping:
            chosen[k] = min(zip(keeping, _likely_times(points, keeping), strict=True), key=lambda pair: pair[1])[0]
            first = chosen[k].effort.reach
        all_lists = [point.effort.candidates for point in keeping if point.effort.reach == ann.reaches()[-1]]
        if all_lists and ann.selects:
            # A filter may leave what lies less apart than neighbours do.
            whole[k] = 2 * min(all_lists)
        curve = curve or trial.curve(points)
    return Tuning(target, min(len(queries), SAMPLE[min(SAMPLE)]), chosen, whole, curve)


def _sample(read: Read, live: Positions, asked: Vectors | None) -> tuple[Vectors, Positions]:
    """Return queries, and each one's own position, -1 for one that isn't in the index; in mixed order."""
    rng = np.random.default_rng(SEED)
    wanted = max(SAMPLE.values())
    given = np.empty((0, 0), np.float32) if asked is None else asked[: wanted // 2]
    own = rng.choice(live, min(wanted - len(given), len(live)), replace=False)
    queries = read(own)
    if len(given):
        queries, own = np.concatenate((queries, given)), np.concatenate((own, np.full(len(given), -1)))
    order = rng.permutation(len(queries))
    return queries[order], own[order]


@dataclass(frozen=True, slots=True)
class _Trial:
    """Measures an index.

    Args:
        ann: The index.
        read: Gives its vectors.
        is_live: bool `(positions,)`; what is not live is passed over, and has no vector.
        truth: The neighbours to be found.
        aim: Share of these that is enough.
        margins: With which a reach is one on the mean.
        turns: Counts the efforts that were timed.
    """

    ann: Ann
    read: Read
    is_live: NDArray[np.bool_]
    truth: Truth
    aim: float
    margins: Mapping[int, float]
    turns: Iterator[int] = field(default_factory=itertools.count)

    def points(self, first: int) -> list[Point]:
        """Return points of the least reach, from one on, that keeps the aim, of some more, and of the greatest."""
        points: list[Point] = []
        reaches = [reach for reach in self.ann.reaches() if reach >= first]
        for factors in FACTORS[self.truth.k]:
            points += self._needed(reaches, self._counts(factors))
            if any(point.sure >= self.aim for point in points):
                break
        return points

    def _counts(self, factors: Sequence[float]) -> list[int]:
        return sorted({min(int(self.truth.k * factor), self.ann.count) for factor in factors})

    def _needed(self, reaches: Sequence[int], counts: Sequence[int]) -> list[Point]:
        found: dict[int, list[Point]] = {}

        def keeps(reach: int) -> bool:
            found[reach] = self._at(reach, counts)
            return any(point.sure >= self.aim for point in found[reach])

        if keeps(reaches[-1]):
            least = bisect_left(reaches, True, hi=len(reaches) - 1, key=keeps)
            for reach in reaches[least : least + 1 + MORE_REACHES[self.truth.k]]:
                found[reach] = found.get(reach) or self._at(reach, counts)
        return [point for reach in sorted(found) for point in found[reach]]

    def curve(self, points: Sequence[Point]) -> list[Point]:
        """Return the cheapest points by rising recall: of some, and of the reaches between these, measured roughly."""
        shown: list[Point] = []
        last = 0
        for reach in self.ann.reaches():
            known = [point for point in points if point.effort.reach == reach]
            if not known and reach >= SHOWN_STEP * last and all(point.recall < SHOWN_RECALL for point in shown):
                known = self._roughly._at(reach, self._counts(FACTORS[self.truth.k][0]))
            shown += known
            last = reach if known else last
        return _frontier(shown)

    @property
    def _roughly(self) -> _Trial:
        return replace(self, truth=self.truth.first(ROUGHLY))

    def _at(self, reach: int, counts: Sequence[int]) -> list[Point]:
        """Return the points of a reach; few queries tell of one that is far from enough."""
        if len(self.truth.queries) > ROUGHLY:
            shares = self._roughly._shares(reach, counts)
            most = max(shares, key=lambda share: float(share.mean()))
            if most.mean() + FAR * max(most.std(), 1 / len(most)) / sqrt(len(most)) < self.aim:
                return list(self._points(reach, counts, shares))
        return list(self._points(reach, counts, self._shares(reach, counts)))

    def _shares(self, reach: int, counts: Sequence[int]) -> list[NDArray[np.float64]]:
        """Return, for each number of candidates, the share of each query's neighbours among so many."""
        k, queries = self.truth.k, self.truth.queries
        # One more than the candidates, since a query may find itself.
        found = self._live(self.ann.search(queries, self._asked(self._effort(reach, counts[-1] + 1))))
        near = np.cumsum(self.truth.found(found, self.read), axis=1)
        # Of a query that found itself before, one more counts as its first ones.
        itself = np.cumsum(found == self.truth.own[:, np.newaxis], axis=1)
        rows = np.arange(len(queries))
        shares = []
        for count in counts:
            last = np.minimum(count - 1 + itself[:, min(count, found.shape[1]) - 1], found.shape[1] - 1)
            shares.append(np.minimum(near[rows, last], k) / k)
        return shares

    def _effort(self, reach: int, candidates: int) -> Effort:
        return Effort(reach, candidates, self.margins.get(reach))

    def _asked(self, effort: Effort) -> Effort:
        """Return an effort that finds as many live vectors as another has candidates, if the dead lie anywhere."""
        candidates = ceil(effort.candidates * len(self.is_live) / np.count_nonzero(self.is_live))
        return replace(effort, candidates=min(candidates, self.ann.count))

    def _live(self, found: Positions) -> Positions:
        """Return the positions of live vectors first, in their order, and -1 for the others."""
        live = np.where((found >= 0) & self.is_live[found], found, -1)
        return np.take_along_axis(live, np.argsort(live < 0, axis=1, kind="stable"), axis=1)

    def _points(self, reach: int, counts: Sequence[int], shares: Sequence[NDArray[np.float64]]) -> Iterator[Point]:
        known = [self._recall(share) for share in shares]
        times = np.full(len(counts), inf)
        # What can't be chosen needs no time, except for the curve.
        if self.truth.k == min(SAMPLE) or max(sure for *_, sure in known) >= self.aim:
            ends = sorted({counts[0], counts[-1]})
            times = np.interp(counts, ends, [self._milliseconds(self._effort(reach, count)) for count in ends])
        for count, (mean, low, high, sure), time_of in zip(counts, known, times.tolist(), strict=True):
            yield Point(self.truth.k, self._effort(reach, count), mean, low, high, sure, time_of)

    def _recall(self, share: NDArray[np.float64]) -> tuple[float, float, float, float]:
        """Return the mean of the queries' shares, the ends of its interval, and what it surely exceeds."""
        count = len(share)
        mean, error = float(share.mean()), float(share.std(ddof=1)) / sqrt(count) if count > 1 else 1.0
        # Of n neighbours that were all found, the next may not be: 3 / n bounds its chance at 95 %.
        certain = 1 - 3 / (count * self.truth.k)
        low, high = max(0.0, min(mean - SHOWN * error, certain)), min(1.0, mean + SHOWN * error)
        return mean, low, high, max(0.0, min(mean - SURE * error, certain))

    def _milliseconds(self, effort: Effort) -> float:
        queries = self.truth.queries
        most = min(TIMED[self.truth.k], TIMED_ROUGHLY if len(queries) <= ROUGHLY else len(queries))
        first = most * next(self.turns) if self.truth.k == min(SAMPLE) else 0
        times = []
        for query in queries.take(range(first, first + most), axis=0, mode="wrap"):
            began = time.perf_counter()
            positions = self.ann.search(query[np.newaxis], self._asked(effort))[0]
            _cosines(self.read(positions[(positions >= 0) & self.is_live[positions]]), query)
            times.append(time.perf_counter() - began)
        return float(np.median(times)) * 1e3


def _cosines(vectors: Vectors, query: Vectors) -> Vectors:
    # Not by BLAS, whose threads spin after such a product.
    cosines: Vectors = np.einsum("ij,j->i", vectors, query)
    return cosines


def _likely_times(measured: Sequence[Point], points: Sequence[Point]) -> list[float]:
    """Return the times of some points on the plane over reach and candidates that fits all measured ones best.

    Two efforts that lie close differ by less than the error of timing them, and the luckiest would be chosen.
    """
    timed = [point for point in measured if isfinite(point.milliseconds)]
    shares = np.array([_place(point) for point in timed]) / np.array([[point.milliseconds] for point in timed])
    plane = np.linalg.lstsq(shares, np.ones(len(timed)), rcond=None)[0]  # by the least relative error
    times: list[float] = (np.array([_place(point) for point in points]) @ plane).tolist()
    return times


def _place(point: Point) -> tuple[float, float, float]:
    return 1.0, point.effort.reach, point.effort.candidates


def _frontier(points: Iterable[Point]) -> list[Point]:
    """Return the points that no cheaper one reaches, by rising recall."""
    frontier: list[Point] = []
    for point in sorted(points, key=lambda point: (point.milliseconds, -point.recall)):
        if not frontier or point.recall > frontier[-1].recall:
            frontier.append(point)
    return frontier

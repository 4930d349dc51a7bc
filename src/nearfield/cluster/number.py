"""How many clusters there are, where nobody says."""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.protocol import Vectors

Ints: TypeAlias = NDArray[np.int64]

SAMPLE = 2_000
"""On how many vectors a number of clusters is judged."""
MOST = 150
"""The largest number that is tried."""
_STEP = 1.25
_TRIES = 3


def choose_number(partition: Callable[[int], Ints], unit: Vectors, n: int) -> int:
    """Return the number of clusters with the highest mean silhouette; of equals the smallest.

    `partition(k)` gives the labels of `unit`'s rows, a sample of at least 3 distinct unit vectors, in k
    clusters; `n` is how many vectors there are in all. Tried are steps of a quarter from 2 up to the square
    root of n (at least 10, at most 150, always below the number of rows); then the gaps around the best are
    searched until they are at most a tenth of it. It is a good guess where groups stand apart, and no more
    than a guess elsewhere: it never answers 1.
    """
    most = min(len(unit) - 1, max(10, min(isqrt(n), MOST)))
    tried = {2}
    while max(tried) < most:
        tried.add(min(most, max(max(tried) + 1, int(max(tried) * _STEP))))
    distances = 1.0 - unit @ unit.T
    scores: dict[int, float] = {}
    while tried:
        scores |= {k: mean_silhouette(distances, partition(k)) for k in sorted(tried)}
        best = min(scores, key=lambda k: (-scores[k], k))
        low = max((k for k in scores if k < best), default=best)
        high = min((k for k in scores if k > best), default=best)
        gap = [k for k in range(low + 1, high) if k != best] if high - low > best // 10 else []
        places = np.linspace(0, len(gap) - 1, min(len(gap), _TRIES)).round().astype(int)
        tried = {gap[place] for place in places}
    return best


def mean_silhouette(distances: NDArray[np.float32], labels: Ints) -> float:
    """Return the mean silhouette of a partition, between -1 and 1, higher is better.

    (b - a) / max(a, b), with a the mean distance to the others of the own cluster and b that to the nearest
    other cluster; 0 for the only member of a cluster (Rousseeuw, Silhouettes, 1987). `distances` is float32
    `(n, n)` with zeros on its diagonal. One cluster alone gives -1, since nothing is apart.

    >>> line = np.array([0, 1, 10, 11], dtype=np.float32)
    >>> round(mean_silhouette(abs(line[:, None] - line), np.array([0, 0, 1, 1])), 4)
    0.8997
    """
    _, labels, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        return -1.0
    rows = np.arange(len(labels))
    sums = distances @ np.eye(len(sizes), dtype=np.float32)[labels]
    own = sizes[labels]
    within = sums[rows, labels] / np.maximum(own - 1, 1)
    means = sums / sizes
    means[rows, labels] = np.inf
    nearest = means.min(axis=1)
    spread = np.maximum(np.maximum(within, nearest), np.finfo(np.float32).tiny)
    return float(np.where(own > 1, (nearest - within) / spread, 0.0).mean())

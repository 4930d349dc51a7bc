"""Moving documents one by one after a partition is made, for as long as that makes its clusters tighter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nearfield.cluster.partition import Ints, directions, iterate
from nearfield.encode.protocol import Vectors

ROUNDS = 50
LEAST_GAIN = 1e-6
"""Of a move; the sums of cosines are float64 sums of float32 cosines."""


def refine(unit: Vectors, weights: NDArray[np.float32], labels: Ints, n_clusters: int) -> Ints:
    """Return a partition with a higher, or the same, sum of cosines to the centroids' directions; int64 `(n,)`.

    Steps of spherical k-means alternate with moves of single rows that raise the sum although the row's own centroid is
    still the nearest: a row pulls its centroid towards itself, which matters in small clusters (first variation;
    Dhillon, Guan and Kogan, Iterative Clustering of High Dimensional Text Data Augmented by Local Search, ICDM 2002).

    Args:
        unit: Distinct unit vectors, float32 `(n, d)`.
        weights: How often each row counts, float32 `(n,)`.
        labels: Where to begin; every cluster has a row.
        n_clusters: How many clusters there are; none gets empty.
    """
    for _ in range(ROUNDS):
        labels, _ = iterate(unit, weights, directions(unit, weights, labels, n_clusters))
        moved = _move(unit, weights, labels, n_clusters)
        if np.array_equal(moved, labels):
            break
        labels = moved
    return labels


def _move(unit: Vectors, weights: NDArray[np.float32], labels: Ints, n_clusters: int) -> Ints:
    """Return the labels after the moves that gain most, of which no two touch the same cluster: so gains add up."""
    gains, targets = _gains(unit, weights, labels, n_clusters)
    moved = labels.copy()
    touched: set[int] = set()
    for row in np.argsort(-gains, kind="stable"):
        if gains[row] <= LEAST_GAIN:
            break
        pair = {int(labels[row]), int(targets[row])}
        if not pair & touched:
            touched |= pair
            moved[row] = targets[row]
    return moved


def _gains(
    unit: Vectors, weights: NDArray[np.float32], labels: Ints, n_clusters: int
) -> tuple[NDArray[np.float64], Ints]:
    """Return what each row's best move would add to the sum of the clusters' lengths, and where to.

    The sum of cosines of a cluster's rows with its direction is the length of their sum, so a move from a to b gains
    |b + x| - |b| + |a - x| - |a|.
    """
    rows = np.arange(len(unit))
    sums = np.zeros((n_clusters, unit.shape[1]))
    np.add.at(sums, labels, weights[:, np.newaxis] * unit.astype(np.float64))
    squares = np.einsum("ij,ij->i", sums, sums)
    products = 2 * weights[:, np.newaxis] * (unit @ sums.T)
    own = (weights.astype(np.float64) * np.linalg.norm(unit, axis=1)) ** 2
    joined = np.sqrt(np.maximum(squares + products + own[:, np.newaxis], 0)) - np.sqrt(squares)
    left = np.sqrt(np.maximum(squares[labels] - products[rows, labels] + own, 0)) - np.sqrt(squares[labels])
    gains = joined + left[:, np.newaxis]
    gains[rows, labels] = -np.inf
    gains[np.bincount(labels, minlength=n_clusters)[labels] == 1] = -np.inf
    targets = gains.argmax(axis=1)
    return gains[rows, targets], targets

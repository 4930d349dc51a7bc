"""Partitions of unit vectors: spherical k-means, and trees by Ward's or by average linkage."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.protocol import Vectors
from nearfield.errors import InvalidInput

Ints: TypeAlias = NDArray[np.int64]
Tree: TypeAlias = NDArray[np.float64]

LINKAGE_LIMIT = 20_000
"""The most documents that a linkage takes: their distances, kept twice, fill 3.2 GB."""
KMEANS_SAMPLE = 20_000
"""Above this many distinct vectors, k-means looks for its starting centroids in a sample of this size."""
_STARTS = 10
_MOST_STARTS = 100
_ITERATIONS = 300
_BLOCK = 1_000


def distinct(unit: Vectors) -> tuple[Ints, Ints]:
    """Return the rows of the distinct vectors, ascending, and for every row the place of its like among them.

    Vectors that agree to six decimals count as the same: encoding one text in two batches differs by less.
    """
    rounded = np.ascontiguousarray(np.round(unit, 6) + 0.0)  # + 0.0 turns -0.0 into 0.0
    keys = rounded.view(np.dtype((np.void, rounded.dtype.itemsize * rounded.shape[1]))).ravel()
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[place]


def kmeans(unit: Vectors, weights: NDArray[np.float32], n_clusters: int, seed: int, effort: float = 1.0) -> Ints:
    """Return the label of every row, int64 `(n,)` from 0 to n_clusters - 1, by spherical k-means.

    The rows are distinct unit vectors, and `weights` says how often each counts. A row belongs to the centroid with the
    highest cosine, and a centroid is the direction of its rows' sum, which raises the sum of all cosines in every step
    (Dhillon and Modha, Concept Decompositions for Large Sparse Text Data Using Clustering, Machine Learning 2001). The
    best of ten starts by k-means++ (Arthur and Vassilvitskii, SODA 2007), each until no row changes its cluster; below
    2,000 rows of up to a hundred, since small data have many local optima. `effort` multiplies the starts.
    Above 20,000 rows the ten starts run on a seeded sample and the best of them goes on with all rows (after Bradley
    and Fayyad, Refining Initial Points for K-Means Clustering, ICML 1998).
    """
    if len(unit) > KMEANS_SAMPLE >= 10 * n_clusters:
        rows = np.sort(np.random.default_rng(seed).choice(len(unit), KMEANS_SAMPLE, replace=False))
        labels = kmeans(unit[rows], weights[rows], n_clusters, seed, effort)
        return iterate(unit, weights, directions(unit[rows], weights[rows], labels, n_clusters))[0]
    from sklearn.cluster import kmeans_plusplus

    draw = np.random.RandomState(seed)
    runs = []
    for _ in range(round(effort * min(_MOST_STARTS, max(_STARTS, 20_000 // len(unit))))):
        centroids, _ = kmeans_plusplus(unit, n_clusters, sample_weight=weights, random_state=draw)
        runs.append(iterate(unit, weights, centroids))
    return max(runs, key=lambda run: run[1])[0]


def iterate(unit: Vectors, weights: NDArray[np.float32], centroids: Vectors) -> tuple[Ints, float]:
    """Return the labels at which k-means from these centroids ends, and their sum of cosines."""
    n_clusters = len(centroids)
    labels = np.full(len(unit), -1, dtype=np.int64)
    for _ in range(_ITERATIONS):
        cosines = unit @ centroids.T
        nearest = cosines.argmax(axis=1)
        _fill(nearest, cosines.max(axis=1), n_clusters)
        if np.array_equal(nearest, labels):
            break
        labels = nearest
        centroids = directions(unit, weights, labels, n_clusters)
    return labels, float(weights @ np.einsum("ij,ij->i", unit, centroids[labels]))


def _fill(labels: Ints, cosines: NDArray[np.float32], n_clusters: int) -> None:
    """Give every empty cluster the row that fits its own worst, so that exactly n_clusters stay."""
    sizes = np.bincount(labels, minlength=n_clusters)
    empty = np.flatnonzero(sizes == 0)
    if not len(empty):
        return
    worst = iter(np.argsort(cosines, kind="stable"))
    for label in empty:
        row = next(row for row in worst if sizes[labels[row]] > 1)
        sizes[labels[row]] -= 1
        labels[row] = label


def directions(unit: Vectors, weights: NDArray[np.float32], labels: Ints, n_clusters: int) -> Vectors:
    """Return the direction of each cluster's weighted sum, float32 `(n_clusters, d)` of unit length."""
    from scipy.sparse import csr_array

    members = csr_array((weights, (labels, np.arange(len(labels)))), shape=(n_clusters, len(labels)))
    sums: Vectors = members @ unit
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    sums /= np.maximum(norms, np.finfo(np.float32).tiny)
    return sums


def check_linkage(n: int, method: str) -> None:
    """Refuse more documents than a linkage can take.

    Raises:
        InvalidInput: more than 20,000 documents.
    """
    if n > LINKAGE_LIMIT:
        gigabytes = n * (n - 1) / 2 * 16 / 1e9
        raise InvalidInput(
            f"method {method!r} takes at most {LINKAGE_LIMIT:,} documents, since it keeps the distances of all "
            f"pairs; {n:,} documents would need {gigabytes:,.1f} GB. Use method='kmeans', or cluster fewer"
        )


def grow_tree(unit: Vectors, method: str) -> Tree:
    """Return SciPy's linkage matrix, float64 `(n - 1, 4)`, of unit vectors.

    "ward" merges what raises the sum of squared Euclidean distances to the centroids least (Ward,
    Hierarchical Grouping to Optimize an Objective Function, JASA 1963); "average" what has the lowest mean
    cosine distance between members (Sokal and Michener, 1958).
    """
    from scipy.cluster.hierarchy import linkage

    wide = unit.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    distances = np.empty(len(unit) * (len(unit) - 1) // 2)
    end = 0
    for start in range(0, len(unit), _BLOCK):
        cosines = wide[start : start + _BLOCK] @ wide[start:].T
        for row, values in enumerate(cosines):
            begin, end = end, end + len(values) - row - 1
            np.subtract(1.0, values[row + 1 :], out=distances[begin:end])
    np.maximum(distances, 0.0, out=distances)  # rounding leaves some below zero
    if method == "ward":
        # Between unit vectors the squared Euclidean distance is 2 (1 - cosine).
        distances *= 2.0
        np.sqrt(distances, out=distances)
    return np.asarray(linkage(distances, method=method), dtype=np.float64)


def cut_tree(tree: Tree, n_clusters: int) -> Ints:
    """Return the label of every leaf after all merges but the last n_clusters - 1, int64 `(n,)`.

    Exactly n_clusters come out, also where merges have equal heights and no height would separate them.
    """
    n = len(tree) + 1
    parent = np.arange(2 * n - 1)
    for step in range(n - n_clusters):
        parent[tree[step, :2].astype(np.int64)] = n + step
    # A merge only joins earlier numbers, so that from above one pass finds every root.
    for node in range(2 * n - 2, -1, -1):
        parent[node] = parent[parent[node]]
    _, labels = np.unique(parent[:n], return_inverse=True)
    return np.asarray(labels, dtype=np.int64)

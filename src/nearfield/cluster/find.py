"""`find_clusters`: from ids, vectors and texts to a `Clustering`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from nearfield import checks
from nearfield.cluster.clustering import Clustering, make_clustering
from nearfield.cluster.number import SAMPLE, choose_number
from nearfield.cluster.partition import Tree, check_linkage, cut_tree, distinct, grow_tree, kmeans
from nearfield.cluster.refine import refine
from nearfield.encode.protocol import Vectors
from nearfield.errors import InvalidInput

Ints: TypeAlias = NDArray[np.int64]

METHODS = ("kmeans", "ward", "ward-cut", "average")


def find_clusters(
    doc_ids: Sequence[str],
    vectors: Vectors,
    texts: Sequence[str],
    *,
    n_clusters: int | None = None,
    method: str = "kmeans",
    seed: int = 0,
    encode: Callable[[Sequence[str]], Vectors] | None = None,
) -> Clustering:
    """Return the groups that documents form, with terms and representatives.

    `vectors` is float32 `(n, d)`, a row for each doc_id; length plays no part, only direction. `encode` turns
    texts into such vectors and is needed for `Clustering.assign` alone.

    - "kmeans": spherical k-means, that is by cosine, the best of many starts. Any size.
    - "ward": Ward's linkage on Euclidean distances of the normalised vectors, whose cut is then refined: a merge is
      final in a tree, and documents at a border often fit the neighbouring cluster better. Up to 20,000 documents.
    - "ward-cut": the cut of the same tree as it is. Up to 20,000 documents.
    - "average": average linkage on cosine distances. Up to 20,000 documents.

    `n_clusters=None` takes the number with the highest mean silhouette (cosine distances, on a seeded sample
    of 2,000 documents): see `choose_number`. The result depends on the documents, the method and the seed,
    never on the order in which they come. Documents with equal vectors share a cluster, so there can't be
    more clusters than distinct vectors (to six decimals). A zero vector has no direction: its document gets
    label -1, in no cluster.

    Raises:
        InvalidInput: an unknown method; fewer than 2 documents; ids, vectors and texts of different lengths;
            an id twice; NaN or infinity; nothing but zero vectors; n_clusters that is no int, below 1 or
            above the number of distinct vectors; a seed that is no int of at least 0; more documents than a
            linkage takes.

    >>> vectors = np.array([[1, 0], [0, 1], [1, 0.1], [0.1, 1]], dtype=np.float32)
    >>> found = find_clusters(["a", "b", "c", "d"], vectors, ["tea", "map", "tea", "map"], n_clusters=2)
    >>> found.labels
    {'a': 0, 'b': 1, 'c': 0, 'd': 1}
    >>> found.clusters[1].terms
    ['map']
    """
    checks.choice(method, "method", METHODS)
    checks.count(seed, "seed", least=0)
    if n_clusters is not None:
        checks.count(n_clusters, "n_clusters")
    _check_documents(doc_ids, texts)
    unit = checks.unit_vectors(vectors, len(doc_ids), None)
    order = sorted(range(len(doc_ids)), key=lambda row: doc_ids[row])
    doc_ids, texts, unit = [doc_ids[i] for i in order], [texts[i] for i in order], unit[order]
    inside = np.flatnonzero(unit.any(axis=1))
    if not len(inside):
        raise InvalidInput(
            f"all {len(doc_ids)} vectors are zero, and a zero vector has no direction; encode other texts"
        )
    found, tree = _partition(unit[inside], n_clusters, method, seed)
    labels = np.full(len(doc_ids), -1, dtype=np.int64)
    labels[inside] = found
    return make_clustering(doc_ids, unit, texts, labels, method=method, tree=tree, encode=encode)


def _partition(unit: Vectors, n_clusters: int | None, method: str, seed: int) -> tuple[Ints, Tree | None]:
    """Return labels by falling size, equal sizes by their first row, and the tree of a linkage."""
    first, place = distinct(unit)
    if n_clusters is not None and n_clusters > len(first):
        raise InvalidInput(
            f"n_clusters must be at most {len(first)}, the number of distinct vectors among those of the "
            f"{len(unit)} documents; got {n_clusters}"
        )
    if method == "kmeans":
        points, weights = unit[first], np.bincount(place).astype(np.float32)
        k = n_clusters or _choose_for_kmeans(points, seed)
        return _by_size(kmeans(points, weights, k, seed)[place]), None
    check_linkage(len(unit), method)
    tree = grow_tree(unit, "average" if method == "average" else "ward") if len(unit) > 1 else np.empty((0, 4))
    k = n_clusters or _choose_for_tree(tree, unit, first, seed)
    labels = cut_tree(tree, k)
    if method == "ward":
        labels = refine(unit[first], np.bincount(place).astype(np.float32), labels[first], k)[place]
    return _by_size(labels), tree


def _choose_for_kmeans(points: Vectors, seed: int) -> int:
    if len(points) < 3:
        return len(points)
    sample = points[_sample(len(points), seed)]
    weights = np.ones(len(sample), dtype=np.float32)
    return choose_number(lambda k: kmeans(sample, weights, k, seed, effort=0.2), sample, len(points))


def _choose_for_tree(tree: Tree, unit: Vectors, first: Ints, seed: int) -> int:
    if len(first) < 3:
        return len(first)
    rows = first[_sample(len(first), seed)]
    return choose_number(lambda k: cut_tree(tree, k)[rows], unit[rows], len(first))


def _sample(n: int, seed: int) -> Ints:
    if n <= SAMPLE:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, SAMPLE, replace=False))


def _by_size(labels: Ints) -> Ints:
    _, first, place, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(sizes), dtype=np.int64)
    rank[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    return rank[place]


def _check_documents(doc_ids: Sequence[str], texts: Sequence[str]) -> None:
    if len(doc_ids) != len(texts):
        raise InvalidInput(f"every document needs a text; got {len(doc_ids)} doc_ids and {len(texts)} texts")
    if len(doc_ids) < 2:
        raise InvalidInput(f"clusters need at least 2 documents; got {len(doc_ids)}")
    seen: set[str] = set()
    for doc_id, text in zip(doc_ids, texts, strict=True):
        if not isinstance(doc_id, str) or doc_id in seen:
            raise InvalidInput(f"doc_ids must be strings, each of them once; got {doc_id!r}")
        if not isinstance(text, str):
            raise InvalidInput(f"texts must be strings; document {doc_id!r} has {text!r}")
        seen.add(doc_id)

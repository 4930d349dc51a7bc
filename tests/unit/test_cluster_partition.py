from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist
from sklearn.metrics import adjusted_rand_score, silhouette_score

from nearfield.cluster.number import choose_number, mean_silhouette
from nearfield.cluster.partition import cut_tree, distinct, grow_tree, kmeans


def unit_vectors(n: int, d: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def brute_force(unit: np.ndarray, n_clusters: int, method: str) -> list[int]:
    """Merge the best pair of clusters again and again, by the definition of the linkage."""
    points = unit.astype(np.float64)
    clusters = [[i] for i in range(len(points))]

    def cost(a: list[int], b: list[int]) -> float:
        if method == "average":
            return float(np.mean(1 - points[a] @ points[b].T))
        squares = [((points[m] - points[m].mean(axis=0)) ** 2).sum() for m in (a + b, a, b)]
        return float(squares[0] - squares[1] - squares[2])

    while len(clusters) > n_clusters:
        pairs = [(i, j) for i in range(len(clusters)) for j in range(i)]
        i, j = min(pairs, key=lambda pair: cost(clusters[pair[0]], clusters[pair[1]]))
        clusters[j] += clusters.pop(i)
    return [next(label for label, members in enumerate(clusters) if i in members) for i in range(len(points))]


@pytest.mark.parametrize("method", ["ward", "average"])
@pytest.mark.parametrize("n_clusters", [2, 4, 9])
def test_trees_merge_as_defined(method: str, n_clusters: int) -> None:
    unit = unit_vectors(24, 5, seed=n_clusters)
    labels = cut_tree(grow_tree(unit, method), n_clusters)
    assert adjusted_rand_score(brute_force(unit, n_clusters, method), labels) == 1.0


def test_trees_are_scipys() -> None:
    unit = unit_vectors(1_203, 6, seed=1)  # more than one block of distances
    ward = hierarchy.linkage(unit.astype(np.float64), "ward")
    average = hierarchy.linkage(pdist(unit.astype(np.float64), "cosine"), "average")
    np.testing.assert_allclose(grow_tree(unit, "ward")[:, 2], ward[:, 2], atol=1e-6)
    np.testing.assert_allclose(grow_tree(unit, "average")[:, 2], average[:, 2], atol=1e-6)


@pytest.mark.parametrize("n_clusters", [1, 2, 7, 40, 60])
def test_cutting_is_scipys_without_ties(n_clusters: int) -> None:
    tree = grow_tree(unit_vectors(60, 4, seed=2), "ward")
    expected = hierarchy.cut_tree(tree, n_clusters).ravel()
    assert adjusted_rand_score(expected, cut_tree(tree, n_clusters)) == 1.0
    assert adjusted_rand_score(hierarchy.fcluster(tree, n_clusters, "maxclust"), cut_tree(tree, n_clusters)) == 1.0


def test_cutting_gives_the_exact_number_where_heights_tie() -> None:
    tree = grow_tree(np.eye(6, dtype=np.float32), "average")  # every merge at distance 1
    assert len(set(hierarchy.fcluster(tree, 4, "maxclust"))) == 1
    for n_clusters in range(1, 7):
        assert len(set(cut_tree(tree, n_clusters))) == n_clusters


def test_kmeans_weighs_duplicates() -> None:
    angles = np.array([0.0, 0.3, 0.7])
    fan = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert len({*kmeans(fan, np.array([1, 1, 1], dtype=np.float32), 2, 0)[:2]}) == 1
    assert len({*kmeans(fan, np.array([100, 100, 1], dtype=np.float32), 2, 0)[:2]}) == 2


def test_kmeans_ends_where_every_row_is_nearest_to_its_weighted_centroid() -> None:
    unit = unit_vectors(200, 6, seed=3)
    weights = np.random.default_rng(3).integers(1, 60, size=200).astype(np.float32)
    labels = kmeans(unit, weights, 9, 0)
    sums = np.array([(weights[labels == c, None] * unit[labels == c]).sum(axis=0) for c in range(9)])
    cosines = unit @ (sums / np.linalg.norm(sums, axis=1, keepdims=True)).T
    assert cosines.argmax(axis=1).tolist() == labels.tolist()


def test_distinct_vectors_in_order_of_their_first_row() -> None:
    unit = np.array([[0, 1], [1, 0], [0, 1], [1e-8, 1], [-0.0, 1], [0.6, 0.8]], dtype=np.float32)
    first, place = distinct(unit)
    assert first.tolist() == [0, 1, 5]
    assert place.tolist() == [0, 1, 0, 0, 0, 2]


def test_the_silhouette_is_scikit_learns() -> None:
    unit = unit_vectors(80, 5, seed=4)
    labels = np.random.default_rng(4).integers(4, size=80)
    labels[0] = 9  # alone in its cluster
    distances = (1 - unit @ unit.T).astype(np.float32)
    assert mean_silhouette(distances, labels) == pytest.approx(
        silhouette_score(unit, labels, metric="cosine"), abs=1e-5
    )
    assert mean_silhouette(distances, np.zeros(80, dtype=np.int64)) == -1.0


@pytest.mark.parametrize("groups", [3, 37, 64])
def test_the_search_closes_the_gaps_between_its_steps(groups: int) -> None:
    unit = np.repeat(np.eye(groups, dtype=np.float32), 8, axis=0)
    unit += 0.01 * np.random.default_rng(0).normal(size=unit.shape).astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    tree = grow_tree(unit, "average")
    chosen = choose_number(lambda k: cut_tree(tree, k), unit, 100_000)
    assert abs(chosen - groups) <= groups // 10

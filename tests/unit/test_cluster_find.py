from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from nearfield.cluster import METHODS, Clustering, find_clusters
from nearfield.errors import InvalidInput


def blobs(sizes: list[int], dimension: int = 16, spread: float = 0.15, seed: int = 3) -> tuple[np.ndarray, list[int]]:
    """Groups around orthogonal directions, far apart, rows of any length, in shuffled order."""
    draw = np.random.default_rng(seed)
    truth = draw.permutation(np.repeat(np.arange(len(sizes)), sizes))
    vectors = np.eye(dimension)[truth] + spread * draw.normal(size=(len(truth), dimension)) / np.sqrt(dimension)
    return (vectors * draw.uniform(0.5, 2.0, size=(len(truth), 1))).astype(np.float32), truth.tolist()


def ids(n: int) -> list[str]:
    return [f"d{i:05}" for i in range(n)]


def find(vectors: np.ndarray, **options: object) -> Clustering:
    return find_clusters(ids(len(vectors)), vectors, ["word"] * len(vectors), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
def test_blobs_are_found_and_numbered_by_falling_size(method: str) -> None:
    vectors, truth = blobs([10, 40, 25])
    found = find(vectors, n_clusters=3, method=method)
    assert list(found.labels.values()) == [{0: 2, 1: 0, 2: 1}[group] for group in truth]
    assert [cluster.size for cluster in found.clusters] == [40, 25, 10]
    assert [cluster.label for cluster in found.clusters] == [0, 1, 2]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("groups", [2, 5, 13])
def test_the_number_of_obvious_blobs_is_chosen(method: str, groups: int) -> None:
    vectors, truth = blobs([20] * groups)
    found = find(vectors, method=method)
    assert found.n_clusters == groups
    assert adjusted_rand_score(truth, list(found.labels.values())) == 1.0


def test_equal_sizes_are_numbered_by_the_smallest_doc_id() -> None:
    vectors = np.eye(3, dtype=np.float32)[[2, 0, 1, 1, 0, 2]]
    assert list(find(vectors, n_clusters=3).labels.values()) == [0, 1, 2, 2, 1, 0]


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_insertion_changes_nothing(method: str) -> None:
    vectors = np.random.default_rng(5).normal(size=(60, 8)).astype(np.float32)
    texts = [f"word{i % 7} common" for i in range(60)]
    first = find_clusters(ids(60), vectors, texts, n_clusters=6, method=method)
    order = np.random.default_rng(6).permutation(60)
    second = find_clusters(
        [ids(60)[i] for i in order], vectors[order], [texts[i] for i in order], n_clusters=6, method=method
    )
    assert second.to_dict() == first.to_dict()


def total_cosine(unit: np.ndarray, labels: np.ndarray) -> float:
    return float(sum(np.linalg.norm(unit[labels == label].sum(axis=0)) for label in set(labels.tolist())))


def test_kmeans_finds_the_best_of_all_partitions() -> None:
    vectors = np.random.default_rng(7).normal(size=(9, 4)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    best = max((np.array(labels) for labels in product(range(3), repeat=9)), key=lambda one: total_cosine(unit, one))
    found = np.array(list(find(vectors, n_clusters=3).labels.values()))
    assert adjusted_rand_score(best, found) == 1.0


def test_kmeans_agrees_with_scikit_learn() -> None:
    vectors = np.random.default_rng(7).normal(size=(300, 12)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    found = np.array(list(find(vectors, n_clusters=8, seed=1).labels.values()))
    peer = KMeans(8, n_init=10, random_state=1).fit(unit).labels_
    assert total_cosine(unit, found) > 0.995 * total_cosine(unit, peer)


@pytest.mark.parametrize("method", METHODS)
def test_as_many_clusters_as_documents_and_one(method: str) -> None:
    vectors = np.random.default_rng(8).normal(size=(7, 4)).astype(np.float32)
    assert list(find(vectors, n_clusters=7, method=method).labels.values()) == list(range(7))
    assert set(find(vectors, n_clusters=1, method=method).labels.values()) == {0}


@pytest.mark.parametrize("method", METHODS)
def test_duplicates_share_a_cluster(method: str) -> None:
    vectors = np.repeat(np.eye(4, dtype=np.float32), [700, 500, 3, 1], axis=0)
    found = find(vectors, n_clusters=4, method=method)
    assert [cluster.size for cluster in found.clusters] == [700, 500, 3, 1]
    with pytest.raises(InvalidInput, match=r"at most 4, .* 1204 documents; got 5"):
        find(vectors, n_clusters=5, method=method)


@pytest.mark.parametrize("method", METHODS)
def test_all_vectors_equal_make_one_cluster(method: str) -> None:
    found = find(np.ones((1000, 4), dtype=np.float32), method=method)
    assert found.n_clusters == 1
    assert found.clusters[0].representatives == ["d00000", "d00001", "d00002", "d00003", "d00004"]
    assert found.clusters[0].similarities == [1.0] * 5


def test_nearly_equal_vectors_are_still_told_apart() -> None:
    vectors = np.array([[1, 0, 0], [1, 0, 1e-5], [1, 1e-5, 0], [0, 1, 0]], dtype=np.float32)
    assert find(vectors, n_clusters=4).n_clusters == 4
    assert find(vectors, n_clusters=3).n_clusters == 3


@pytest.mark.parametrize("method", METHODS)
def test_a_zero_vector_belongs_to_no_cluster(method: str) -> None:
    vectors, _ = blobs([5, 4])
    vectors[3] = 0
    found = find(vectors, n_clusters=2, method=method)
    assert found.labels["d00003"] == -1
    assert sum(cluster.size for cluster in found.clusters) == 8
    assert found.to_pandas().query("label == -1").to_dict("records") == [{"doc_id": "d00003", "label": -1, "terms": ""}]


def test_assign_gives_documents_their_own_labels() -> None:
    vectors = np.random.default_rng(9).normal(size=(200, 6)).astype(np.float32)
    found = find(vectors, n_clusters=9)
    assert found.assign_vectors(5 * vectors) == list(found.labels.values())
    assert found.assign_vectors(np.zeros((1, 6), dtype=np.float32)) == [-1]
    assert found.assign_vectors(np.zeros((0, 6), dtype=np.float32)) == []


def test_assign_follows_the_rule_of_each_method() -> None:
    # A wide cluster whose mean (0, 0.8, 0, 0) is short, and a tight one whose mean is nearly (1, 0, 0, 0). For the
    # second vector the mean cosines are 0.56 and 0.71, the cosines to the centroids 0.69 and 0.71, the squared
    # distances to the means 0.53 and 0.59: there every method but Ward's answers the tight one.
    wide = [[0, 0.8, 0.6, 0], [0, 0.8, -0.6, 0], [0, 0.8, 0, 0.6], [0, 0.8, 0, -0.6]]
    vectors = np.array([[1, -0.01, 0, 0], [1, -0.02, 0, 0], [1, -0.03, 0, 0], *wide], dtype=np.float32)
    new = np.array([[0.7, 0.714, 0, 0], [0.72, 0.694, 0, 0]], dtype=np.float32)
    for method, labels in [("kmeans", [0, 1]), ("ward", [0, 1]), ("ward-cut", [0, 0]), ("average", [1, 1])]:
        found = find(vectors, n_clusters=2, method=method)
        assert list(found.labels.values()) == [1, 1, 1, 0, 0, 0, 0]
        assert found.assign_vectors(new) == labels


def test_assign_encodes_texts() -> None:
    vectors, _ = blobs([6, 4], dimension=4)

    def encode(texts: object) -> np.ndarray:
        return np.array([[1, 0, 0, 0] if text == "first" else [0, 1, 0, 0] for text in texts], dtype=np.float32)

    found = find_clusters(ids(10), vectors, ["w"] * 10, n_clusters=2, encode=encode)
    assert found.assign(["second", "first"]) == [1, 0]
    assert found.assign([]) == []
    with pytest.raises(InvalidInput, match="list of strings"):
        found.assign("first")
    with pytest.raises(InvalidInput, match="pass encode= to find_clusters"):
        find(vectors, n_clusters=2).assign(["first"])


def test_representatives_are_the_nearest_to_the_centroid() -> None:
    vectors, _ = blobs([30, 20])
    found = find(vectors, n_clusters=2)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for cluster in found.clusters:
        rows = [i for i, label in enumerate(found.labels.values()) if label == cluster.label]
        mean = unit[rows].mean(axis=0)
        cosine = {ids(50)[i]: float(unit[i] @ mean / np.linalg.norm(mean)) for i in rows}
        expected = sorted(cosine, key=lambda doc_id: -cosine[doc_id])[:5]
        assert cluster.representatives == expected
        assert cluster.similarities == pytest.approx([cosine[doc_id] for doc_id in expected], abs=2e-6)


def test_repr_shows_sizes_and_terms() -> None:
    vectors = np.eye(2, dtype=np.float32)[[0, 1, 0]]
    found = find_clusters(["a", "b", "c"], vectors, ["tea", "map", "tea"], n_clusters=2, method="ward")
    assert repr(found) == "2 clusters of 3 documents (ward)\n   0  2  tea\n   1  1  map"


@pytest.mark.slow
def test_above_the_sample_size_all_vectors_are_clustered() -> None:
    vectors, truth = blobs([9_000, 7_000, 5_000], dimension=8)
    found = find(vectors, n_clusters=3)
    assert adjusted_rand_score(truth, list(found.labels.values())) == 1.0


GOOD = np.eye(3, dtype=np.float32)
BAD: list[tuple[Callable[[], object], str]] = [
    (
        lambda: find(GOOD, method="density"),
        "method must be one of 'kmeans', 'ward', 'ward-cut', 'average'",
    ),
    (lambda: find(GOOD, n_clusters=4), "at most 3"),
    (lambda: find(GOOD, n_clusters=0), "n_clusters must be an int of at least 1, got 0"),
    (lambda: find(GOOD, n_clusters=True), "got True"),
    (lambda: find(GOOD, n_clusters=2.0), "got 2.0"),
    (lambda: find(GOOD, seed=-1), "seed must be an int of at least 0, got -1"),
    (lambda: find(GOOD[:1]), "at least 2 documents; got 1"),
    (lambda: find(GOOD[:0]), "at least 2 documents; got 0"),
    (lambda: find(GOOD * np.nan), "row 0 has NaN or an infinity"),
    (lambda: find(GOOD * 0), "all 3 vectors are zero"),
    (lambda: find_clusters(["a", "b"], GOOD, ["x", "y"]), r"shape \(2, d\), got shape \(3, 3\)"),
    (lambda: find_clusters(["a", "b", "c"], GOOD[0], ["x", "y", "z"]), "shape"),
    (lambda: find_clusters(["a", "a", "c"], GOOD, ["x", "y", "z"]), "each of them once; got 'a'"),
    (lambda: find_clusters(["a", "b", "c"], GOOD, ["x", "y"]), "3 doc_ids and 2 texts"),
    (lambda: find_clusters(["a", "b", "c"], GOOD, ["x", "y", None]), "document 'c' has None"),  # type: ignore[list-item]
    (
        lambda: find(GOOD, n_clusters=2).assign_vectors(np.ones((1, 2), dtype=np.float32)),
        r"shape \(n, 3\), got shape \(1, 2\)",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        call()


@pytest.mark.parametrize("method", ["ward", "average"])
def test_linkages_refuse_more_than_they_can_hold(method: str) -> None:
    vectors = np.tile(GOOD, (7_000, 1))
    with pytest.raises(InvalidInput, match=r"at most 20,000 documents.*21,000 documents would need 3\.5 GB"):
        find(vectors, n_clusters=3, method=method)

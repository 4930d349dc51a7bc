import itertools

import numpy as np
import pytest

from nearfield.cluster import find_clusters
from nearfield.cluster.refine import refine


def objective(unit, weights, labels):
    return sum(np.linalg.norm((weights[:, None] * unit)[labels == label].sum(axis=0)) for label in set(labels))


def make(seed, n=12, d=4):
    rng = np.random.default_rng(seed)
    unit = rng.standard_normal((n, d)).astype(np.float32)
    return unit / np.linalg.norm(unit, axis=1, keepdims=True), rng.integers(1, 4, n).astype(np.float32)


@pytest.mark.parametrize("seed", range(20))
def test_the_sum_of_cosines_rises_until_no_single_move_raises_it(seed):
    unit, weights = make(seed)
    start = np.arange(12) % 3
    labels = refine(unit, weights, start, 3)
    reached = objective(unit, weights, labels)
    assert reached >= objective(unit, weights, start)
    assert sorted(set(labels.tolist())) == [0, 1, 2]
    for row, target in itertools.product(range(12), range(3)):
        if (labels == labels[row]).sum() > 1:
            moved = labels.copy()
            moved[row] = target
            assert objective(unit, weights, moved) <= reached + 1e-5


def test_a_weight_counts_as_so_many_equal_rows():
    unit, _ = make(1)
    weights = np.ones(12, np.float32)
    weights[0] = 3
    labels = refine(unit, weights, np.arange(12) % 3, 3)
    copies = np.concatenate((unit, unit[:1], unit[:1]))
    assert objective(copies, np.ones(14), np.concatenate((labels, labels[:1], labels[:1]))) == pytest.approx(
        objective(unit, weights, labels)
    )


def test_clusters_of_one_document_stay():
    unit = np.eye(3, dtype=np.float32)
    assert refine(unit, np.ones(3, np.float32), np.array([0, 1, 2]), 3).tolist() == [0, 1, 2]


def test_ward_is_refined_and_ward_cut_is_the_tree_as_scipy_cuts_it():
    from scipy.cluster.hierarchy import fcluster, linkage
    from sklearn.metrics import adjusted_rand_score

    unit, _ = make(3, n=60)
    names, texts = [f"{i:02}" for i in range(60)], ["text"] * 60
    plain, better = (find_clusters(names, unit, texts, n_clusters=5, method=m) for m in ("ward-cut", "ward"))
    scipy = fcluster(linkage(unit.astype(np.float64), "ward"), 5, "maxclust")
    assert adjusted_rand_score(scipy, list(plain.labels.values())) == 1.0
    weights = np.ones(60, np.float32)
    before, after = (objective(unit, weights, np.array(list(found.labels.values()))) for found in (plain, better))
    assert after > before
    assert better.assign_vectors(unit) == list(better.labels.values())

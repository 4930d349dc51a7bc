import numpy as np

from nearfield.rank.diversity import diversify
from nearfield.rank.fusion import Leg, reciprocal_rank, standardised
from nearfield.rank.order import best


def leg(pairs, weight=0.5, unlisted=0):
    keys, scores = zip(*pairs, strict=True) if pairs else ((), ())
    return Leg(np.array(keys, np.int64), np.array(scores, np.float64), weight, unlisted)


def test_standardised_fusion_is_the_weighted_sum_of_z_scores():
    semantic, lexical = leg([(1, 0.9), (2, 0.5), (3, 0.1)], 0.7), leg([(3, 12.0), (1, 6.0), (2, 0.0)], 0.3)
    fused = standardised([semantic, lexical])
    z = np.sqrt(1.5)  # of three equally spaced scores: 1.2247, 0, -1.2247
    np.testing.assert_allclose(fused.scores, [0.7 * z, -0.3 * z, -0.7 * z + 0.3 * z], atol=1e-12)
    np.testing.assert_allclose(fused.contributions.sum(axis=0), fused.scores)


def test_a_document_that_a_leg_does_not_list_counts_as_its_lowest():
    fused = standardised([leg([(1, 0.9), (2, 0.5)]), leg([(2, 7.0), (3, 3.0)])])
    assert fused.keys.tolist() == [1, 2, 3]
    np.testing.assert_allclose(fused.contributions, [[0.5, -0.5, -0.5], [-0.5, 0.5, -0.5]])


def test_documents_without_a_term_count_as_zero_so_that_a_single_lexical_hit_counts():
    alone = standardised([leg([(1, 0.9), (2, 0.8), (3, 0.7)]), leg([(3, 5.0)], unlisted=2)])
    scores = np.array([5.0, 0.0, 0.0])
    expected = 0.5 * (scores - scores.mean()) / scores.std()
    np.testing.assert_allclose(alone.contributions[1], [expected[1], expected[1], expected[0]])


def test_equal_scores_contribute_nothing():
    fused = standardised([leg([(1, 0.4), (2, 0.4)]), leg([(1, 3.0), (2, 1.0)])])
    np.testing.assert_allclose(fused.scores, [0.5, -0.5])


def test_an_empty_leg_contributes_nothing():
    fused = standardised([leg([(1, 0.9), (2, 0.1)]), leg([])])
    np.testing.assert_allclose(fused.scores, [0.5, -0.5])


def test_reciprocal_rank_fusion_at_equal_weights_is_that_of_cormack():
    fused = reciprocal_rank([leg([(1, 9), (2, 8), (3, 7)]), leg([(3, 5), (4, 1)])])
    np.testing.assert_allclose(fused.scores, [1 / 61, 1 / 62, 1 / 63 + 1 / 61, 1 / 62])


def test_the_order_is_by_score_and_then_by_doc_id_also_at_the_cut():
    keys, scores = np.arange(5), np.array([0.5, 0.9, 0.5, 0.5, 0.1])
    names = {0: "c", 1: "z", 2: "a", 3: "b", 4: "0"}
    order = best(keys, scores, 3, lambda tied: [names[key] for key in tied])
    assert keys[order].tolist() == [1, 2, 3]
    assert best(keys, scores, 99, lambda tied: [names[key] for key in tied]).tolist() == [1, 2, 3, 0, 4]


def test_doc_ids_are_asked_for_only_where_scores_tie():
    asked = []
    best(np.array([7, 8, 9]), np.array([3.0, 2.0, 1.0]), 2, lambda keys: asked.append(keys) or [])
    assert asked == []


def vectors_at(*degrees):
    angles = np.radians(degrees)
    return np.column_stack((np.cos(angles), np.sin(angles))).astype(np.float32)


def test_no_diversity_is_the_order_of_relevance():
    relevance = np.array([0.2, 0.9, 0.5])
    assert diversify(relevance, vectors_at(0, 0, 0), 3, 0.0).tolist() == [1, 2, 0]


def test_each_step_takes_the_best_marginal_relevance():
    relevance, vectors = np.array([1.0, 0.9, 0.6, 0.0]), vectors_at(0, 5, 80, 200)
    chosen = diversify(relevance, vectors, 4, 0.5)
    picked = [0]
    while len(picked) < 4:
        left = [i for i in range(4) if i not in picked]
        picked.append(max(left, key=lambda i: 0.5 * relevance[i] - 0.5 * max(vectors[i] @ vectors[j] for j in picked)))
    assert chosen.tolist() == picked


def mean_similarity(seed, diversity):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((8, 16))
    vectors = np.repeat(centres, 25, axis=0) + 0.3 * rng.standard_normal((200, 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    relevance = (vectors @ vectors[0]).astype(np.float64)
    chosen = vectors[diversify(relevance, vectors, 10, diversity)]
    return float((chosen @ chosen.T)[np.triu_indices(10, 1)].mean())


def test_rising_diversity_lowers_the_mean_similarity_among_the_chosen():
    # The mean over several sets: a single greedy choice may rise by a little.
    values = [np.mean([mean_similarity(seed, diversity) for seed in range(8)]) for diversity in (0.0, 0.2, 0.4, 0.6)]
    assert values == sorted(values, reverse=True)
    assert values[0] - values[-1] > 0.3

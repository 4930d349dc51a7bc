"""Fusion against plain Python over dicts, on random rankings."""

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearfield.rank.fusion import Leg, reciprocal_rank, standardised

scores = st.dictionaries(st.integers(0, 30), st.floats(-5, 40, width=32), max_size=20)
legs = st.tuples(scores, scores, st.floats(0, 1), st.integers(0, 30))


def make(found, weight, unlisted=0):
    ranked = sorted(found.items(), key=lambda pair: -pair[1])
    keys = np.array([key for key, _ in ranked], np.int64)
    return Leg(keys, np.array([score for _, score in ranked], np.float64), weight, unlisted)


def plain_standardised(found, weight, unlisted):
    values = [*found.values(), *[0.0] * unlisted]
    spread = statistics.pstdev(values) if values else 0.0
    if spread < 1e-9:
        return dict.fromkeys(found, 0.0), 0.0
    mean = statistics.fmean(values)
    z = {key: weight * (score - mean) / spread for key, score in found.items()}
    return z, weight * (min(values) - mean) / spread


@given(legs)
def test_standardised_scores_are_summed_with_the_lowest_for_what_a_leg_lacks(given_legs):
    first, second, weight, unlisted = given_legs
    fused = standardised([make(first, weight), make(second, 1 - weight, unlisted)])
    one, lowest_one = plain_standardised(first, weight, 0)
    two, lowest_two = plain_standardised(second, 1 - weight, unlisted)
    expected = {key: one.get(key, lowest_one) + two.get(key, lowest_two) for key in first.keys() | second.keys()}
    assert fused.keys.tolist() == sorted(expected)
    assert fused.scores.tolist() == pytest.approx([expected[key] for key in sorted(expected)], abs=1e-6)


@given(legs)
def test_reciprocal_ranks_are_summed(given_legs):
    first, second, weight, _ = given_legs
    one, two = make(first, weight), make(second, 1 - weight)
    fused = reciprocal_rank([one, two])
    expected = dict.fromkeys(first.keys() | second.keys(), 0.0)
    for leg in (one, two):
        for rank, key in enumerate(leg.keys.tolist(), 1):
            expected[key] += 2 * leg.weight / (60 + rank)
    assert fused.scores.tolist() == pytest.approx([expected[key] for key in fused.keys.tolist()])


@given(legs)
def test_the_order_of_the_legs_does_not_matter(given_legs):
    first, second, weight, unlisted = given_legs
    sides = [make(first, weight), make(second, 1 - weight, unlisted)]
    for fuse in (standardised, reciprocal_rank):
        assert fuse(sides).scores.tolist() == pytest.approx(fuse(sides[::-1]).scores.tolist())

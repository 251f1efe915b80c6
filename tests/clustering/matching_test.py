"""Matching of clusters, against the dense assignment problem."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from dc_keras.clustering.matching import churn, match_clusters


def test_by_hand():
    previous = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    current = np.array([2, 2, 1, 0, 0, 1, 1, 1])
    numbers, continued = match_clusters(previous, current, 4)
    # 2 -> 0 keeps two images, 0 -> 1 two, 1 -> 2 three; cluster 3 has no image in either.
    assert numbers.tolist() == [1, 2, 0, 3]
    assert continued.tolist() == [True, True, True, False]


def test_the_best_for_all_is_not_the_best_for_each():
    # New 0 shares 3 images with old 0 and 2 with old 1; new 1 shares 2 with old 0 and none else.
    previous = np.array([0, 0, 0, 1, 1, 0, 0])
    current = np.array([0, 0, 0, 0, 0, 1, 1])
    numbers, _ = match_clusters(previous, current, 2)
    assert numbers.tolist() == [1, 0]  # 2 + 2 images, not 3 + 0


@settings(max_examples=100, deadline=None)
@given(k=st.integers(1, 12), n=st.integers(1, 60), seed=st.integers(0, 10_000))
def test_it_keeps_as_many_images_as_possible(k, n, seed):
    rng = np.random.default_rng(seed)
    # Fewer clusters in use than there are, in one of the two.
    previous, current = rng.integers(0, k, n), rng.integers(0, rng.integers(1, k + 1), n)
    numbers, continued = match_clusters(previous, current, k)
    assert sorted(numbers.tolist()) == list(range(k))
    common = np.zeros((k, k))
    np.add.at(common, (current, previous), 1)
    rows, columns = linear_sum_assignment(-common)
    kept = common[np.arange(k), numbers]
    assert kept.sum() == common[rows, columns].sum()
    assert kept[~continued[numbers]].sum() == 0


@settings(max_examples=25, deadline=None)
@given(k=st.integers(2, 20), seed=st.integers(0, 10_000))
def test_the_same_clusters_under_other_names_get_their_numbers_back(k, seed):
    rng = np.random.default_rng(seed)
    previous = np.concatenate([np.arange(k), rng.integers(0, k, 50)])
    names = rng.permutation(k)
    numbers, continued = match_clusters(previous, names[previous], k)
    np.testing.assert_array_equal(numbers[names[previous]], previous)
    assert continued.all()


def test_churn_ignores_numbers_and_counts_moves():
    previous = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    assert churn(previous, (previous + 1) % 3) == 0
    # One image of the first cluster moves to the third.
    assert churn(previous, np.array([5, 5, 2, 1, 1, 1, 2, 2])) == 1 / 8
    # Of a cluster that is split, the larger part keeps its number.
    assert churn(np.zeros(5, int), np.array([0, 0, 0, 1, 1])) == 2 / 5

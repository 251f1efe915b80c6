"""Matching of clusters by hand, and against the dense assignment problem."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from dc_keras.clustering.matching import match_clusters, numbers_that_last


def common_images(previous, current, shape):
    """How many images each new cluster (row) shares with each old one (column)."""
    common = np.zeros(shape)
    np.add.at(common, (current, previous), 1)
    return common


def test_by_hand():
    previous = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    current = np.array([2, 2, 1, 0, 0, 1, 1, 1])
    # 2 -> 0 keeps two images, 0 -> 1 two, 1 -> 2 three; cluster 3 has no image in either.
    assert match_clusters(previous, current, 4).tolist() == [1, 2, 0, 3]


def test_the_best_for_all_is_not_the_best_for_each():
    # New 0 shares 3 images with old 0 and 2 with old 1; new 1 shares 2 with old 0 and none else.
    previous = np.array([0, 0, 0, 1, 1, 0, 0])
    current = np.array([0, 0, 0, 0, 0, 1, 1])
    assert match_clusters(previous, current, 2).tolist() == [1, 0]  # 2 + 2 images, not 3 + 0


@settings(max_examples=100)
@given(k=st.integers(1, 12), n=st.integers(1, 60), seed=st.integers(0, 10_000))
def test_it_keeps_as_many_images_as_possible(k, n, seed):
    rng = np.random.default_rng(seed)
    # Fewer clusters in use than there are, in one of the two.
    previous, current = rng.integers(0, k, n), rng.integers(0, rng.integers(1, k + 1), n)
    numbers = match_clusters(previous, current, k)
    assert sorted(numbers.tolist()) == list(range(k))
    common = common_images(previous, current, (k, k))
    rows, columns = linear_sum_assignment(-common)
    assert common[np.arange(k), numbers].sum() == common[rows, columns].sum()


@settings(max_examples=25)
@given(k=st.integers(2, 20), seed=st.integers(0, 10_000))
def test_the_same_clusters_under_other_names_get_their_numbers_back(k, seed):
    rng = np.random.default_rng(seed)
    previous = np.concatenate([np.arange(k), rng.integers(0, k, 50)])
    names = rng.permutation(k)
    numbers = match_clusters(previous, names[previous], k)
    np.testing.assert_array_equal(numbers[names[previous]], previous)


def test_other_numbers_are_no_churn():
    previous = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    numbers, churn = numbers_that_last(previous, (previous + 1) % 3, 3)
    assert (numbers.tolist(), numbers.dtype, churn) == ([2, 0, 1], np.int32, 0)


def test_an_image_that_moves_is_churn():
    previous = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    # One image of the first cluster moves to the third; clusters 0, 3 and 4 are empty now.
    numbers, churn = numbers_that_last(previous, np.array([5, 5, 2, 1, 1, 1, 2, 2]), 6)
    assert churn == 1 / 8
    assert numbers[[5, 1, 2]].tolist() == [0, 1, 2] and sorted(numbers) == list(range(6))


def test_of_a_cluster_that_is_split_the_larger_part_keeps_its_number():
    numbers, churn = numbers_that_last(np.zeros(5, int), np.array([1, 1, 1, 0, 0]), 2)
    assert (numbers.tolist(), churn) == ([1, 0], 2 / 5)


def test_more_clusters_than_before():
    previous = np.array([0, 0, 0, 1, 1, 1])
    # 2 continues 0 and 1 itself; 0 is new, made of an image of 0, and gets the number that is free.
    numbers, churn = numbers_that_last(previous, np.array([2, 2, 0, 1, 1, 1]), 3)
    assert (numbers.tolist(), churn) == ([2, 1, 0], 1 / 6)


def test_numbers_close_up_where_there_are_fewer_clusters_than_before():
    previous = np.array([0, 0, 1, 2, 2, 3, 3, 3, 3])
    # New 0 continues 3 with the images of 2 and new 1 continues 0 with that of 1. Numbers 0 and 3
    # become 0 and 1; those who stayed in 3 have not moved for that.
    numbers, churn = numbers_that_last(previous, np.array([1, 1, 1, 0, 0, 0, 0, 0, 0]), 2)
    assert (numbers.tolist(), numbers.dtype, churn) == ([1, 0], np.int32, 3 / 9)


@settings(max_examples=100)
@given(
    before=st.integers(1, 12), now=st.integers(1, 12), n=st.integers(1, 60), seed=st.integers(0, 99)
)
def test_churn_is_what_the_best_matching_leaves(before, now, n, seed):
    rng = np.random.default_rng(seed)
    previous, current = rng.integers(0, before, n), rng.integers(0, now, n)
    numbers, churn = numbers_that_last(previous, current, now)
    assert sorted(numbers.tolist()) == list(range(now))
    common = common_images(previous, current, (now, before))
    stay = common[linear_sum_assignment(-common)].sum()
    assert churn == pytest.approx(1 - stay / n)


@settings(max_examples=50)
@given(
    before=st.integers(1, 12), now=st.integers(1, 12), n=st.integers(1, 60), seed=st.integers(0, 99)
)
def test_the_numbers_shown_last_also_after_their_number_changed(before, now, n, seed):
    """From turn to turn the same clusters show as the same, whatever k-means calls them."""
    rng = np.random.default_rng(seed)
    previous, current = rng.integers(0, before, n), rng.integers(0, now, n)
    shown = numbers_that_last(previous, current, now)[0][current]
    again = rng.permutation(now)[current]
    numbers, churn = numbers_that_last(shown, again, now)
    np.testing.assert_array_equal(numbers[again], shown)
    assert churn == 0

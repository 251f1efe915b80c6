"""K-means and repair together; power iteration clustering with its limit; other numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dc_keras.clustering.centroids import nearest_centroids
from dc_keras.clustering.cluster_quality import purity
from dc_keras.clustering.kmeans import KMeansOptions
from dc_keras.clustering.pseudo_labels import ClusteringOptions, Clusters, assign_pseudo_labels


def test_separate_groups_are_never_mixed(rng):
    middle = rng.normal(size=(4, 8)) * 10
    truth = np.repeat(np.arange(4), 30)
    points = (middle[truth] + rng.normal(size=(120, 8)) * 0.1).astype("float32")
    # Of 24 random starting points some are in each group: the odds that one has none are 4 times
    # 90! 96! / (66! 120!), 0.2 %.
    found = assign_pseudo_labels(points, ClusteringOptions(24), seed=0, turn=0)
    assert purity(truth, found.assignments) == 1


def test_no_cluster_is_empty_where_faiss_leaves_some(rng):
    # 50 distinct points twenty times, and 60 more: Faiss alone leaves clusters of 100 empty.
    points = np.repeat(rng.normal(size=(50, 16)), 20, axis=0)
    points = np.concatenate([points, rng.normal(size=(60, 16))]).astype("float32")
    clustering = assign_pseudo_labels(points, ClusteringOptions(100), seed=1, turn=0)
    assert clustering.empty_before > 0 and clustering.empty_after == 0
    assert clustering.sizes.min() >= 1 and clustering.sizes.sum() == len(points)
    np.testing.assert_array_equal(
        clustering.sizes, np.bincount(clustering.assignments, minlength=100)
    )


def test_copies_that_differ_by_rounding_are_not_told_apart(rng):
    """Some processors give copies of an image features that differ in the last digits."""
    points = rng.normal(size=(4, 16))
    points = np.repeat(points / np.linalg.norm(points, axis=1, keepdims=True), 20, axis=0)
    points = (points + rng.normal(size=points.shape) * 1e-7).astype("float32")
    clustering = assign_pseudo_labels(points, ClusteringOptions(12), seed=1, turn=0)
    assert clustering.empty_after == 12 - 4
    assert [len(set(copies)) for copies in clustering.assignments.reshape(4, 20)] == [1] * 4


def test_each_turn_has_its_own_draws(rng):
    points = rng.normal(size=(200, 8)).astype("float32")

    def assignments(turn):
        options = ClusteringOptions(20)
        return assign_pseudo_labels(points, options, seed=1, turn=turn).assignments

    np.testing.assert_array_equal(assignments(2), assignments(2))
    assert not np.array_equal(assignments(2), assignments(3))


@pytest.fixture(scope="module")
def by_power_iteration():
    """Points, their own number of clusters, and what comes of allowing three fewer."""
    rng = np.random.default_rng(7)
    middle = rng.normal(size=(12, 16))
    truth = np.repeat(np.arange(12), 30)
    points = middle[truth] + rng.normal(size=(360, 16)) * 0.05
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype("float32")
    free = assign_pseudo_labels(points, ClusteringOptions(100, method="pic"), seed=0, turn=0)
    fewer = ClusteringOptions(len(free.sizes) - 3, method="pic")
    return points, free, assign_pseudo_labels(points, fewer, seed=0, turn=0)


def test_power_iteration_finds_its_own_number_of_clusters(by_power_iteration):
    _, free, _ = by_power_iteration
    assert 12 <= len(free.sizes) < 100 and free.merged == 0


def test_power_iteration_with_at_most_so_many_clusters(by_power_iteration):
    _, free, limited = by_power_iteration
    assert limited.merged == 3
    assert len(limited.sizes) == len(limited.centroids) == len(free.sizes) - 3


def test_clusters_of_power_iteration_have_their_means(by_power_iteration):
    points, *clusterings = by_power_iteration
    for clustering in clusterings:
        members = [points[clustering.assignments == c] for c in range(len(clustering.sizes))]
        assert [len(m) for m in members] == clustering.sizes.tolist()
        means = np.stack([m.mean(0) for m in members])
        np.testing.assert_allclose(clustering.centroids, means, atol=1e-6)
        squared = ((points - means[clustering.assignments]) ** 2).sum(1)
        assert clustering.objectives[-1] == pytest.approx(squared.mean(), rel=1e-4)


def test_spherical_centroids_stay_on_the_sphere_after_a_repair(rng):
    points = np.repeat(rng.normal(size=(50, 16)), 20, axis=0)
    points = np.concatenate([points, rng.normal(size=(60, 16))])
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype("float32")
    options = ClusteringOptions(100, kmeans=KMeansOptions(spherical=True))
    clustering = assign_pseudo_labels(points, options, seed=1, turn=0)
    assert clustering.empty_before > 0 and clustering.empty_after == 0
    np.testing.assert_allclose(np.linalg.norm(clustering.centroids, axis=1), 1, atol=1e-6)
    # The nearest centroid is the one that an image was put to, but for splits of a hair's breadth.
    assert (
        nearest_centroids(points, clustering.centroids)[0] == clustering.assignments
    ).mean() > 0.9


@settings(max_examples=100)
@given(n=st.integers(1, 40), k=st.integers(1, 12), dim=st.integers(1, 4), seed=st.integers(0, 99))
def test_under_other_numbers_members_and_centroids_stay_together(n, k, dim, seed):
    rng = np.random.default_rng(seed)
    points, centroids = (rng.normal(size=(m, dim)).astype("float32") for m in (n, k))
    nearest, distances = nearest_centroids(points, centroids)
    numbers = rng.permutation(k).astype("int32")
    clusters = Clusters(nearest, centroids).renumbered(numbers)
    np.testing.assert_array_equal(clusters.assignments, numbers[nearest])
    assert clusters.assignments.dtype == np.int32
    # The centroid of every image is the one that it had, and still the nearest.
    np.testing.assert_array_equal(clusters.centroids[clusters.assignments], centroids[nearest])
    found, distances_now = nearest_centroids(points, clusters.centroids)
    np.testing.assert_array_equal(found, clusters.assignments)
    np.testing.assert_array_equal(distances_now, distances)


def test_sizes_count_empty_clusters():
    clusters = Clusters(np.array([0, 2, 2], "int32"), np.zeros((4, 1), "float32"))
    assert clusters.sizes.tolist() == [1, 0, 2, 0]
    assert clusters.renumbered(np.array([3, 2, 1, 0])).sizes.tolist() == [0, 2, 0, 1]

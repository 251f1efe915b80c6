"""K-means and repair together; power iteration clustering with its limit."""

import numpy as np
import pytest
from sklearn.metrics import v_measure_score

from dc_keras.clustering.kmeans import KMeansOptions, nearest_centroids
from dc_keras.clustering.pseudo_labels import assign_pseudo_labels


def test_separate_groups_are_found(rng):
    middle = rng.normal(size=(4, 8)) * 10
    truth = np.repeat(np.arange(4), 30)
    points = (middle[truth] + rng.normal(size=(120, 8)) * 0.1).astype("float32")
    # Random starting points can share a group; one of a few seeds starts in all four.
    scores = [
        v_measure_score(truth, assign_pseudo_labels(points, 4, seed=s, turn=0).assignments)
        for s in range(12)
    ]
    assert max(scores) == 1.0


def test_no_cluster_is_empty_where_faiss_leaves_some(rng):
    # 50 distinct points twenty times, and 60 more: Faiss alone leaves clusters of 100 empty.
    points = np.repeat(rng.normal(size=(50, 16)), 20, axis=0)
    points = np.concatenate([points, rng.normal(size=(60, 16))]).astype("float32")
    clustering = assign_pseudo_labels(points, 100, seed=1, turn=0)
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
    clustering = assign_pseudo_labels(points, 12, seed=1, turn=0)
    assert clustering.empty_after == 12 - 4
    assert [len(set(copies)) for copies in clustering.assignments.reshape(4, 20)] == [1] * 4


def test_each_turn_has_its_own_draws(rng):
    points = rng.normal(size=(200, 8)).astype("float32")

    def assignments(turn):
        return assign_pseudo_labels(points, 20, seed=1, turn=turn).assignments

    np.testing.assert_array_equal(assignments(2), assignments(2))
    assert not np.array_equal(assignments(2), assignments(3))


def test_power_iteration_with_at_most_so_many_clusters(rng):
    middle = rng.normal(size=(12, 16))
    truth = np.repeat(np.arange(12), 30)
    points = middle[truth] + rng.normal(size=(360, 16)) * 0.05
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype("float32")
    free = assign_pseudo_labels(points, 100, method="pic", seed=0, turn=0)
    count = len(free.sizes)
    assert 12 <= count < 100 and free.merged == 0
    limited = assign_pseudo_labels(points, count - 3, method="pic", seed=0, turn=0)
    assert limited.merged == 3 and len(limited.sizes) == len(limited.centroids) == count - 3
    for clustering in (free, limited):
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
    options = KMeansOptions(spherical=True)
    clustering = assign_pseudo_labels(points, 100, options=options, seed=1, turn=0)
    assert clustering.empty_before > 0 and clustering.empty_after == 0
    np.testing.assert_allclose(np.linalg.norm(clustering.centroids, axis=1), 1, atol=1e-6)
    # The nearest centroid is the one that an image was put to, but for splits of a hair's breadth.
    assert (
        nearest_centroids(points, clustering.centroids)[0] == clustering.assignments
    ).mean() > 0.9


def test_previous_clusters_are_started_from(rng):
    points = rng.normal(size=(300, 8)).astype("float32")
    first = assign_pseudo_labels(points, 20, options=KMeansOptions(iterations=100), seed=1, turn=0)
    warm, cold = (
        assign_pseudo_labels(points, 20, previous=previous, seed=1, turn=1)
        for previous in (first.assignments, None)
    )
    np.testing.assert_array_equal(warm.assignments, first.assignments)
    assert not np.array_equal(cold.assignments, first.assignments)

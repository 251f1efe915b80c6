"""Repair of empty clusters: by hand, and properties that must hold for any data."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dc_keras.clustering.empty_clusters import repair_empty_clusters


def repair(points, assignments, num_clusters, seed=0):
    points = np.asarray(points, "float32")
    assignments = np.asarray(assignments, "int32")
    centroids = np.zeros((num_clusters, points.shape[1]), "float32")
    for cluster in np.unique(assignments):
        centroids[cluster] = points[assignments == cluster].mean(0)
    rng = np.random.default_rng(seed)
    return repair_empty_clusters(points, assignments, centroids, rng)


def test_by_hand():
    # Cluster 0 holds 0, 1, 8, 9 on a line with mean 4.5, cluster 1 is empty. Whatever the sign of
    # the perturbation, the line is cut next to 4.5: {0, 1} against {8, 9}.
    repaired = repair([[0], [1], [8], [9]], [0, 0, 0, 0], 2)
    assert repaired.empty_before == 1 and repaired.empty_after == 0
    assert repaired.assignments[0] == repaired.assignments[1]
    assert repaired.assignments[2] == repaired.assignments[3] != repaired.assignments[0]
    # The donor keeps its centroid; the new one is a small perturbation of it: 1e-3 of the root mean
    # square distance sqrt((4.5^2 + 3.5^2) / 2) = 4.03.
    np.testing.assert_allclose(repaired.centroids, 4.5, atol=1.01e-3 * 4.04)
    assert repaired.centroids[0] != repaired.centroids[1]


def test_nothing_empty_nothing_changes(rng):
    points = rng.normal(size=(10, 3)).astype("float32")
    assignments = (np.arange(10) % 5).astype("int32")
    centroids = rng.normal(size=(5, 3)).astype("float32")
    repaired = repair_empty_clusters(points, assignments, centroids, rng)
    np.testing.assert_array_equal(repaired.assignments, assignments)
    np.testing.assert_array_equal(repaired.centroids, centroids)


def test_the_input_is_left_alone(rng):
    points = rng.normal(size=(10, 3)).astype("float32")
    assignments, centroids = np.zeros(10, "int32"), np.zeros((3, 3), "float32")
    repair_empty_clusters(points, assignments, centroids, rng)
    assert not assignments.any() and not centroids.any()


def test_clusters_that_are_not_split_keep_their_members(rng):
    points = rng.normal(size=(40, 4))
    assignments = np.repeat([0, 1, 2, 3], 10)
    repaired = repair(points, assignments, 5)
    moved = repaired.assignments != assignments
    assert (repaired.assignments[moved] == 4).all()
    assert len(np.unique(assignments[moved])) == 1, "one donor for one empty cluster"


def test_donors_are_random(rng):
    points = rng.normal(size=(40, 4))
    assignments = np.repeat([0, 1, 2, 3], 10)
    donors = set()
    for seed in range(40):
        moved = repair(points, assignments, 5, seed).assignments == 4
        donors.add(int(assignments[moved][0]))
    # Missing one of four in 40 draws has probability 4 * (3/4)**40 = 4e-5.
    assert donors == {0, 1, 2, 3}


def test_duplicates_fill_as_many_clusters_as_there_are_distinct_points(rng):
    points = np.repeat(rng.normal(size=(5, 3)), 20, axis=0)
    repaired = repair(points, np.zeros(100), 12)
    assert repaired.empty_before == 11 and repaired.empty_after == 12 - 5
    assert len(np.unique(repaired.assignments)) == 5
    for group in repaired.assignments.reshape(5, 20):
        assert len(set(group)) == 1, "identical points stay together"


def test_points_that_differ_by_a_hair():
    points = np.full((4, 2), 1.0, "float32")
    points[3, 0] = np.nextafter(np.float32(1), np.float32(2))
    repaired = repair(points, [0, 0, 0, 0], 2)
    assert repaired.empty_after == 0
    assert np.bincount(repaired.assignments).min() == 1


def test_clusters_of_one_point_are_one_up_to_the_resolution(rng):
    """Also along a chain of neighbours, and only if they are near in all dimensions."""
    centroids = np.zeros((5, 12), "float32")
    centroids[:3, 0] = [0, 0.8e-4, 1.6e-4]
    centroids[3, 11] = 1
    points = centroids[[0, 0, 1, 1, 2, 2, 3, 3]]
    repaired = repair_empty_clusters(
        points, np.repeat([0, 1, 2, 3], 2).astype("int32"), centroids, rng, resolution=1e-4
    )
    assert repaired.assignments.tolist() == [0] * 6 + [3] * 2
    assert (repaired.empty_before, repaired.empty_after) == (3, 3)


def test_all_clusters_from_one(rng):
    repaired = repair(rng.normal(size=(30, 2)), np.zeros(30), 30)
    assert np.bincount(repaired.assignments, minlength=30).tolist() == [1] * 30


@settings(max_examples=150)
@given(
    n=st.integers(2, 60),
    dim=st.integers(1, 5),
    num_clusters=st.integers(2, 40),
    distinct=st.integers(1, 60),
    used=st.integers(1, 40),
    seed=st.integers(0, 10_000),
)
def test_every_cluster_has_members_if_the_data_allow(n, dim, num_clusters, distinct, used, seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(distinct, dim)).astype("float32")[rng.integers(distinct, size=n)]
    assignments = rng.integers(min(used, num_clusters), size=n).astype("int32")
    repaired = repair(points, assignments, num_clusters, seed)
    sizes = np.bincount(repaired.assignments, minlength=num_clusters)
    assert sizes.sum() == n and len(sizes) == num_clusters
    assert (sizes == 0).sum() == repaired.empty_after
    assert np.isfinite(repaired.centroids).all()
    if repaired.empty_after:
        for cluster in np.flatnonzero(sizes):
            members = points[repaired.assignments == cluster]
            assert (members == members[0]).all(), "a cluster could still be split"

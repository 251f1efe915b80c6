"""K-means on spread descriptors: what one machine finds, by any number of workers."""

import tracemalloc

import numpy as np
import pytest

from dc_keras.clustering.centroids import nearest_centroids
from dc_keras.clustering.descriptors import compute_descriptors
from dc_keras.clustering.kmeans import KMeansOptions, kmeans
from dc_keras.clustering.outliers import outlier_distance
from dc_keras.clustering.pseudo_labels import ClusteringOptions, assign_pseudo_labels
from thread_workers import spread, together


def unit(points):
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype("float32")


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [
        KMeansOptions(iterations=7),
        KMeansOptions(iterations=7, spherical=True),
        KMeansOptions(iterations=7, max_points=10),
        KMeansOptions(iterations=4, starts=3),
        KMeansOptions(iterations=6, two_level_from=30),
    ],
    ids=["published", "spherical", "sample", "starts", "two levels"],
)
def test_workers_find_what_one_machine_finds(rng, options, count):
    points = unit(rng.normal(size=(1000, 16)))
    alone = kmeans(points, 40, options, seed=5)
    found = together(count, lambda worker: kmeans(spread(points, worker), 40, options, seed=5))
    for one in found:
        np.testing.assert_array_equal(one.assignments, alone.assignments)
        # Sums of 64 bits against those of 32.
        np.testing.assert_allclose(one.centroids, alone.centroids, atol=1e-6)
        np.testing.assert_allclose(one.objectives, alone.objectives, rtol=1e-5)


def test_it_stops_when_nothing_changes():
    points = np.float32([[0, 0], [2, 0], [10, 0], [12, 0]])
    (found, _) = together(2, lambda worker: kmeans(spread(points, worker), 2, seed=0))
    assert sorted(found.centroids[:, 0].tolist()) == [1, 11]
    assert found.objectives[-1] == pytest.approx(1.0)
    assert len(found.objectives) < 10


def test_clusters_that_run_empty_are_filled_on_all_workers_alike(rng):
    # Several of 10 centroids start from copies of one of 12 points, and lose their members.
    points = np.repeat(unit(rng.normal(size=(12, 6))), 10, axis=0)
    options = ClusteringOptions(num_clusters=10)

    def cluster(worker):
        return assign_pseudo_labels(spread(points, worker), options, seed=3, turn=0)

    first, *others = together(3, cluster)
    assert first.sizes.min() > 0
    for other in others:
        np.testing.assert_array_equal(other.assignments, first.assignments)
        np.testing.assert_array_equal(other.centroids, first.centroids)
    # Each of the 12 by itself, but for two pairs or three of them that share.
    assert (
        len(np.unique(np.column_stack([first.assignments, np.repeat(range(12), 10)]), axis=0)) <= 14
    )


@pytest.mark.parametrize("method", ["kmeans", "pic"])
def test_what_compares_images_is_found_by_the_first_worker(rng, method):
    points = unit(np.repeat(rng.normal(size=(5, 8)) * 4, 30, axis=0) + rng.normal(size=(150, 8)))
    options = ClusteringOptions(num_clusters=5, method=method, neighbours=5)
    alone = assign_pseudo_labels(points, options, seed=3, turn=2)

    def cluster(worker):
        rows = spread(points, worker)
        found = assign_pseudo_labels(rows, options, seed=3, turn=2)
        return found, outlier_distance(rows, found.assignments, found.centroids)

    for found, distance in together(3, cluster):
        np.testing.assert_array_equal(found.assignments, alone.assignments)
        np.testing.assert_array_equal(found.centroids, alone.centroids)
        assert found.empty_before == alone.empty_before
        assert distance == outlier_distance(points, alone.assignments, alone.centroids)


def test_what_travels_does_not_grow_with_the_images_but_for_their_clusters(rng):
    # An iteration sends sums, counts and objective; the end sends an int32 an image.
    options = KMeansOptions(iterations=3)

    def sent(num_points):
        points = unit(np.random.default_rng(0).normal(size=(num_points, 16)))

        def work(worker):
            kmeans(spread(points, worker), 10, options, seed=5)
            return worker.sent

        return together(2, work)[0]

    per_iteration = 8 * (10 * 16 + 10 + 1)
    start = 4 * 10 * 16
    assert sent(500) == start + 3 * per_iteration + 8 + 4 * 500
    assert sent(5000) - sent(500) == 4 * 4500


def test_all_rows_are_assigned_to_the_nearest(rng):
    points = unit(rng.normal(size=(300, 5)))
    (found, _) = together(2, lambda worker: kmeans(spread(points, worker), 7, seed=1))
    nearest, distances = nearest_centroids(points, found.centroids)
    np.testing.assert_array_equal(found.assignments, nearest)
    assert found.objectives[-1] == pytest.approx(np.square(distances).mean(), rel=1e-5)


class OneOfMany:
    """The first of eight workers, whose others give what it gives: for its memory alone."""

    rank, count = 0, 8

    def total(self, values):
        return values.copy()

    def from_first(self, compute):
        return list(compute())


def test_memory_is_that_of_the_own_share():
    # 200,000 images of 64 dimensions are 51 MB, of 256 features 205 MB; a share of 8 is 6.4 MB.
    num_images, worker = 200_000, OneOfMany()
    basis = np.random.default_rng(0).normal(size=(64, 256)).astype("float32")

    def extract(indices):
        for start in range(0, len(indices), 500):
            codes = np.random.default_rng(start).normal(size=(500, 64))[: len(indices) - start]
            yield codes.astype("float32") @ basis

    tracemalloc.start()
    try:
        found = compute_descriptors(
            extract,
            num_images,
            pca_dim=64,
            pca_images=2000,
            rng=np.random.default_rng(1),
            workers=worker,
        )
        assert found.values.own.shape == (25_000, 64)
        assign_pseudo_labels(found.values, ClusteringOptions(20), seed=0, turn=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The own share in 32 and in 64 bits are 19 MB, labels and indices of all images 4 MB.
    assert peak < 24e6, peak

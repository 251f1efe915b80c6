"""K-means by numbers on paper, against Faiss in one piece and against a naive loop."""

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dc_keras.clustering.kmeans import (
    KMeansOptions,
    cluster_means,
    kmeans,
    nearest_centroids,
    share_out,
)
from dc_keras.errors import InputError


def blobs(rng, centers=8, each=25, dim=12):
    """Well separated groups of unit vectors, and which group each is of."""
    middle = rng.normal(size=(centers, dim)) * 5
    points = np.repeat(middle, each, axis=0) + rng.normal(size=(centers * each, dim)) * 0.1
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points.astype("float32"), np.repeat(np.arange(centers), each)


def unit(points):
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype("float32")


def test_four_points():
    # Two pairs at distance 2: centroids in their middles, every squared distance is 1.
    points = np.array([[0, 0], [2, 0], [10, 0], [12, 0]], "float32")
    result = kmeans(points, 2, KMeansOptions(iterations=10), seed=0)
    assert sorted(result.centroids[:, 0].tolist()) == [1, 11]
    assert result.assignments[0] == result.assignments[1] != result.assignments[2]
    assert result.objectives[-1] == pytest.approx(1.0)


def test_step_by_step_is_bit_for_bit_what_faiss_does(rng):
    points = rng.normal(size=(1000, 16)).astype("float32")
    ours = kmeans(points, 40, KMeansOptions(iterations=7), seed=5)
    theirs = faiss.Clustering(16, 40)
    theirs.niter, theirs.seed, theirs.max_points_per_centroid = 7, 5, 10_000_000
    theirs.min_points_per_centroid = 1
    index = faiss.IndexFlatL2(16)
    theirs.train(points, index)
    np.testing.assert_array_equal(
        ours.centroids, faiss.vector_to_array(theirs.centroids).reshape(40, 16)
    )
    np.testing.assert_array_equal(ours.assignments, index.search(points, 1)[1][:, 0])
    stats = theirs.iteration_stats
    np.testing.assert_allclose(
        ours.objectives[:-1], [stats.at(i).obj / 1000 for i in range(stats.size())], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("options", "faiss_parameters"),
    [
        ({"init": "kmeans++"}, {"init_method": faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS}),
        ({"nredo": 3}, {"nredo": 3}),
        ({"spherical": True}, {"spherical": True}),
        ({"early_stop": 2e-3}, {"early_stop_threshold": 2e-3}),
    ],
    ids=lambda value: next(iter(value)),
)
def test_options_are_bit_for_bit_those_of_faiss_in_one_call(rng, options, faiss_parameters):
    points = unit(rng.normal(size=(1000, 16)))
    ours = kmeans(points, 40, KMeansOptions(iterations=20, **options), seed=5)
    plain = kmeans(points, 40, KMeansOptions(iterations=20), seed=5)
    theirs = faiss.Clustering(16, 40)
    theirs.niter, theirs.seed, theirs.max_points_per_centroid = 20, 5, 10_000_000
    theirs.min_points_per_centroid = 1
    for name, value in faiss_parameters.items():
        setattr(theirs, name, value)
    index = faiss.IndexFlatIP(16) if "spherical" in options else faiss.IndexFlatL2(16)
    theirs.train(points, index)
    np.testing.assert_array_equal(
        ours.centroids, faiss.vector_to_array(theirs.centroids).reshape(40, 16)
    )
    assert not np.array_equal(ours.centroids, plain.centroids), "the option does nothing"


def test_against_naive_lloyd(rng):
    """Same start, same updates, no empty clusters: Lloyd's algorithm written out."""
    points, _ = blobs(rng)
    ours = kmeans(points, 8, KMeansOptions(iterations=4), seed=3)
    centroids = kmeans(points, 8, KMeansOptions(iterations=1), seed=3).centroids.astype("float64")
    for _ in range(3):
        nearest = ((points[:, None] - centroids) ** 2).sum(-1).argmin(1)
        centroids = np.stack([points[nearest == c].mean(0) for c in range(8)])
    nearest = ((points[:, None] - centroids) ** 2).sum(-1).argmin(1)
    np.testing.assert_array_equal(ours.assignments, nearest)
    np.testing.assert_allclose(ours.centroids, centroids, atol=1e-5)


def test_the_objective_falls(rng):
    points = rng.normal(size=(2000, 8)).astype("float32")
    objectives = kmeans(points, 20, KMeansOptions(iterations=15), seed=1).objectives
    assert len(objectives) == 16
    # Empty clusters are split within an iteration, which can cost a little; none are empty here.
    assert (np.diff(objectives) <= 1e-6).all() and objectives[-1] < objectives[0]


def test_the_seed_alone_decides(rng):
    points = rng.normal(size=(500, 8)).astype("float32")
    first, same, other = (kmeans(points, 20, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.centroids, same.centroids)
    assert not np.array_equal(first.centroids, other.centroids)


def test_spherical_centroids_and_objective(rng):
    points = unit(rng.normal(size=(500, 6)) + [2, 0, 0, 0, 0, 0])
    result = kmeans(points, 10, KMeansOptions(iterations=30, spherical=True), seed=2)
    np.testing.assert_allclose(np.linalg.norm(result.centroids, axis=1), 1, atol=1e-6)
    # A fixed point: each centroid is the direction of the sum of its members.
    sums = np.stack([points[result.assignments == c].sum(0) for c in range(10)])
    np.testing.assert_allclose(result.centroids, unit(sums), atol=1e-5)
    squared = ((points - result.centroids[result.assignments]) ** 2).sum(1)
    # The objective stays a mean squared distance, though Faiss maximises inner products.
    np.testing.assert_allclose(result.objectives[-2:], squared.mean(), rtol=1e-5)
    assert (np.diff(result.objectives) < 1e-6).all()


def test_repetitions_keep_the_best(rng):
    points, _ = blobs(rng)
    seeds = [(3 + repetition * 15486557) % (2**31 - 1) for repetition in range(4)]
    alone = [kmeans(points, 8, seed=seed).objectives[-1] for seed in seeds]
    together = kmeans(points, 8, KMeansOptions(nredo=4), seed=3).objectives[-1]
    assert together == min(alone) < max(alone)


def test_kmeans_plus_plus_starts_in_all_groups(rng):
    """Random points miss one of eight groups nearly always: 8! / 8^8 is 0.2 %."""
    points, groups = blobs(rng)
    for seed in range(5):
        found = kmeans(points, 8, KMeansOptions(iterations=1, init="kmeans++"), seed=seed)
        assert len(set(zip(found.assignments.tolist(), groups.tolist(), strict=True))) == 8


def test_warm_start_goes_on_from_the_means_of_the_clusters_before(rng):
    points = rng.normal(size=(600, 8)).astype("float32")
    previous = rng.integers(0, 20, 600)
    warm = kmeans(points, 20, KMeansOptions(iterations=1), previous=previous, seed=0)
    centroids = np.stack([points[previous == c].mean(0) for c in range(20)])
    nearest = ((points[:, None] - centroids) ** 2).sum(-1).argmin(1)
    means = np.stack([points[nearest == c].mean(0) for c in range(20)])
    np.testing.assert_allclose(warm.centroids, means, atol=1e-5)


def test_warm_start_keeps_what_has_settled_also_in_turned_coordinates(rng):
    """Descriptors of another turn have other axes: old centroids would mean nothing there."""
    points = unit(rng.normal(size=(600, 8)))
    settled = kmeans(points, 20, KMeansOptions(iterations=100), seed=0)
    rotation = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    turned = np.ascontiguousarray(points @ rotation, "float32")
    again = kmeans(turned, 20, previous=settled.assignments, seed=1)
    np.testing.assert_array_equal(again.assignments, settled.assignments)


def test_warm_start_of_empty_clusters(rng):
    points = rng.normal(size=(200, 8)).astype("float32")
    result = kmeans(points, 10, previous=np.repeat([0, 1, 2, 3, 9], 40), seed=0)
    assert np.isfinite(result.centroids).all()
    assert np.bincount(result.assignments, minlength=10).min() > 0


def test_early_stop_is_the_beginning_of_the_whole(rng):
    points = rng.normal(size=(1000, 16)).astype("float32")
    whole = kmeans(points, 20, KMeansOptions(iterations=30), seed=0).objectives
    early = kmeans(points, 20, KMeansOptions(iterations=30, early_stop=0.003), seed=0).objectives
    steps = len(early) - 1
    assert 2 < steps < 30
    np.testing.assert_array_equal(early[:steps], whole[:steps])
    changes = -np.diff(whole) / whole[:-1]
    assert changes[steps - 2] <= 0.003 < changes[: steps - 2].min()


def test_centroids_from_a_sample(rng):
    """At most 5 points for each of 20 centroids: those of 100 of the 2,000 points."""
    points = rng.normal(size=(2000, 4)).astype("float32")
    few = kmeans(points, 20, KMeansOptions(max_points=5), seed=0)
    assert len(few.assignments) == 2000
    # Means of at most 100 distinct points, with whole numbers of them: no centroid is that of all.
    whole = kmeans(points, 20, seed=0)
    assert few.objectives[-1] > 1.02 * whole.objectives[-1]
    # Over its own few points it does better than over all.
    assert few.objectives[-2] < 0.9 * few.objectives[-1]
    for enough in (100, 1000):
        same = kmeans(points, 20, KMeansOptions(max_points=enough), seed=0)
        np.testing.assert_array_equal(same.centroids, whole.centroids)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=20), st.data())
def test_sharing_out(sizes, data):
    sizes = np.array(sizes)
    if not sizes.sum():
        return
    num_clusters = data.draw(st.integers(np.count_nonzero(sizes), sizes.sum()))
    shares = share_out(num_clusters, sizes)
    assert shares.sum() == num_clusters
    assert (shares <= sizes).all() and ((shares > 0) == (sizes > 0)).all()
    # In proportion: none is off by more than one from what is left after the first of each.
    rest = num_clusters - np.count_nonzero(sizes)
    exact = rest * np.maximum(sizes - 1, 0) / max(np.maximum(sizes - 1, 0).sum(), 1)
    assert (np.abs(shares - np.minimum(sizes, 1) - exact) < 1).all()


@pytest.mark.parametrize("spherical", [False, True])
def test_two_levels_come_close_to_one(rng, spherical):
    """Seen: 1.5 to 3.2 % above plain k-means, for 20,000 points in 100 to 900 clusters."""
    middle = rng.normal(size=(30, 16))
    points = unit(middle[rng.integers(0, 30, 1500)] + rng.normal(size=(1500, 16)))
    one = kmeans(points, 49, KMeansOptions(spherical=spherical), seed=0)
    two = kmeans(points, 49, KMeansOptions(spherical=spherical, two_level_from=49), seed=0)
    assert two.centroids.shape == (49, 16)
    assert one.objectives[-1] < two.objectives[-1] < 1.06 * one.objectives[-1]
    np.testing.assert_array_equal(two.assignments, nearest_centroids(points, two.centroids)[0])
    other = kmeans(points, 48, KMeansOptions(spherical=spherical, two_level_from=49), seed=0)
    plain = kmeans(points, 48, KMeansOptions(spherical=spherical), seed=0)
    np.testing.assert_array_equal(other.centroids, plain.centroids)


def test_two_levels_with_nearly_as_many_clusters_as_images(rng):
    points = rng.normal(size=(50, 3)).astype("float32")
    result = kmeans(points, 50, KMeansOptions(two_level_from=4), seed=0)
    assert sorted(result.assignments) == list(range(50))


def test_cluster_means_by_hand():
    points = np.array([[0, 0], [2, 4], [5, 5]], "float32")
    means, sizes = cluster_means(points, np.array([2, 2, 0]), 4)
    np.testing.assert_array_equal(means, [[5, 5], [0, 0], [1, 2], [0, 0]])
    assert sizes.tolist() == [1, 0, 2, 0]


def test_no_subsampling(rng):
    """Centroids are the means of all their members.

    Faiss by itself would take a random 512 of these 2,000 points for two centroids.
    """
    points = rng.normal(size=(2000, 4)).astype("float32")
    assignments = kmeans(points, 2, KMeansOptions(iterations=4), seed=0).assignments
    centroids = kmeans(points, 2, KMeansOptions(iterations=5), seed=0).centroids
    means = np.stack([points[assignments == cluster].mean(0) for cluster in range(2)])
    np.testing.assert_allclose(centroids, means, atol=1e-5)


def test_more_clusters_than_images():
    with pytest.raises(InputError, match="fewer images than clusters. Received: 3 images"):
        kmeans(np.zeros((3, 2), "float32"), 4, seed=0)


def test_as_many_clusters_as_images(rng):
    points = rng.normal(size=(6, 3)).astype("float32")
    result = kmeans(points, 6, seed=0)
    assert sorted(result.assignments) == list(range(6))


def test_nearest_centroids_against_brute_force(rng):
    points = rng.normal(size=(50, 6)).astype("float32")
    centroids = rng.normal(size=(7, 6)).astype("float32")
    assignments, distances = nearest_centroids(points, centroids)
    all_distances = np.linalg.norm(points[:, None] - centroids, axis=-1)
    np.testing.assert_array_equal(assignments, all_distances.argmin(1))
    # Faiss computes |x|^2 - 2xc + |c|^2 in float32.
    np.testing.assert_allclose(distances, all_distances.min(1), atol=1e-3)


def test_it_stops_when_nothing_changes_any_more():
    """Two groups far apart settle at once; the result is that of all iterations in one call."""
    rng = np.random.default_rng(5)
    points = np.concatenate([rng.normal(c, 0.1, (200, 8)) for c in (-1, 1)]).astype(np.float32)
    found = kmeans(points, 2, KMeansOptions(iterations=50), seed=3)
    assert len(found.objectives) < 10
    whole = faiss.Kmeans(8, 2, niter=50, seed=3, min_points_per_centroid=1)
    whole.train(points)
    np.testing.assert_array_equal(found.centroids, whole.centroids)

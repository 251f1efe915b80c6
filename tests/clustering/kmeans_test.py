"""K-means by numbers on paper, against Faiss in one piece and against a naive loop."""

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dc_keras.clustering.centroids import cluster_means, nearest_centroids
from dc_keras.clustering.kmeans import KMeansOptions, kmeans, share_out
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


def test_spherical_is_bit_for_bit_what_faiss_does_in_one_call(rng):
    points = unit(rng.normal(size=(1000, 16)))
    ours = kmeans(points, 40, KMeansOptions(iterations=20, spherical=True), seed=5)
    plain = kmeans(points, 40, KMeansOptions(iterations=20), seed=5)
    theirs = faiss.Clustering(16, 40)
    theirs.niter, theirs.seed, theirs.max_points_per_centroid = 20, 5, 10_000_000
    theirs.min_points_per_centroid, theirs.spherical = 1, True
    theirs.train(points, faiss.IndexFlatIP(16))
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


@pytest.fixture(scope="module")
def spherical():
    """Points that are settled in spherical clusters, and the clustering."""
    rng = np.random.default_rng(7)
    points = unit(rng.normal(size=(500, 6)) + [2, 0, 0, 0, 0, 0])
    return points, kmeans(points, 10, KMeansOptions(iterations=30, spherical=True), seed=2)


def test_spherical_centroids_are_the_directions_of_their_members(spherical):
    points, result = spherical
    np.testing.assert_allclose(np.linalg.norm(result.centroids, axis=1), 1, atol=1e-6)
    sums = np.stack([points[result.assignments == c].sum(0) for c in range(10)])
    np.testing.assert_allclose(result.centroids, unit(sums), atol=1e-5)


def test_the_spherical_objective_is_a_mean_squared_distance(spherical):
    """Though Faiss maximises inner products."""
    points, result = spherical
    squared = ((points - result.centroids[result.assignments]) ** 2).sum(1)
    np.testing.assert_allclose(result.objectives[-2:], squared.mean(), rtol=1e-5)
    assert (np.diff(result.objectives) < 1e-6).all()


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


@pytest.mark.parametrize("enough", [100, 1000])
def test_a_sample_of_all_points_changes_nothing(rng, enough):
    points = rng.normal(size=(2000, 4)).astype("float32")
    sampled = kmeans(points, 20, KMeansOptions(max_points=enough), seed=0)
    np.testing.assert_array_equal(sampled.centroids, kmeans(points, 20, seed=0).centroids)


@settings(max_examples=200)
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


def overlapping_groups(rng):
    middle = rng.normal(size=(30, 16))
    return unit(middle[rng.integers(0, 30, 1500)] + rng.normal(size=(1500, 16)))


@pytest.mark.parametrize("spherical", [False, True])
def test_two_levels_come_close_to_one(rng, spherical):
    """Seen: 1.5 to 3.2 % above plain k-means, for 20,000 points in 100 to 900 clusters."""
    points = overlapping_groups(rng)
    one = kmeans(points, 49, KMeansOptions(spherical=spherical), seed=0)
    two = kmeans(points, 49, KMeansOptions(spherical=spherical, two_level_from=49), seed=0)
    assert two.centroids.shape == (49, 16)
    assert one.objectives[-1] < two.objectives[-1] < 1.06 * one.objectives[-1]


def test_of_several_starts_the_lowest_objective_counts(rng):
    points, groups = blobs(rng, centers=12)
    one = [kmeans(points, 12, KMeansOptions(), seed=seed).objectives[-1] for seed in range(8)]
    many = [kmeans(points, 12, KMeansOptions(starts=10), seed=seed) for seed in range(8)]
    # The first start is that of the seed itself.
    assert all(found.objectives[-1] <= alone for found, alone in zip(many, one, strict=True))
    assert sum(found.objectives[-1] for found in many) < 0.7 * sum(one)
    again = kmeans(points, 12, KMeansOptions(starts=10), seed=0)
    np.testing.assert_array_equal(again.centroids, many[0].centroids)


def test_many_clusters_have_one_start(rng):
    points = rng.normal(size=(400, 4)).astype("float32")
    one, many = (kmeans(points, 150, KMeansOptions(starts=n), seed=2) for n in (1, 10))
    np.testing.assert_array_equal(one.centroids, many.centroids)


@pytest.mark.parametrize("spherical", [False, True])
def test_images_go_to_the_nearest_of_all_centroids_of_two_levels(rng, spherical):
    points = overlapping_groups(rng)
    found = kmeans(points, 49, KMeansOptions(spherical=spherical, two_level_from=49), seed=0)
    np.testing.assert_array_equal(found.assignments, nearest_centroids(points, found.centroids)[0])


@pytest.mark.parametrize("spherical", [False, True])
def test_fewer_clusters_are_found_in_one_level(rng, spherical):
    points = overlapping_groups(rng)
    below = kmeans(points, 48, KMeansOptions(spherical=spherical, two_level_from=49), seed=0)
    plain = kmeans(points, 48, KMeansOptions(spherical=spherical), seed=0)
    np.testing.assert_array_equal(below.centroids, plain.centroids)


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

import numpy as np
import pytest

from dc_keras.exploring.image_map import image_positions


def made(rng, k, n, dim=8):
    centroids = rng.normal(size=(k, dim)).astype(np.float32)
    clusters = rng.integers(k, size=n).astype(np.int32)
    clusters[: min(k, n)] = np.arange(min(k, n))
    points = centroids[clusters] + 0.5 * rng.normal(size=(n, dim)).astype(np.float32)
    return points, centroids, clusters


def test_most_images_are_nearest_to_the_place_of_their_own_cluster(rng):
    points, centroids, clusters = made(rng, 6, 600)
    positions = image_positions(points, centroids, clusters)
    places = np.stack([positions[clusters == c].mean(axis=0) for c in range(6)])
    nearest = np.linalg.norm(positions[:, None] - places, axis=2).argmin(axis=1)
    assert (nearest == clusters).mean() > 0.8
    assert np.abs(positions).max() == pytest.approx(1)
    np.testing.assert_allclose(positions.mean(axis=0), 0, atol=0.05)


def test_the_same_images_have_the_same_map(rng):
    made_once = made(rng, 5, 50)
    np.testing.assert_array_equal(image_positions(*made_once), image_positions(*made_once))


@pytest.mark.parametrize(("k", "n"), [(1, 1), (1, 40), (2, 40), (30, 10), (2, 2)])
def test_few_clusters_and_few_images_have_places(rng, k, n):
    positions = image_positions(*made(rng, k, n))
    assert positions.shape == (n, 2) and np.isfinite(positions).all()
    if n == 40:
        # A line would hide what is above it.
        assert np.linalg.matrix_rank(positions, tol=1e-3) == 2


def test_images_of_one_number_have_places():
    points = np.arange(6, dtype=np.float32)[:, None]
    positions = image_positions(points, points[[0, 5]], np.int32([0, 0, 0, 1, 1, 1]))
    assert np.isfinite(positions).all() and len(np.unique(positions[:, 0])) == 6

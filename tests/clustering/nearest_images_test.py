import numpy as np
import pytest

from dc_keras.clustering.nearest_images import nearest_images


def unit(rng, n, dim=16):
    points = rng.normal(size=(n, dim)).astype(np.float32)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def all_distances(points):
    between = np.linalg.norm(points[:, None].astype(np.float64) - points, axis=2)
    np.fill_diagonal(between, np.inf)
    return between


def test_the_nearest_are_those_of_a_naive_search(rng):
    points = unit(rng, 200)
    found = nearest_images(points, 10)
    np.testing.assert_array_equal(found.indices, np.argsort(all_distances(points))[:, :10])
    expected = np.sort(all_distances(points))[:, :10]
    np.testing.assert_allclose(found.distances, expected, rtol=1e-5)
    assert found.recall == 1


def test_copies_are_at_0_and_come_in_the_order_of_their_numbers(rng):
    # Faiss alone gives copies distances of up to 1e-3, and their own number among the others.
    points = np.concatenate([unit(rng, 1, 128).repeat(5, axis=0), unit(rng, 50, 128)])
    found = nearest_images(points, 4)
    assert found.distances[:5].max() == 0
    assert found.indices[2].tolist() == [0, 1, 3, 4]


@pytest.mark.parametrize("n", [1, 3])
def test_of_few_images_places_stay_empty(rng, n):
    found = nearest_images(unit(rng, n), 10)
    assert found.indices.shape == found.distances.shape == (n, 10)
    assert ((found.indices >= 0).sum(axis=1) == n - 1).all()
    np.testing.assert_array_equal(np.isnan(found.distances), found.indices < 0)


def test_an_index_finds_nearly_all_and_says_how_many(rng):
    centers = unit(rng, 30)
    points = centers[rng.integers(30, size=3000)] + 0.2 * unit(rng, 3000)
    exact, fast = nearest_images(points), nearest_images(points, exact_up_to=100)
    common = (fast.indices[:, :, None] == exact.indices[:, None]).any(axis=2).mean()
    assert fast.recall == pytest.approx(common, abs=0.03)
    assert fast.recall > 0.8
    repeated = nearest_images(points, exact_up_to=100)
    np.testing.assert_array_equal(fast.indices, repeated.indices)

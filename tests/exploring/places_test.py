import numpy as np
import pytest

from dc_keras.clustering.nearest_images import nearest_images
from dc_keras.exploring.places import cluster_neighbours, distances_and_margins, outlier_scores


def unit(rng, n, dim=16):
    points = rng.normal(size=(n, dim)).astype(np.float32)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def test_margins_are_what_the_second_centroid_is_farther():
    centroids = np.float32([[0, 0], [4, 0], [0, 10]])
    points = np.float32([[1, 0], [2, 0], [3, 0]])
    own, margins = distances_and_margins(points, centroids, np.array([0, 0, 0], np.int32))
    np.testing.assert_allclose(own, [1, 2, 3])
    # The last one lies nearer to another centroid than to its own.
    np.testing.assert_allclose(margins, [2, 0, -2], atol=1e-6)


def test_of_one_cluster_margins_are_0():
    own, margins = distances_and_margins(
        np.float32([[3, 4]]), np.zeros((1, 2), np.float32), np.zeros(1, np.int32)
    )
    assert (own.tolist(), margins.tolist()) == ([5], [0])
    assert cluster_neighbours(np.zeros((1, 2), np.float32)).shape == (1, 0)


def test_neighbours_of_clusters_are_by_centroids():
    centroids = np.float32([[0], [1], [3], [7]])
    assert cluster_neighbours(centroids, 2).tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]


def test_an_image_far_from_all_is_an_outlier_and_few_others_are(rng):
    points = np.concatenate([unit(rng, 500, 8), np.full((1, 8), 2, np.float32)])
    scores, outliers = outlier_scores(nearest_images(points).distances)
    assert outliers[-1] and scores[-1] == scores.max()
    assert outliers.sum() <= 10
    assert np.median(scores) == pytest.approx(1)


def test_copies_do_not_make_outliers_of_the_others(rng):
    points = np.concatenate([unit(rng, 1).repeat(800, axis=0), unit(rng, 200)])
    _, outliers = outlier_scores(nearest_images(points).distances)
    assert outliers.sum() <= 4


@pytest.mark.parametrize("n", [1, 2, 5])
def test_images_that_are_all_the_same_have_no_outliers(n):
    scores, outliers = outlier_scores(nearest_images(np.ones((n, 3), np.float32)).distances)
    assert (scores.tolist(), outliers.any()) == ([0] * n, False)

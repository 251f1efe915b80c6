"""How far away is far, against NumPy's own quantile in one go."""

import numpy as np

from dc_keras.clustering import outliers
from dc_keras.clustering.outliers import outlier_distance


def test_one_of_twenty_images_is_farther_away(rng, monkeypatch):
    monkeypatch.setattr(outliers, "_BLOCK", 64)
    descriptors = rng.normal(size=(1000, 8)).astype("float32")
    centroids = rng.normal(size=(10, 8)).astype("float32")
    assignments = rng.integers(0, 10, 1000)
    found = outlier_distance(descriptors, assignments, centroids)
    distances = np.linalg.norm(descriptors - centroids[assignments], axis=1)
    assert np.isclose(found, np.quantile(distances, 0.95), rtol=1e-6)
    assert (distances > found).sum() == 50


def test_a_single_image_is_as_far_as_it_is():
    assert outlier_distance(np.float32([[3, 4]]), np.zeros(1, int), np.zeros((1, 2))) == 5

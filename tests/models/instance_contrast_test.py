"""Telling images from each other by two views: the loss against numbers and a plain loop."""

import math

import numpy as np
import pytest

from dc_keras.models.instance_contrast import instance_contrast


def test_two_images_by_hand():
    # Views of an image agree, images are at right angles: softmax over (1 / 0.5, 0, 0).
    features = np.array([[2, 0], [5, 0], [0, 1], [0, 3]], "float32")
    losses = instance_contrast(features, np.array([0, 0, 1, 1]), 0.5)
    np.testing.assert_allclose(losses, [-math.log(math.e**2 / (math.e**2 + 2))] * 4, rtol=1e-6)


def test_images_of_one_cluster_are_not_told_apart():
    features = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], "float32")
    # Only the other view is left to find.
    np.testing.assert_allclose(instance_contrast(features, np.zeros(4, int), 0.1), 0, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_against_a_loop(rng, temperature):
    features = rng.normal(size=(12, 5)).astype("float32")
    labels = np.repeat(rng.integers(0, 3, 6), 2)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = []
    for row in range(12):
        other = row + 1 if row % 2 == 0 else row - 1
        rivals = [r for r in range(12) if labels[r] != labels[row]]
        scores = [math.exp(unit[row] @ unit[r] / temperature) for r in (other, *rivals)]
        expected.append(-math.log(scores[0] / sum(scores)))
    # Float32 similarities of up to 10.
    np.testing.assert_allclose(
        instance_contrast(features, labels, temperature), expected, atol=1e-5
    )


def test_features_of_zero_length_stay_finite():
    assert np.isfinite(instance_contrast(np.zeros((4, 3), "float32"), np.arange(4) // 2, 0.2)).all()

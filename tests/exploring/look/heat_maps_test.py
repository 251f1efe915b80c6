"""Heat maps: numbers worked out by hand, and an object that is known to be in one corner."""

import keras
import numpy as np
import pytest

from dc_keras.clustering.whitening import fit_whitening
from dc_keras.exploring.look.heat_maps import (
    cluster_rows,
    covering_maps,
    gradient_heat,
    heat_colours,
    heat_maps,
    with_heat,
)
from dc_keras.exploring.look.open_network import OpenNetwork

SIDE = 16


def test_heat_of_gradients_by_hand():
    # Two maps of 1 x 2 cells.
    maps = np.array([[[[3, 1], [1, 2]]]], np.float32)
    gradients = np.array([[[[2, -1], [0, -3]]]], np.float32)
    # 2 * 3 - 1 * 1 = 5, and 0 * 1 - 3 * 2 = -6, which speaks against the score.
    assert gradient_heat(maps, gradients).tolist() == [[[5, 0]]]
    # Behind an average pooling gradients are the same at all places, and this is Grad-CAM, which
    # weighs maps by their mean: 1 * 3 - 2 * 1 = 1, and 1 * 1 - 2 * 2 = -3.
    even = np.array([[[[1, -2], [1, -2]]]], np.float32)
    assert gradient_heat(maps, even).tolist() == [[[1, 0]]]


@pytest.mark.parametrize("whiten", [True, False])
def test_rows_give_an_image_to_its_cluster(rng, whiten):
    features = rng.normal(size=(60, 6)).astype(np.float32) @ rng.normal(size=(6, 6))
    features = features.astype(np.float32)
    whitening = fit_whitening(features, 4, whiten=whiten)
    descriptors = whitening.apply(features)
    centroids = descriptors[:5]
    scores = (features - whitening.mean) @ cluster_rows(whitening, centroids).T
    np.testing.assert_array_equal(scores.argmax(axis=1), (descriptors @ centroids.T).argmax(axis=1))


@pytest.fixture(scope="module")
def network():
    """Features are how much red and how much blue there is; the maps are red and blue."""
    pixels = keras.Input((SIDE, SIDE, 3))
    layer = keras.layers.Conv2D(2, 4, strides=4, activation="relu", use_bias=False)
    maps = layer(pixels)
    kernel = np.zeros((4, 4, 3, 2), np.float32)
    kernel[..., 0, 0] = kernel[..., 2, 1] = 1 / 16
    layer.set_weights([kernel])
    features = keras.layers.GlobalAveragePooling2D()(maps)
    return OpenNetwork(keras.Model(pixels, [maps, features]), np.float32([1] * 3), np.zeros(3))


def test_the_heat_is_where_the_object_is(network):
    images = np.zeros((3, SIDE, SIDE, 3), np.uint8)
    images[:2, :4, -4:, 0] = 200  # red, upper right
    images[:2, -8:, :8, 2] = 200  # blue, lower left
    red, blue = np.float32([1, 0]), np.float32([0, 1])
    found = heat_maps(network, images, np.stack([red, blue, red]))
    corner = np.zeros((4, 4))
    corner[0, 3] = 1
    np.testing.assert_allclose(found[0], corner, atol=1e-6)
    lower_left = np.zeros((4, 4))
    lower_left[2:, :2] = 1
    np.testing.assert_allclose(found[1], lower_left, atol=1e-6)
    assert not found[2].any()  # No red: nothing is made of nothing.


def test_covering_the_object_costs_the_most():
    images = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    images[0, :4, -4:, 0] = 200  # red, upper right

    def red(pictures):
        return pictures[..., 0].mean(axis=(1, 2))

    found, nothing = covering_maps(images, red)
    assert found.shape == (7, 7) and found.max() == 1
    assert np.unravel_index(found.argmax(), found.shape) in [(0, 6), (1, 5), (0, 5), (1, 6)]
    assert found[3:, :4].max() < 0.05
    assert not nothing.any()


def test_heat_lies_on_the_image():
    image = np.full((8, 8, 3), 100, np.uint8)
    heat = np.zeros((2, 2), np.float32)
    heat[0, 1] = 1
    shown = with_heat(image, heat).astype(int).sum(axis=2)
    assert shown.shape == (8, 8)
    assert shown[0, 7] == shown.max() > 300 > shown[7, 0]


def test_more_heat_is_brighter():
    levels = heat_colours(np.linspace(0, 1, 50)) @ [0.299, 0.587, 0.114]
    assert (np.diff(levels) > 0).all()

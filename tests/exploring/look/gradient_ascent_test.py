"""Gradient ascent: pictures that filters respond to, and that are no noise."""

import keras
import numpy as np
import pytest

from dc_keras.exploring.look.gradient_ascent import (
    Ascent,
    colours_of,
    grey_colours,
    preferred_pictures,
    spectrum_weights,
)
from dc_keras.exploring.look.open_network import OpenNetwork

SIDE = 32
ALL_COLOURS = np.eye(3, dtype=np.float32)


@pytest.fixture(scope="module")
def network():
    """Filters for stripes that lie, for stripes that stand, and for red without green."""
    pixels = keras.Input((SIDE, SIDE, 3))
    layer = keras.layers.Conv2D(3, 5, activation="relu", use_bias=False, name="stripes")
    maps = layer(pixels)
    wave = np.array([-1, -1, 4, -1, -1], np.float32)
    kernel = np.zeros((5, 5, 3, 3), np.float32)
    kernel[..., 0] = wave[:, None, None]
    kernel[..., 1] = wave[None, :, None]
    kernel[..., 2] = np.array([1, -1, 0])
    layer.set_weights([kernel])
    model = keras.Model(pixels, [maps, keras.layers.Flatten()(maps)])
    return OpenNetwork(model, np.full(3, 1 / 127.5, np.float32), np.full(3, -1, np.float32))


def responses(network, pictures):
    """Means of all maps, `(n, filters)`, of pictures as they would be shown."""
    maps, _ = network.model(network.normalized(pictures), training=False)
    return np.asarray(maps).mean(axis=(1, 2))


def test_each_picture_raises_the_response_of_its_filter_and_of_no_other(network):
    made = preferred_pictures(network, [0, 1, 2], ALL_COLOURS, seed=1)
    assert made.pictures.shape == (3, SIDE, SIDE, 3) and made.pictures.dtype == np.uint8
    assert (made.after > 20 * made.before).all(), made
    table = responses(network, made.pictures)
    # Rounding to whole numbers changes little.
    np.testing.assert_allclose(np.diag(table), made.after, rtol=0.05)
    own = np.diag(table)
    others = table - np.diag(np.full(3, np.inf))
    assert (own > 2 * others.max(axis=0)).all(), table
    assert made.pictures[2, ..., 0].mean() > 2 * made.pictures[2, ..., 1].mean()


def test_the_picture_of_a_filter_depends_on_its_seed_alone(network):
    quick = Ascent(steps=8, at_once=2)
    all_three = preferred_pictures(network, [0, 1, 2], ALL_COLOURS, seed=1, ascent=quick)
    alone = preferred_pictures(network, [1], ALL_COLOURS, seed=1, ascent=quick)
    # Sums in another order, and then rounded.
    assert np.abs(alone.pictures[0].astype(int) - all_three.pictures[1]).max() <= 1
    other = preferred_pictures(network, [1], ALL_COLOURS, seed=2, ascent=quick)
    assert np.abs(alone.pictures.astype(int) - other.pictures).max() > 5


def test_pictures_in_grey_and_of_no_filters(network):
    quick = Ascent(steps=4)
    made = preferred_pictures(network, [0], grey_colours(), seed=1, ascent=quick)
    assert np.ptp(made.pictures, axis=-1).max() == 0
    assert preferred_pictures(network, [], ALL_COLOURS, seed=1).pictures.shape == (0, 32, 32, 3)


def test_colours_vary_together_as_those_of_the_images(rng):
    mixing = np.array([[30, 0, 0], [25, 12, 0], [20, -5, 6]])
    images = 128 + rng.normal(size=(4, 50, 50, 3)) @ mixing.T
    colours = colours_of(np.clip(images, 0, 255).astype(np.uint8))
    assert np.linalg.norm(colours, axis=0).max() == pytest.approx(1, abs=1e-6)
    expected = mixing @ mixing.T
    # Of 10,000 draws; rounded down to whole numbers and cut at the ends.
    np.testing.assert_allclose(
        colours @ colours.T, expected / np.linalg.eigvalsh(expected)[-1], atol=0.03
    )
    one_colour = np.full((1, 4, 4, 3), 9, np.uint8)
    np.testing.assert_array_equal(colours_of(one_colour), grey_colours())


def test_the_blur_takes_the_finest_stripes_away():
    sharp, blurred = (spectrum_weights(32, blur)[0] for blur in (0.0, 1.0))
    ratio = blurred / sharp
    # A Gaussian of one pixel, at frequency f: exp(-2 pi^2 f^2).
    np.testing.assert_allclose(
        ratio[[0, 8, 16]], np.exp(-2 * (np.pi * np.array([0, 0.25, 0.5])) ** 2)
    )

"""Random colours: each change by its definition, how many images change, and their seeds."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from dc_keras.data.pixels.color import FACTOR, HUE, color_matrices, jitter_colors

LUMA = np.array([0.299, 0.587, 0.114])
NEUTRAL = [0.5, 0.5, 0.5, 0.5, 0.0, 1.0]


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (64, 6, 5, 3), dtype=np.uint8)


def change(image, uniforms, *, strength=1.0, grayscale=0.0):
    """One image's pixels after the change, float and not clipped."""
    matrix, contrast = color_matrices(
        tf.constant([uniforms], tf.float32), strength=strength, grayscale=grayscale
    )
    mean = (image.astype(float) @ LUMA).mean()
    return image @ matrix[0].numpy().T + contrast[0].numpy() * mean


# float32 matrices on values up to 255.
CLOSE = {"atol": 1e-3}


def test_neutral_draws_change_nothing(images):
    image = images[0].astype(float)
    np.testing.assert_allclose(change(image, NEUTRAL), image, **CLOSE)


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        (0, lambda image, gray, high: high * image),
        (1, lambda image, gray, high: high * image + (1 - high) * gray.mean()),
        (2, lambda image, gray, high: high * image + (1 - high) * gray),
    ],
    ids=["brightness", "contrast", "saturation"],
)
def test_one_change_at_a_time(images, position, expected):
    """Against the definition of each change, as torchvision words them."""
    image = images[0].astype(float)
    gray = (image @ LUMA)[..., None]
    high = 1 + FACTOR * 0.5  # what the draw 0.75 means
    uniforms = [*NEUTRAL]
    uniforms[position] = 0.75
    np.testing.assert_allclose(change(image, uniforms), expected(image, gray, high), **CLOSE)


def test_hue_turns_colours_and_keeps_grey(images):
    image = images[0].astype(float)
    uniforms = [*NEUTRAL[:3], 0.99, 0.0, 1.0]
    turned = change(image, uniforms)
    np.testing.assert_allclose(turned @ LUMA, image @ LUMA, atol=0.05)  # YIQ has three digits
    assert np.abs(turned - image).mean() > 10
    # As often as it takes to come round, here in TensorFlow's own way of turning.
    ours, delta = image / 255, HUE * 0.98
    theirs = tf.image.yiq_to_rgb(
        tf.stack(
            [
                tf.image.rgb_to_yiq(ours)[..., 0],
                *turn(tf.image.rgb_to_yiq(ours)[..., 1:], 2 * np.pi * delta),
            ],
            axis=-1,
        )
    )
    np.testing.assert_allclose(turned / 255, theirs, atol=0.01)  # its YIQ has four digits


def turn(chroma, angle):
    i, q = chroma[..., 0], chroma[..., 1]
    return np.cos(angle) * i - np.sin(angle) * q, np.sin(angle) * i + np.cos(angle) * q


def test_gray_images_have_equal_channels(images):
    changed = jitter_colors(images, [1, 2], strength=1.0, grayscale=1.0).numpy().astype(int)
    assert np.ptp(changed, axis=-1).max() <= 1  # rounding
    assert changed.std() > 10


def test_some_images_stay_as_they_are(images):
    many = np.repeat(images, 20, axis=0)
    changed = jitter_colors(many, [1, 2], strength=1.0, grayscale=0.0).numpy()
    same = (np.abs(changed.astype(int) - many) <= 1).all((1, 2, 3)).mean()
    # A fifth of 1,280 draws: four standard deviations are 0.045.
    assert same == pytest.approx(0.2, abs=0.045)


def test_strength_zero_changes_nothing(images):
    changed = jitter_colors(images, [1, 2], strength=0.0, grayscale=0.0)
    np.testing.assert_allclose(changed.numpy().astype(int), images, atol=1)


@settings(max_examples=25)
@given(seed=st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)))
def test_the_seed_decides(images, seed):
    first = jitter_colors(images, seed, strength=2.5, grayscale=0.2)
    again = jitter_colors(images, seed, strength=2.5, grayscale=0.2)
    assert first.dtype == tf.uint8
    np.testing.assert_array_equal(first, again)
    other = jitter_colors(images, (seed[0], seed[1] ^ 1), strength=2.5, grayscale=0.2)
    assert (first.numpy() != other.numpy()).any()

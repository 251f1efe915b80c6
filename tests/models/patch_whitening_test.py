"""Filters that whiten patches, by the covariance of what they answer."""

import keras
import numpy as np
import pytest

from dc_keras.models.blocks import front_end
from dc_keras.models.options import NetworkOptions
from dc_keras.models.patch_whitening import FLOOR, PATCHES, fit_filters


def smooth_images(rng, count=64, side=24):
    """Images whose neighbouring pixels are alike, as those of photographs."""
    images = rng.normal(size=(count, side, side, 3)).cumsum(1).cumsum(2)
    low, high = images.min(), images.max()
    return (255 * (images - low) / (high - low)).astype("uint8")


def layer(filters, side):
    size = filters.shape[0]
    options = NetworkOptions(image_size=side, use_sobel=False, whitened_patches=size)
    network = keras.Model(*front_end(options))
    network.get_layer(PATCHES).kernel.assign(filters)
    return network


@pytest.mark.parametrize("size", [1, 3, 5])
def test_responses_are_uncorrelated_and_of_equal_variance(rng, size):
    """The covariance of the responses is diag(l / (l + FLOOR)), which is 1 for all but noise."""
    images = smooth_images(rng)
    filters = fit_filters([images[:40], images[40:]], size)
    assert filters.shape == (size, size, 3, 6 * size**2)
    # Both signs of a response, of the patches that were looked at.
    half = 3 * size**2
    answers = layer(filters, 24)(images).numpy()
    answers = answers[..., :half] - answers[..., half:]
    inside = answers[:, size // 2 :: size, size // 2 :: size]
    inside = inside[:, : (24 - size) // size + 1, : (24 - size) // size + 1].reshape(-1, half)
    covariance = np.cov(inside.T, bias=True).reshape(half, half)
    # Float32 sums over 40,000 patches.
    off_diagonal = covariance - np.diag(np.diagonal(covariance))
    np.testing.assert_allclose(off_diagonal, 0, atol=2e-3)
    assert (np.diagonal(covariance) <= 1 + 1e-3).all()
    # The strongest direction is far above the floor.
    assert covariance[0, 0] == pytest.approx(1, abs=0.05)


def test_variances_decrease_and_weak_directions_are_held_down(rng):
    images = smooth_images(rng)
    filters = fit_filters([images], 3)
    lengths = np.linalg.norm(filters.reshape(27, 54)[:, :27], axis=0)
    # Filters have length 1 / sqrt(l + FLOOR).
    assert (np.diff(lengths) >= -1e-5).all()
    assert lengths.max() <= 1 / FLOOR**0.5 + 1e-5


def test_filters_come_with_their_opposites(rng):
    filters = fit_filters([smooth_images(rng)], 3)
    np.testing.assert_array_equal(filters[..., 27:], -filters[..., :27])


def test_batches_do_not_matter(rng):
    images = smooth_images(rng)
    whole = fit_filters([images], 3)
    parts = fit_filters([images[:7], images[7:]], 3)
    # Directions of equal strength may turn; what a whitening does to a covariance may not.
    flat = [one.reshape(27, 54)[:, :27] for one in (whole, parts)]
    np.testing.assert_allclose(flat[0] @ flat[0].T, flat[1] @ flat[1].T, rtol=1e-3, atol=1e-3)


def test_flat_images_give_finite_filters():
    images = np.full((5, 16, 16, 3), 77, "uint8")
    filters = fit_filters([images], 3)
    assert np.isfinite(filters).all()


def test_the_layer_is_fixed():
    options = NetworkOptions(image_size=32, use_sobel=False, whitened_patches=3)
    network = keras.Model(*front_end(options))
    assert network.trainable_variables == []
    assert network.output.shape == (None, 32, 32, 54)

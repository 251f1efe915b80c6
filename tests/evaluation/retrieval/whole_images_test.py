import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import encoded_images
from dc_keras.data.pixels.squares import PADDING
from dc_keras.data.sources.open import open_source
from dc_keras.evaluation.retrieval.whole_images import (
    WHOLE,
    fingerprints,
    whole_image,
    whole_images,
)


@pytest.mark.parametrize(("longest", "shape"), [(40, (24, 40)), (100, (60, 100)), (50, (30, 50))])
def test_the_longest_side_is_resized_as_pillow_does(longest, shape):
    pixels = encoded_images.noise(30, 50)
    found, size = whole_image(tf.constant(pixels), tf.constant(WHOLE), longest)
    expected = Image.fromarray(pixels).resize(shape[::-1], Image.BILINEAR)
    assert np.abs(found.numpy().astype(int) - np.asarray(expected)).max() <= 1
    assert size.numpy().tolist() == [30, 50]


def test_a_region_is_cut_out_behind_the_resizing():
    pixels = tf.constant(encoded_images.noise(30, 50))
    whole, _ = whole_image(pixels, tf.constant(WHOLE), 100)
    found, _ = whole_image(pixels, tf.constant([10.2, 5.0, 30.0, 20.4]), 100)
    np.testing.assert_array_equal(found, whole[10:41, 20:60])
    # What lies outside of the image is not there, and there is a pixel at least.
    found, _ = whole_image(pixels, tf.constant([49.8, 29.9, 80.0, 90.0]), 100)
    np.testing.assert_array_equal(found, whole[59:, 99:])


def test_images_are_upright_and_filled_up_where_they_are_too_small(tmp_path):
    turned = encoded_images.encode(
        encoded_images.IMAGE, "JPEG", exif=encoded_images.exif_turned(6), quality=95
    )
    (tmp_path / "a.jpg").write_bytes(turned)
    (tmp_path / "b.png").write_bytes(
        encoded_images.encode(Image.fromarray(encoded_images.noise(8, 80)), "PNG")
    )
    source = open_source(str(tmp_path))
    found = list(whole_images(source, [0, 1], [WHOLE, WHOLE], longest_side=50, least_side=16))
    (first, size, first_filled), (second, _, second_filled) = found
    assert (size.numpy().tolist(), bool(first_filled)) == ([50, 40], False)
    np.testing.assert_array_equal(first[0], encoded_images.pillow(turned))
    assert second.shape == (1, 16, 50, 3) and bool(second_filled)
    assert (second[0, 5:].numpy() == PADDING).all() and np.ptp(second[0, :5]) > 50


def test_fingerprints_tell_copies_and_shapes(tmp_path, rng):
    for name in ("a.png", "b.png"):
        Image.fromarray(encoded_images.noise(9, 9)).save(tmp_path / name)
    Image.fromarray(encoded_images.noise(9, 9, seed=1)).save(tmp_path / "c.png")
    first, second, third = fingerprints(open_source(str(tmp_path)))
    assert first == second != third
    images = rng.integers(0, 256, (3, 4, 4, 3), np.uint8)
    images[2] = images[0]
    np.savez(tmp_path / "arrays.npz", images=images)
    first, second, third = fingerprints(open_source(str(tmp_path / "arrays.npz")))
    assert first == third != second

"""Images that are no squares, squashed or padded: for clustering and for training."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dc_keras.data.pixels.augmentation import Augmentation, augment
from dc_keras.data.pixels.center_crop import center_crop_batch, preprocess_for_clustering
from dc_keras.data.pixels.options import PixelOptions
from dc_keras.data.pixels.squares import PADDING
from encoded_images import assert_close_to_unreduced, encode, noise, smooth_jpeg

SQUASH, PAD = PixelOptions(fit="squash"), PixelOptions(fit="pad")


def pillow_resized(image, width, height):
    return np.asarray(Image.fromarray(image).resize((width, height), Image.BILINEAR)).astype(int)


def test_squash_resizes_all_of_an_image():
    image = noise(40, 90)
    square = preprocess_for_clustering(tf.constant(image), 32, SQUASH).numpy()
    # Pillow rounds between its two passes.
    assert np.abs(square - pillow_resized(image, 32, 32)).max() <= 1


@pytest.mark.parametrize("shape", [(40, 90), (90, 40), (3, 500)])
def test_pad_keeps_the_shape_and_fills_up_with_grey(shape):
    image = noise(*shape)
    square = preprocess_for_clustering(tf.constant(image), 32, PAD).numpy()
    height, width = (max(1, round(side * 32 / max(shape))) for side in shape)
    top, left = (32 - height) // 2, (32 - width) // 2
    inside = np.zeros((32, 32), bool)
    inside[top : top + height, left : left + width] = True
    assert (square[~inside] == PADDING).all()
    shown = square[inside].reshape(height, width, 3)
    assert np.abs(shown - pillow_resized(image, width, height)).max() <= 1


@pytest.mark.parametrize("options", [SQUASH, PAD], ids=["squash", "pad"])
def test_files_batches_and_pixels_become_the_same_square(options):
    image = noise(40, 90)
    expected = preprocess_for_clustering(tf.constant(image), 32, options)
    png = preprocess_for_clustering(tf.constant(encode(Image.fromarray(image), "PNG")), 32, options)
    np.testing.assert_array_equal(png, expected)
    batch = center_crop_batch(tf.constant([image, image]), 32, options.fit)
    np.testing.assert_array_equal(batch[1], expected)
    # JPEGs are reduced while they are decoded.
    jpeg = smooth_jpeg(385, 650)
    pixels = tf.io.decode_jpeg(jpeg, dct_method="INTEGER_ACCURATE")
    reduced, exact = (
        preprocess_for_clustering(x, 24, options) for x in (tf.constant(jpeg), pixels)
    )
    assert_close_to_unreduced(reduced.numpy(), exact.numpy())


def test_training_crops_of_squashed_images_are_those_of_the_square():
    # Columns tell where they were: a crop of a squashed ramp spans part of it.
    ramp = np.tile(np.linspace(0, 255, 500).astype(np.uint8)[None, :, None], (20, 1, 3))
    spans = []
    for i in range(40):
        crop = augment(tf.constant(ramp), tf.constant([5, i]), Augmentation(16, 0.3), SQUASH)
        columns = crop.numpy()[:, :, 0].astype(int)
        assert np.ptp(columns, axis=0).max() <= 1
        spans.append(abs(columns[0, -1] - columns[0, 0]) / 255)
    # The area is 0.3 to 1, the sides' ratio 3/4 to 4/3: widths from 0.47 to 1 of the image.
    assert 0.4 < min(spans) < 0.65 and 0.85 < max(spans) <= 1


@pytest.mark.parametrize("shape", [(20, 500), (500, 20)])
def test_training_crops_of_padded_images_are_padded_as_their_images(shape):
    white = np.full((*shape, 3), 255, np.uint8)
    for i in range(20):
        crop = augment(tf.constant(white), tf.constant([5, i]), Augmentation(32, 0.08), PAD).numpy()
        is_shown = (crop == 255).all(-1)
        assert is_shown.any() and (crop[~is_shown] == PADDING).all()
        # 32 pixels long and round(32 / 25) across.
        assert max(is_shown.any(0).sum(), is_shown.any(1).sum()) == 32
        assert is_shown.sum() == 32


@pytest.mark.parametrize("options", [SQUASH, PAD], ids=["squash", "pad"])
def test_square_images_are_cropped_as_ever(options):
    image = tf.constant(noise(40, 40))
    seed = tf.constant([3, 4])
    usual = augment(image, seed, Augmentation(24))
    np.testing.assert_array_equal(augment(image, seed, Augmentation(24), options), usual)


def spectrograms(count=12):
    """512 x 64 pixels of noise, with a tone of one of four pitches at the beginning."""
    rng = np.random.default_rng(0)
    classes = np.arange(count) % 4
    images = rng.integers(0, 60, (count, 64, 512, 3), np.uint8)
    for image, pitch in zip(images, classes, strict=True):
        image[8 + 14 * pitch : 14 + 14 * pitch, 10:100] = 250
    return images, classes


@pytest.mark.parametrize(("fit", "is_told"), [("crop", False), ("squash", True), ("pad", True)])
def test_what_lies_outside_of_the_centre_is_seen_where_images_are_shown_whole(fit, is_told):
    images, classes = spectrograms()
    squares = center_crop_batch(tf.constant(images), 32, fit).numpy().reshape(len(images), -1)
    distances = np.linalg.norm(squares[:, None] - squares[None].astype(float), axis=-1)
    np.fill_diagonal(distances, np.inf)
    found = np.mean(classes[distances.argmin(1)] == classes)
    assert found == 1 if is_told else found < 0.6

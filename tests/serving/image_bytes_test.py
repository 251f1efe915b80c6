"""Bytes of images to pixels, in a graph that must not fail."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dc_keras.data.pixels.center_crop import preprocess_for_clustering
from dc_keras.data.pixels.limits import MAX_PIXELS, NO_IMAGE
from dc_keras.data.pixels.options import PixelOptions
from dc_keras.serving.image_bytes import EMPTY, damaged, read_all, read_if_possible
from encoded_images import encode


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(3)
    pixels = [rng.integers(0, 256, (40 + i, 50, 3), np.uint8) for i in range(4)]
    return [tf.io.encode_png(image).numpy() for image in pixels]


@pytest.fixture(scope="module")
def read():
    """The graph, traced once."""
    signature = [tf.TensorSpec([None], tf.string)]
    traced = tf.function(lambda b: read_all(b, 32), input_signature=signature, autograph=False)

    def answer(encoded):
        pixels, status = traced(tf.constant(encoded, tf.string, [len(encoded)]))
        return pixels.numpy(), [text.decode() for text in status.numpy()]

    return answer


def test_images_are_served_with_what_the_run_read_them_with():
    values = np.full((8, 64), 290, np.uint16)
    values[:, :8] = 370
    encoded = tf.constant(encode(Image.fromarray(values), "PNG"))
    options = PixelOptions((290, 370), fit="squash")
    image, status = read_if_possible(encoded, 8, options)
    assert status.numpy() == b""
    # White of 370 and black of 290; antialiasing mixes them where they meet.
    assert image.numpy()[0, :, 0].tolist() == [219, 32] + [0] * 6
    refused, status = read_if_possible(encoded, 8, PixelOptions(max_pixels=8 * 64 - 1))
    assert status.numpy().decode() == damaged(511) and not refused.numpy().any()


def test_good_images_have_an_empty_status(read, images):
    found, status = read(images)
    assert status == [""] * 4
    crops = tf.stack([preprocess_for_clustering(tf.constant(image), 32) for image in images])
    np.testing.assert_array_equal(found, crops)


def test_a_bad_image_does_no_harm_to_its_batch(read, images):
    bad = [b"", b"no image", images[0][:200], b"\xff\xd8\xff\xe0 not a JPEG"]
    mixed = [image for pair in zip(images, bad, strict=True) for image in pair]
    found, status = read(mixed)
    assert status == ["", EMPTY, "", NO_IMAGE, "", damaged(MAX_PIXELS), "", damaged(MAX_PIXELS)]
    assert not found[1::2].any()
    np.testing.assert_array_equal(found[::2], read(images)[0])


@pytest.mark.parametrize("batch", [[], [b"bad"], [b"bad"] * 3])
def test_batches_without_a_good_image(read, batch):
    found, status = read(batch)
    assert found.shape == (len(batch), 32, 32, 3) and not found.any()
    assert status == [NO_IMAGE] * len(batch)

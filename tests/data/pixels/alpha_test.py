"""Transparent images on white, on every way that an image takes."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dc_keras.data.pixels.alpha import on_white
from dc_keras.data.pixels.augmentation import Augmentation, augment
from dc_keras.data.pixels.center_crop import preprocess_for_clustering
from dc_keras.data.pixels.decoding import decode
from dc_keras.data.sources.packing import _to_pack
from dc_keras.serving.image_bytes import read_if_possible
from encoded_images import encode, pillow

COLORS, OPACITIES = np.mgrid[0:256, 0:256]


def test_every_colour_at_every_opacity():
    image = np.stack([COLORS, 255 - COLORS, COLORS // 2, OPACITIES], -1).astype(np.uint8)
    opacity = OPACITIES[..., np.newaxis] / 255
    expected = np.floor(opacity * image[..., :3] + (1 - opacity) * 255 + 0.5)
    np.testing.assert_array_equal(on_white(tf.constant(image)), expected)


def test_opaque_images_keep_every_bit():
    image = np.stack([COLORS, OPACITIES, COLORS ^ OPACITIES], -1).astype(np.uint8)
    opaque = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    np.testing.assert_array_equal(on_white(tf.constant(opaque)), image)
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        encoded = encode(Image.fromarray(opaque), kind, **options)
        np.testing.assert_array_equal(decode(tf.constant(encoded)), image)


def bmp_with_alpha(image):
    """A BMP of 32 bits with the fourth version of the header, which has room for masks."""
    height, width, _ = image.shape
    pixels = image[::-1, :, [2, 1, 0, 3]].tobytes()
    info = np.array([108, width, height, 1 | 32 << 16, 3, len(pixels), 0, 0, 0, 0], "<u4")
    masks = np.array([0xFF0000, 0xFF00, 0xFF, 0xFF000000], "<u4").tobytes()
    return (
        b"BM"
        + np.array([122 + len(pixels), 0, 122], "<u4").tobytes()
        + (info.tobytes() + masks + bytes(52) + pixels)
    )


# A black square that is in the opacity alone, half of it half transparent.
SHAPE = np.zeros((48, 64, 4), np.uint8)
SHAPE[12:36, 16:48, 3] = 255
SHAPE[12:36, 32:48, 3] = 128
ICON = Image.fromarray(SHAPE)
ICONS = {
    "png": encode(ICON, "PNG"),
    "png grey": encode(ICON.convert("LA"), "PNG"),
    "png palette": encode(ICON.quantize(4), "PNG"),
    "webp": encode(ICON, "WEBP", lossless=True, exact=True),
    "bmp": bmp_with_alpha(SHAPE),
}


@pytest.mark.parametrize("kind", ICONS)
def test_a_shape_in_the_opacity_is_seen_on_every_way(kind):
    encoded = tf.constant(ICONS[kind])
    expected = np.repeat(255 - SHAPE[..., 3:], 3, -1)
    image = decode(encoded).numpy()
    np.testing.assert_array_equal(image, expected)
    np.testing.assert_array_equal(image, pillow(ICONS[kind]))
    crop = preprocess_for_clustering(encoded, 32)
    np.testing.assert_array_equal(crop, preprocess_for_clustering(tf.constant(expected), 32))
    served, status = read_if_possible(encoded, 32)
    assert status == b""
    np.testing.assert_array_equal(served, crop)
    augmentation, seed = Augmentation(image_size=32), tf.constant([3, 4])
    np.testing.assert_array_equal(
        augment(encoded, seed, augmentation), augment(tf.constant(expected), seed, augmentation)
    )
    packed = decode(_to_pack(encoded, 24)).numpy().astype(int)
    reduced = Image.fromarray(expected).resize((32, 24), Image.BILINEAR)
    # JPEG of quality 95 rings at the edges of the square.
    assert np.abs(packed - np.asarray(reduced)).mean() < 4

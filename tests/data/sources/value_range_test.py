"""What is found to be black and white in images of 16 bits."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dc_keras.data.pixels.decoding import decode
from dc_keras.data.sources.inspection import leave_out_unreadable
from dc_keras.data.sources.open import open_source
from dc_keras.data.sources.value_range import with_value_range
from encoded_images import chunk, encode


def written(folder, images):
    """The source of images as PNG and TIFF in turn, with what the inspection saw of them."""
    for number, values in enumerate(images):
        kind = "TIFF" if number % 2 else "PNG"
        image = encode(Image.fromarray(values), kind)
        (folder / f"{number:03}.{kind.lower()}").write_bytes(image)
    return leave_out_unreadable(open_source(str(folder)), 0.0, progress=False)


def camera(low, high, count=4, seed=0):
    """Pictures of a camera that uses some of 16 bits, with a dead and a hot pixel each."""
    images = np.random.default_rng(seed).integers(low, high + 1, (count, 60, 50), np.uint16)
    images[:, 3, 4], images[:, 5, 6] = 0, 65535
    return list(images)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (290, 370, (290, 370)),
        (0, 1023, (0, 1023)),
        (33_000, 34_000, (33_000, 34_000)),
        # As many as this are no camera of few bits.
        (5_000, 40_000, (0, 65535)),
        (300, 300, (0, 65535)),
    ],
)
def test_the_range_is_that_of_the_images_without_outliers(tmp_path, low, high, expected):
    source, seen = written(tmp_path, camera(low, high))
    source, told = with_value_range(source, seen.is_deep)
    # A thousandth of the pixels of an image is three of 3,000, of 80 to 1,000 values.
    found = source.options.value_range
    np.testing.assert_allclose(found, expected, atol=5)
    assert told == "16-bit images: values {} to {} become black to white".format(*found)
    if low < high < 1023:
        first = decode(source.load(tf.constant(0)), source.options).numpy()
        second = decode(source.load(tf.constant(1)), source.options).numpy()
        assert first.std() > 60 and abs(first.mean() - second.mean()) < 10


def test_eight_bits_have_no_range(tmp_path):
    source, seen = written(tmp_path, [np.full((4, 4), 9, np.uint8)])
    assert with_value_range(source, seen.is_deep) == (source, "")
    assert source.options.value_range is None


def test_a_single_image_of_many_is_enough_and_a_range_that_is_given_stays(tmp_path):
    images = [np.zeros((4, 4), np.uint8)] * 4 + camera(100, 900, count=1)
    source, seen = written(tmp_path, images)
    assert seen.is_deep.tolist() == [False] * 4 + [True]
    source, _ = with_value_range(source, seen.is_deep)
    np.testing.assert_allclose(source.options.value_range, (100, 900), atol=5)
    given = source.options
    assert with_value_range(source, seen.is_deep)[0].select(np.arange(2)).options == given


def test_what_is_transparent_does_not_count(tmp_path):
    # 400 is the transparent grey.
    values = np.array([[400, 300, 310], [400, 320, 330]], np.uint16)
    encoded = encode(Image.fromarray(values), "PNG")
    told = encoded[:33] + chunk(b"tRNS", (400).to_bytes(2, "big")) + encoded[33:]
    (tmp_path / "a.png").write_bytes(told)
    source = open_source(str(tmp_path))
    source, _ = with_value_range(source, np.array([True]))
    assert source.options.value_range == (300, 330)

"""The first frame of a GIF, as Pillow sees it."""

import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dc_keras.data.pixels.decoding import decode
from encoded_images import both_ways_each, encode, pillow

NUMBERS = np.random.default_rng(0).integers(0, 8, (30, 40), np.uint8)
TABLE = np.random.default_rng(1).integers(0, 256, (8, 3), np.uint8)


def gif(canvas, corner, *, transparent=None, own_table=False, interlaced=False):
    """A frame of 40 x 30 pixels at a place of a canvas."""
    image = Image.fromarray(NUMBERS, "P")
    image.putpalette(TABLE.tobytes())
    written = encode(image, "GIF", interlace=interlaced)
    table = written[13 : 13 + 24]
    assert written[13 + 24] == ord(",")
    frame = bytearray(written[13 + 24 : -1])
    frame[1:5] = struct.pack("<HH", *corner)
    if own_table:
        frame[9] |= 0x82
        frame[10:10] = table
    head = b"GIF89a" + struct.pack("<HH", *canvas)
    head += b"\0\0\0" if own_table else b"\x82\0\0" + table
    control = b"" if transparent is None else bytes([33, 0xF9, 4, 1, 0, 0, transparent, 0])
    comment = b"!\xfe\x03two\x01!\0"
    return head + comment + control + bytes(frame) + b";"


@pytest.mark.parametrize("own_table", [False, True])
@pytest.mark.parametrize("transparent", [None, 0, 3, 200])
def test_a_frame_lies_at_its_place_on_the_canvas(own_table, transparent):
    places = [((40, 30), (0, 0)), ((96, 64), (30, 20)), ((45, 31), (5, 1)), ((20, 64), (3, 50))]
    files = [
        gif(canvas, corner, transparent=transparent, own_table=own_table)
        for canvas, corner in places
    ]
    for encoded, image in zip(files, both_ways_each(decode, files), strict=True):
        np.testing.assert_array_equal(image, pillow(encoded))


def test_known_pixels():
    image = decode(tf.constant(gif((50, 40), (4, 6), transparent=3))).numpy()
    assert image.shape == (40, 50, 3)
    expected = np.where((NUMBERS == 3)[..., np.newaxis], 255, TABLE[NUMBERS])
    np.testing.assert_array_equal(image[6:36, 4:44], expected)
    image[6:36, 4:44] = 255
    assert (image == 255).all()


def test_without_a_transparent_colour_the_first_one_surrounds_the_frame():
    image = decode(tf.constant(gif((50, 40), (4, 6)))).numpy()
    assert (image[:6] == TABLE[0]).all() and (image[:, 44:] == TABLE[0]).all()


def test_interlaced_rows_are_put_in_order():
    encoded = gif((40, 30), (0, 0), interlaced=True)
    np.testing.assert_array_equal(decode(tf.constant(encoded)), TABLE[NUMBERS])


def test_without_any_table_numbers_are_greys():
    encoded = gif((40, 30), (0, 0))
    encoded = encoded[:10] + b"\0\0\0" + encoded[13 + 24 :]
    np.testing.assert_array_equal(decode(tf.constant(encoded)), pillow(encoded))


def test_a_file_without_a_frame_is_damaged():
    with pytest.raises(tf.errors.InvalidArgumentError, match="no frame"):
        decode(tf.constant(gif((40, 30), (0, 0))[:37] + b";"))

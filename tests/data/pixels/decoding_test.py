"""From files of all kinds to RGB pixels, eagerly and inside tf.data."""

import struct
import zlib

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from PIL import Image

from dc_keras.data.pixels.decoding import decode
from dc_keras.data.pixels.limits import NO_IMAGE, UNUSUAL_BMP
from dc_keras.data.pixels.options import PixelOptions
from dc_keras.data.pixels.png import PNG
from encoded_images import (
    COLUMNS,
    FILES,
    IMAGE,
    RGB,
    ROWS,
    both_ways,
    both_ways_each,
    chunk,
    encode,
    pillow,
)


def test_decode_gives_the_pixels_that_pillow_gives():
    decoded = both_ways_each(decode, list(FILES.values()))
    for (name, encoded), image in zip(FILES.items(), decoded, strict=True):
        np.testing.assert_array_equal(image, pillow(encoded), err_msg=name)


def test_cmyk_is_not_inverted():
    encoded = encode(IMAGE.convert("CMYK"), "JPEG", quality=95)
    decoded = both_ways(decode, encoded).astype(int)
    # TensorFlow multiplies where Pillow subtracts: they differ by rounding.
    assert np.abs(decoded - pillow(encoded)).max() <= 2
    assert np.abs(decoded - RGB).mean() < 5


def test_sixteen_bits_keep_the_upper_eight():
    values = (COLUMNS * 1300 + ROWS).astype(np.uint16)
    decoded = both_ways(decode, encode(Image.fromarray(values), "PNG"))
    # libpng may round where others cut off.
    assert np.abs(decoded.astype(int) - (values // 256)[..., None]).max() <= 1


@pytest.mark.parametrize(
    ("value_range", "values", "greys"),
    [
        ((290, 370), [0, 290, 330, 370, 65535], [0, 0, 128, 255, 255]),
        ((0, 1023), [0, 512, 1023, 4000, 65535], [0, 128, 255, 255, 255]),
        # As if nothing were told: the upper 8 bits.
        ((0, 65535), [0, 255, 256, 511, 65535], [0, 0, 1, 1, 255]),
    ],
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_range_of_sixteen_bits_becomes_black_to_white(value_range, values, greys, channels):
    header = struct.pack(">IIBBBBB", 5, 1, 16, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    row = np.repeat(np.array(values, ">u2")[:, np.newaxis], channels, 1)
    if channels == 4:
        row[:, 3] = 65535
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + row.tobytes()))
    encoded = PNG + data + chunk(b"IEND", b"")
    image = decode(tf.constant(encoded), PixelOptions(value_range))
    np.testing.assert_array_equal(image, np.repeat([greys], 3, 0).T[np.newaxis])


def test_what_a_file_says_of_its_bits_does_not_count():
    values = np.array([[290, 330, 370]], np.uint16)
    plain = encode(Image.fromarray(values), "PNG")
    told = plain[:33] + chunk(b"sBIT", b"\x0a") + plain[33:]
    options = PixelOptions((290, 370))
    np.testing.assert_array_equal(decode(tf.constant(told), options)[0, :, 0], [0, 128, 255])


def test_a_bmp_from_top_to_bottom():
    encoded = bytearray(encode(IMAGE, "BMP"))
    encoded[22:26] = (-40).to_bytes(4, "little", signed=True)
    np.testing.assert_array_equal(both_ways(decode, bytes(encoded)), RGB[::-1])


def test_four_bit_bmp():
    # 3 x 2 pixels, palette of red, green and blue; rows from below, padded to 4 bytes.
    header = b"BM" + bytes(8) + (66).to_bytes(4, "little")
    info = b"".join(n.to_bytes(4, "little") for n in (40, 3, 2))
    info += (1).to_bytes(2, "little") + (4).to_bytes(2, "little") + bytes(16)
    info += (3).to_bytes(4, "little") + bytes(4)
    palette = bytes([0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0])
    encoded = header + info + palette + bytes([0x01, 0x20, 0, 0, 0x21, 0x00, 0, 0])
    red, green, blue = [255, 0, 0], [0, 255, 0], [0, 0, 255]
    expected = [[blue, green, red], [red, green, blue]]
    np.testing.assert_array_equal(both_ways(decode, encoded), expected)


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=60)
def test_damaged_files_are_invalid_and_never_anything_else(data):
    encoded = FILES[data.draw(st.sampled_from(sorted(FILES)))]
    if data.draw(st.booleans()):
        encoded = encoded[: data.draw(st.integers(0, len(encoded) - 1))]
    else:
        position = data.draw(st.integers(0, min(len(encoded), 80) - 1))
        encoded = encoded[:position] + b"\x80\xff" + encoded[position + 2 :]
    try:
        decoded = decode(tf.constant(encoded))
    except tf.errors.InvalidArgumentError:
        return
    assert decoded.shape[-1] == 3


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (b"", NO_IMAGE),
        (b"some text", NO_IMAGE),
        (b"RIFF\0\0\0\0WAVEfmt ", NO_IMAGE),
        (FILES["bmp"][:28] + b"\x10\0" + FILES["bmp"][30:], UNUSUAL_BMP),
    ],
)
def test_what_is_not_read_is_named(encoded, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode(tf.constant(encoded))


def test_pixels_pass_through():
    np.testing.assert_array_equal(both_ways(decode, RGB), RGB)

"""Uncompressed BMP of 1, 4, 8, 24 or 32 bits, of Windows and OS/2.

TensorFlow's own operation takes palette indices for grey levels and refuses padded files.
"""

from typing import NamedTuple

import tensorflow as tf

from dc_keras.data.pixels.alpha import on_white
from dc_keras.data.pixels.calls import ENCODED, NUMBER, call_of_its_own
from dc_keras.data.pixels.file_bytes import bytes_at, substring
from dc_keras.data.pixels.limits import UNUSUAL_BMP, allowed_size

# Sizes of the header that follows the 14 bytes of every file. The oldest kind, OS/2's, has sides of
# 16 bits and colours of three bytes.
_OLDEST = 12
_HEADERS = (_OLDEST, 40, 52, 56, 64, 108, 124)
_PLAIN, _MASKS = 0, 3
_LARGEST = 2**31 - 1


class _Header(NamedTuple):
    """What the opening of a file says, scalars int32 and bool where nothing else is told.

    Attributes:
        is_oldest: Whether the file is of OS/2's oldest kind.
        size: Bytes of the header, from byte 14 on.
        pixels_at: Where the pixels begin.
        width: In pixels.
        height: In pixels; below 0 where the upper row comes first.
        bits: Of a pixel.
        colors: In the palette; 0 is all that the bits allow.
        has_masks: Whether the file tells which byte of a pixel is which colour.
        channels_at: Where in a pixel red, green, blue and opacity are, int32 (4,).
        has_alpha: Whether there is an opacity.
        is_usual: Whether it is of a kind that is read.
    """

    is_oldest: tf.Tensor
    size: tf.Tensor
    pixels_at: tf.Tensor
    width: tf.Tensor
    height: tf.Tensor
    bits: tf.Tensor
    colors: tf.Tensor
    has_masks: tf.Tensor
    channels_at: tf.Tensor
    has_alpha: tf.Tensor
    is_usual: tf.Tensor


@call_of_its_own(ENCODED, NUMBER)
def decode_bmp(encoded: tf.Tensor, max_pixels: tf.Tensor) -> tf.Tensor:
    """Decodes a BMP to RGB on white.

    Args:
        encoded: Scalar string.
        max_pixels: How many it may have, scalar int32.

    Returns:
        uint8 (h, w, 3).

    Raises:
        tf.errors.InvalidArgumentError: If it is of another kind, too large or cut off, or has no
            pixels.
    """
    header = _read_header(encoded)
    with tf.control_dependencies([tf.debugging.Assert(header.is_usual, [UNUSUAL_BMP])]):
        # The least number has no opposite; as a width it is refused like all below 1.
        tall = tf.abs(tf.maximum(header.height, -_LARGEST))
        sides = allowed_size(tf.stack([tall, header.width]), max_pixels)
    tall, wide = tf.unstack(sides)
    # Bits of a row: 32 times the longest side still fits.
    row_size = (wide * header.bits + 31) // 32 * 4
    data = substring(encoded, header.pixels_at, row_size * tall)
    rows = tf.reshape(tf.io.decode_raw(data, tf.uint8), tf.stack([tall, row_size]))
    rows = tf.cond(header.height < 0, lambda: rows, lambda: rows[::-1])
    return tf.cond(
        header.bits <= 8,
        lambda: _from_palette(encoded, header, rows, wide),
        lambda: _from_pixels(header, rows, wide),
    )


def _read_header(encoded):
    header = bytes_at(encoded, 0, 70)

    def number(position, count):
        """Without sign, and never too large for an int32."""
        digits = tf.cast(header[position : position + count], tf.int64)
        value = tf.reduce_sum(digits * [256**place for place in range(count)])
        return tf.cast(tf.minimum(value, _LARGEST), tf.int32)

    def signed(position):
        digits = header[position : position + 4] * [1, 1 << 8, 1 << 16, 1 << 24]
        return tf.reduce_sum(digits)

    size = number(14, 4)
    is_oldest = size == _OLDEST
    bits = tf.where(is_oldest, number(24, 2), number(28, 2))
    compression, colors = (tf.where(is_oldest, 0, number(at, 4)) for at in (30, 46))
    has_masks = compression == _MASKS
    # Which byte of a pixel is red, which green, which blue, which opacity.
    masks = tf.reshape(header[54:70], (4, 4))
    are_bytes = (tf.reduce_sum(masks, 1) == 255) & (tf.reduce_max(masks, 1) == 255)
    return _Header(
        is_oldest=is_oldest,
        size=size,
        pixels_at=number(10, 4),
        width=tf.where(is_oldest, number(18, 2), signed(18)),
        height=tf.where(is_oldest, number(20, 2), signed(22)),
        bits=bits,
        colors=colors,
        has_masks=has_masks,
        channels_at=tf.where(has_masks, tf.argmax(masks, 1, tf.int32), [2, 1, 0, 3]),
        has_alpha=has_masks & (size >= 56) & are_bytes[3],
        is_usual=tf.reduce_any(size == _HEADERS)
        & tf.reduce_any(bits == [1, 4, 8, 24, 32])
        & ((compression == _PLAIN) | (has_masks & (bits == 32) & tf.reduce_all(are_bytes[:3]))),
    )


def _from_palette(encoded, header, rows, wide):
    entry = tf.where(header.is_oldest, 3, 4)
    all_colors = 2 ** tf.minimum(header.bits, 8)
    count = tf.where(header.colors == 0, all_colors, tf.minimum(header.colors, all_colors))
    palette = substring(encoded, 14 + header.size, entry * count)
    palette = tf.reshape(tf.io.decode_raw(palette, tf.uint8), tf.stack([-1, entry]))
    shifts = tf.range(8 - header.bits, -1, -header.bits)
    indices = tf.cast(rows, tf.int32)[..., tf.newaxis] // 2**shifts % 2**header.bits
    indices = tf.reshape(indices, tf.stack([tf.shape(rows)[0], -1]))[:, :wide]
    return tf.gather(palette[:, 2::-1], indices)


def _from_pixels(header, rows, wide):
    channels = header.bits // 8
    shape = tf.stack([tf.shape(rows)[0], wide, channels])
    pixels = tf.reshape(rows[:, : wide * channels], shape)
    return tf.cond(
        header.has_alpha,
        lambda: on_white(tf.gather(pixels, header.channels_at, axis=2)),
        lambda: tf.cond(
            header.has_masks,
            lambda: tf.gather(pixels, header.channels_at[:3], axis=2),
            lambda: pixels[..., 2::-1],
        ),
    )

"""Uncompressed BMP of 1, 4, 8, 24 or 32 bits, of Windows and OS/2.

TensorFlow's own operation takes palette indices for grey levels and refuses padded files.
"""

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
    header = bytes_at(encoded, 0, 70)

    def number(position, count):
        """Without sign, and never too large for an int32."""
        digits = tf.cast(header[position : position + count], tf.int64)
        value = tf.reduce_sum(digits * [256**place for place in range(count)])
        return tf.cast(tf.minimum(value, _LARGEST), tf.int32)

    def signed(position):
        digits = header[position : position + 4] * [1, 1 << 8, 1 << 16, 1 << 24]
        return tf.reduce_sum(digits)

    header_size = number(14, 4)
    is_oldest = header_size == _OLDEST
    width = tf.where(is_oldest, number(18, 2), signed(18))
    height = tf.where(is_oldest, number(20, 2), signed(22))
    bits = tf.where(is_oldest, number(24, 2), number(28, 2))
    compression, colors = (tf.where(is_oldest, 0, number(at, 4)) for at in (30, 46))
    # Which byte of a pixel is red, which green, which blue, which opacity.
    masks = tf.reshape(header[54:70], (4, 4))
    are_bytes = tf.reduce_sum(masks, 1) == 255
    are_bytes &= tf.reduce_max(masks, 1) == 255
    usual = (
        tf.reduce_any(header_size == _HEADERS)
        & tf.reduce_any(bits == [1, 4, 8, 24, 32])
        & (
            (compression == _PLAIN)
            | ((compression == _MASKS) & (bits == 32) & tf.reduce_all(are_bytes[:3]))
        )
    )
    channels_at = tf.where(compression == _MASKS, tf.argmax(masks, 1, tf.int32), [2, 1, 0, 3])
    has_alpha = (compression == _MASKS) & (header_size >= 56) & are_bytes[3]
    with tf.control_dependencies([tf.debugging.Assert(usual, [UNUSUAL_BMP])]):
        # The least number has no opposite; as a width it is refused like all below 1.
        sides = allowed_size(tf.stack([tf.abs(tf.maximum(height, -_LARGEST)), width]), max_pixels)
    tall, wide = tf.unstack(sides)
    # Bits of a row: 32 times the longest side still fits.
    row_size = (wide * bits + 31) // 32 * 4
    data = substring(encoded, number(10, 4), row_size * tall)
    rows = tf.reshape(tf.io.decode_raw(data, tf.uint8), tf.stack([tall, row_size]))
    rows = tf.cond(height < 0, lambda: rows, lambda: rows[::-1])

    def from_palette():
        entry = tf.where(is_oldest, 3, 4)
        all_colors = 2 ** tf.minimum(bits, 8)
        count = tf.where(colors == 0, all_colors, tf.minimum(colors, all_colors))
        palette = substring(encoded, 14 + header_size, entry * count)
        palette = tf.reshape(tf.io.decode_raw(palette, tf.uint8), tf.stack([-1, entry]))
        shifts = tf.range(8 - bits, -1, -bits)
        indices = tf.cast(rows, tf.int32)[..., tf.newaxis] // 2**shifts % 2**bits
        indices = tf.reshape(indices, tf.stack([tall, -1]))[:, :wide]
        return tf.gather(palette[:, 2::-1], indices)

    def from_pixels():
        channels = bits // 8
        pixels = tf.reshape(rows[:, : wide * channels], tf.stack([tall, wide, channels]))
        return tf.cond(
            has_alpha,
            lambda: on_white(tf.gather(pixels, channels_at, axis=2)),
            lambda: tf.cond(
                compression == _MASKS,
                lambda: tf.gather(pixels, channels_at[:3], axis=2),
                lambda: pixels[..., 2::-1],
            ),
        )

    return tf.cond(bits <= 8, from_palette, from_pixels)

"""PNG: upright, on white, and the 16 bits of cameras and instruments."""

import tensorflow as tf

from dc_keras.data.pixels.alpha import on_white
from dc_keras.data.pixels.exif import png_orientation, turn_upright
from dc_keras.data.pixels.file_bytes import bytes_at, contains, find_chunk, two_numbers_at
from dc_keras.data.pixels.limits import allowed_size

_GREY_ALPHA, _RGB_ALPHA = 4, 6


def decode_png(encoded: tf.Tensor, value_range: tf.Tensor) -> tf.Tensor:
    """Decodes a PNG to RGB.

    Args:
        encoded: Scalar string.
        value_range: The values of 16-bit images that become 0 and 255, int32 (2,). Two equal
            numbers stand for none: see `DecodingOptions`.

    Returns:
        uint8 (h, w, 3).
    """
    sizes = allowed_size(two_numbers_at(encoded, 16, 4, big_endian=True))
    depth, kind = tf.unstack(bytes_at(encoded, 24, 2))
    # Letters that stand there by chance cost time alone: such an image is opaque.
    has_alpha = (kind == _GREY_ALPHA) | (kind == _RGB_ALPHA) | contains(encoded, "tRNS")
    has_range = value_range[0] != value_range[1]
    bits = tf.cond((depth == 16) & ~has_range, lambda: _significant_bits(encoded), lambda: 16)

    def decoded(dtype, to_8_bits):
        def opaque():
            return to_8_bits(tf.io.decode_png(encoded, channels=3, dtype=dtype))

        def transparent():
            image = tf.io.decode_png(encoded, channels=4, dtype=dtype)
            colors = to_8_bits(image[..., :3])
            alpha = image[..., 3:]
            if dtype == tf.uint16:
                alpha = tf.cast(alpha // 256, tf.uint8)
            return on_white(tf.concat([colors, alpha], -1))

        return tf.cond(has_alpha, transparent, opaque)

    def of_16_bits():
        return tf.cond(
            has_range,
            lambda: decoded(tf.uint16, lambda values: _scaled(values, value_range)),
            lambda: decoded(tf.uint16, lambda values: _from_low_bits(values, bits)),
        )

    with tf.control_dependencies([sizes]):
        image = tf.cond(
            (depth == 16) & (has_range | (bits < 16)),
            of_16_bits,
            # Of 16 bits the upper 8.
            lambda: decoded(tf.uint8, tf.identity),
        )
    return turn_upright(image, png_orientation(encoded))


def _significant_bits(encoded):
    """How many bits of 16 the file says are significant: 16 where it says nothing of use."""

    def told():
        # One number for each colour, then perhaps that of the opacity.
        bits = bytes_at(find_chunk(encoded, b"sBIT", riff=False), 0, 1)[0]
        return tf.where((bits >= 1) & (bits <= 16), bits, 16)

    return tf.cond(contains(encoded, "sBIT"), told, lambda: 16)


def _from_low_bits(values, bits):
    """8 bits of values of fewer than 16 significant ones.

    By the standard significant bits are the upper ones, and those below repeat them or are 0: the
    upper 8 are the image. Cameras and MATLAB write numbers as they are, into the lower bits: then
    nothing lies above these, and something does below the upper ones.
    """
    numbers = tf.cast(values, tf.int32)
    limit = 2**bits
    are_low = (tf.reduce_max(numbers) < limit) & tf.reduce_any(numbers % 2 ** (16 - bits) != 0)
    return tf.cond(
        are_low,
        lambda: _scaled(values, tf.stack([0, limit - 1])),
        lambda: tf.cast(numbers // 256, tf.uint8),
    )


def _scaled(values, value_range):
    """Takes a range of values to 0 to 255: clipped, and rounded, halves up."""
    low, high = tf.unstack(tf.cast(value_range, tf.float32))
    scaled = (tf.cast(values, tf.float32) - low) * 255 / (high - low)
    return tf.cast(tf.clip_by_value(scaled, 0, 255) + 0.5, tf.uint8)

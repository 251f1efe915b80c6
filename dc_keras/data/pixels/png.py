"""PNG: upright, on white, and the 16 bits of cameras and instruments."""

import tensorflow as tf

from dc_keras.data.pixels.alpha import on_white
from dc_keras.data.pixels.calls import ENCODED, NUMBER, RANGE, call_of_its_own
from dc_keras.data.pixels.exif import PNG_SIGNS, png_orientation, turn_upright
from dc_keras.data.pixels.file_bytes import bytes_at, contains, starts_with, two_numbers_at
from dc_keras.data.pixels.limits import allowed_size
from dc_keras.data.pixels.options import ALL_OF_16_BITS

PNG = b"\x89PNG\r\n\x1a\n"
_GREY_ALPHA, _RGB_ALPHA = 4, 6


def is_deep_png(encoded: tf.Tensor) -> tf.Tensor:
    """Whether a file is a PNG of 16 bits, scalar bool.

    Args:
        encoded: Scalar string.
    """
    return starts_with(encoded, PNG) & (bytes_at(encoded, 24, 1)[0] == 16)


def is_plain_png(encoded: tf.Tensor) -> tf.Tensor:
    """Whether a file is a PNG of 8 bits or fewer without transparency that is stored upright.

    Args:
        encoded: Scalar string.

    Returns:
        Scalar bool. Letters that stand there by chance make it False.
    """
    depth, kind = tf.unstack(bytes_at(encoded, 24, 2))
    is_simple = (depth <= 8) & (kind != _GREY_ALPHA) & (kind != _RGB_ALPHA)
    return starts_with(encoded, PNG) & is_simple & ~contains(encoded, f"tRNS|{PNG_SIGNS}")


def decode_plain_png(encoded: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Decodes what `is_plain_png`, as `decode_png`."""
    with tf.control_dependencies([_allowed_size(encoded, max_pixels)]):
        return tf.io.decode_png(encoded, channels=3)


def _allowed_size(encoded, max_pixels):
    return allowed_size(two_numbers_at(encoded, 16, 4, big_endian=True), max_pixels)


@call_of_its_own(ENCODED, RANGE, NUMBER)
def decode_png(encoded: tf.Tensor, value_range: tf.Tensor, max_pixels: tf.Tensor) -> tf.Tensor:
    """Decodes a PNG to RGB.

    What the file says of its significant bits is left alone: cameras and MATLAB write numbers into
    the lower bits, the standard asks for the upper ones, and most files say nothing. The range of
    the data set holds for all three.

    Args:
        encoded: Scalar string.
        value_range: The values of 16-bit images that become 0 and 255, int32 (2,). Of
            `ALL_OF_16_BITS` the upper 8 are taken.
        max_pixels: How many it may have, scalar int32.

    Returns:
        uint8 (h, w, 3).
    """
    sizes = _allowed_size(encoded, max_pixels)
    depth, kind = tf.unstack(bytes_at(encoded, 24, 2))
    # Letters that stand there by chance cost time alone: such an image is opaque.
    has_alpha = (kind == _GREY_ALPHA) | (kind == _RGB_ALPHA) | contains(encoded, "tRNS")

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

    with tf.control_dependencies([sizes]):
        image = tf.cond(
            (depth == 16) & tf.reduce_any(value_range != ALL_OF_16_BITS),
            lambda: decoded(tf.uint16, lambda values: _scaled(values, value_range)),
            lambda: decoded(tf.uint8, tf.identity),
        )
    return turn_upright(image, png_orientation(encoded))


def _scaled(values, value_range):
    """Takes a range of values to 0 to 255: clipped, and rounded, halves up."""
    low, high = tf.unstack(tf.cast(value_range, tf.float32))
    scaled = (tf.cast(values, tf.float32) - low) * 255 / (high - low)
    return tf.cast(tf.clip_by_value(scaled, 0, 255) + 0.5, tf.uint8)

"""The first frame of a WebP."""

import tensorflow as tf

from dc_keras.data.pixels.alpha import on_white
from dc_keras.data.pixels.calls import ENCODED, NUMBER, call_of_its_own
from dc_keras.data.pixels.exif import turn_upright, webp_orientation
from dc_keras.data.pixels.file_bytes import bytes_at, starts_with, substring, two_numbers_at
from dc_keras.data.pixels.limits import NO_IMAGE, allowed_size

_FLAGS_AT = 20
_ANIMATION, _ALPHA = 0x02, 0x10


def is_webp(encoded: tf.Tensor) -> tf.Tensor:
    """Whether bytes start like a WebP, scalar bool."""
    return starts_with(encoded, b"RIFF") & (substring(encoded, 8, 4) == b"WEBP")


@call_of_its_own(ENCODED, NUMBER)
def decode_webp(encoded: tf.Tensor, max_pixels: tf.Tensor) -> tf.Tensor:
    """Decodes the first frame to RGB on white, upright.

    Args:
        encoded: Scalar string.
        max_pixels: How many it may have, scalar int32.

    Returns:
        uint8 (h, w, 3).

    Raises:
        tf.errors.InvalidArgumentError: If it is no WebP, damaged, or too large.
    """
    with tf.control_dependencies([tf.debugging.Assert(is_webp(encoded), [NO_IMAGE])]):
        kind = substring(encoded, 12, 4)
    flags = tf.where(kind == b"VP8X", bytes_at(encoded, _FLAGS_AT, 1)[0], 0)
    is_animation = flags // _ANIMATION % 2 == 1
    # TensorFlow 2.21 writes four channels of an animation into a buffer of three when the file
    # declares no alpha, which corrupts the heap. The flags "animation, alpha" prevent that.
    with_alpha = tf.strings.join(
        [
            tf.strings.substr(encoded, 0, _FLAGS_AT),
            bytes([_ANIMATION | _ALPHA]),
            substring(encoded, _FLAGS_AT + 1, tf.strings.length(encoded)),
        ]
    )
    with tf.control_dependencies([allowed_size(_declared_size(encoded, kind), max_pixels)]):
        # channels=3 would refuse images with alpha.
        image = tf.io.decode_image(
            tf.where(is_animation, with_alpha, encoded), channels=0, expand_animations=False
        )
    image = tf.ensure_shape(image, (None, None, None))
    # What surrounds the frame of an animation without alpha is black, as in Pillow.
    is_transparent = (tf.shape(image)[-1] == 4) & (~is_animation | (flags // _ALPHA % 2 == 1))
    image = tf.cond(is_transparent, lambda: on_white(image), lambda: image[..., :3])
    return turn_upright(image, webp_orientation(encoded))


def _declared_size(encoded, kind):
    # Lossy: 14 bits each at 26; lossless: 14 bits each, less 1, from 21 on; extended: 24 bits each,
    # less 1, at 24.
    bits = two_numbers_at(encoded, 21, 4)[0]
    return tf.where(
        kind == b"VP8X",
        two_numbers_at(encoded, 24, 3) + 1,
        tf.where(
            kind == b"VP8L",
            tf.stack([bits, bits // 2**14]) % 2**14 + 1,
            two_numbers_at(encoded, 26, 2) % 2**14,
        ),
    )

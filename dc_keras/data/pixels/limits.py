"""How large an image may be, and why files are not read: the words that lists and answers show.

What a file declares is looked at before anything is decoded: a few kilobytes can declare billions
of pixels.
"""

import tensorflow as tf

# What is allowed unless somebody asks for more. A decoded image takes three bytes a pixel, and what
# is resized of it four times as much. Cameras make up to 150 million pixels; Pillow refuses from
# here on, too.
MAX_PIXELS = 178_956_970
# libpng's limit, for all formats: up to here single precision counts pixels exactly.
MAX_SIDE = 1_000_000

NO_IMAGE = "not a JPEG, PNG, BMP, GIF or WebP image"
UNUSUAL_BMP = "an unusual kind of BMP: convert it to PNG or JPEG"
TOO_LARGE = "it declares more pixels than --max_pixels: make it smaller, or allow more"
TOO_LONG = f"it declares a side of more than {MAX_SIDE:,} pixels: cut it into parts"
NO_PIXELS = "it declares a width or height of 0 or less: mend or remove it"

# All that the errors of decoding say of themselves; others are TensorFlow's, of damaged files.
REASONS = (NO_IMAGE, UNUSUAL_BMP, TOO_LARGE, TOO_LONG, NO_PIXELS)


def allowed_size(size: tf.Tensor, max_pixels: tf.Tensor | int) -> tf.Tensor:
    """Passes height and width on if an image may have them.

    Args:
        size: Integers (2,), in any order.
        max_pixels: How many pixels it may have.

    Returns:
        The same.

    Raises:
        tf.errors.InvalidArgumentError: If a side is less than 1 or more than `MAX_SIDE`, or there
            are more than `max_pixels`.
    """
    # In floating point, since the product of two damaged numbers can exceed 64 bits.
    sides, most = tf.cast(size, tf.float64), tf.cast(max_pixels, tf.float64)
    checks = [
        tf.debugging.Assert(tf.reduce_min(sides) >= 1, [NO_PIXELS]),
        tf.debugging.Assert(tf.reduce_prod(sides) <= most, [TOO_LARGE]),
        tf.debugging.Assert(tf.reduce_max(sides) <= MAX_SIDE, [TOO_LONG]),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(size)

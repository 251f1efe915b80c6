"""The orientation that Exif gives a JPEG, read and applied in TensorFlow operations."""

import tensorflow as tf

from dc_keras.data.pixels.file_bytes import bytes_at


# Kept as a call of its own in the graph: merged into the branches of decoding, its operations would
# be visited for every image, only to be skipped.
@tf.function(
    input_signature=[tf.TensorSpec([], tf.string)],
    autograph=False,
    experimental_attributes={"_noinline": True},
)
def exif_orientation(encoded: tf.Tensor) -> tf.Tensor:
    """The Exif orientation, 1 to 8; 1 (upright) where there is none or it is damaged.

    Walks the segments of a JPEG to the Exif one and looks the tag up in its directory.
    """

    # The application segments (FFE0 to FFEF) and comments (FFFE) open the file: two bytes of
    # marker, two of length, which counts itself, and data.
    def step(position, _):
        segment = bytes_at(encoded, position, 10)
        is_exif = tf.reduce_all(segment[4:] == [*b"Exif\0\0"]) & (segment[1] == 0xE1)
        is_opening = (segment[0] == 0xFF) & ((segment[1] // 16 == 0xE) | (segment[1] == 0xFE))
        following = position + 2 + segment[2] * 256 + segment[3]
        length = tf.strings.length(encoded)
        return tf.where(is_exif, position, tf.where(is_opening, following, length)), is_exif

    position, found = tf.while_loop(
        lambda position, found: ~found & (position < tf.strings.length(encoded)),
        step,
        (2, tf.constant(False)),
    )

    # What follows is a TIFF header: the byte order (II or MM), 42, and the position of the
    # directory, a count with entries of 12 bytes: tag, type, number of values, value.
    tiff = position + 10
    little_endian = bytes_at(encoded, tiff, 1)[0] == ord("I")

    def number(digits):
        digits = tf.where(little_endian, digits[..., ::-1], digits)
        return tf.reduce_sum(digits * [256**i for i in reversed(range(digits.shape[-1]))], -1)

    # Damaged Exif may point anywhere, so positions are bounded.
    directory = tiff + tf.clip_by_value(number(bytes_at(encoded, tiff + 4, 4)), 0, 1 << 16)
    count = number(bytes_at(encoded, directory, 2))
    entries = tf.reshape(bytes_at(encoded, directory + 2, 12 * count), (-1, 12))
    values = tf.where(number(entries[:, :2]) == 0x0112, number(entries[:, 8:10]), 0)
    orientation = tf.reduce_max(tf.concat([[0], values], 0))
    return tf.where(found & (orientation >= 1) & (orientation <= 8), orientation, 1)


def turn_upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Exchanges rows and columns where the orientation is 5 or more, then flips."""
    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    flips_rows = tf.reduce_any(orientation == [3, 4, 7, 8])
    flips_columns = tf.reduce_any(orientation == [2, 3, 6, 7])
    return tf.reverse(image, tf.boolean_mask([0, 1], tf.stack([flips_rows, flips_columns])))

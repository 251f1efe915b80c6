"""Numbers at places of an encoded file, in TensorFlow operations.

Damaged files may point anywhere: what lies beyond the end is empty, or reads as zeros.
"""

import tensorflow as tf


def bytes_at(encoded: tf.Tensor, position: tf.Tensor | int, count: tf.Tensor | int) -> tf.Tensor:
    """`count` bytes as int32, padded with zeros beyond the end."""
    values = tf.io.decode_raw(substring(encoded, position, count), tf.uint8)
    values = tf.pad(tf.cast(values, tf.int32), [[0, count - tf.size(values)]])
    return tf.ensure_shape(values, [count if isinstance(count, int) else None])


def two_numbers_at(
    encoded: tf.Tensor, position: tf.Tensor | int, size: int, *, big_endian: bool = False
) -> tf.Tensor:
    """Two numbers of `size` bytes each, int64."""
    digits = tf.reshape(bytes_at(encoded, position, 2 * size), (2, size))
    digits = digits[:, ::-1] if big_endian else digits
    return tf.reduce_sum(tf.cast(digits, tf.int64) * [256**place for place in range(size)], -1)


def substring(encoded: tf.Tensor, position: tf.Tensor | int, count: tf.Tensor | int) -> tf.Tensor:
    """`tf.strings.substr` that gives an empty string beyond the end and not an error."""
    position = tf.clip_by_value(position, 0, tf.strings.length(encoded))
    return tf.strings.substr(encoded, position, tf.maximum(count, 0))


def starts_with(encoded: tf.Tensor, start: bytes) -> tf.Tensor:
    """Whether a file starts with these bytes, scalar bool."""
    return tf.strings.substr(encoded, 0, len(start)) == start

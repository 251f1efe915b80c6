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


def contains(encoded: tf.Tensor, words: str) -> tf.Tensor:
    """Whether an expression matches anywhere in a file, scalar bool; one pass, near memory's speed.

    Args:
        encoded: Scalar string.
        words: A regular expression of RE2.
    """
    return tf.strings.regex_full_match(encoded, rf"(?s)\C*(?:{words})\C*")


def find_chunk(encoded: tf.Tensor, kind: bytes, *, riff: bool) -> tf.Tensor:
    """The data of the first chunk of a kind, scalar string; empty where there is none.

    Args:
        encoded: A PNG, whose chunks are length, kind, data and checksum; or a RIFF file, whose
            chunks are kind, length and data, padded to an even length.
        kind: Four letters.
        riff: Whether it is a RIFF file.
    """
    total = tf.cast(tf.strings.length(encoded), tf.int64)

    def length_at(position):
        at = tf.cast(position, tf.int32) + (4 if riff else 0)
        return two_numbers_at(encoded, at, 4, big_endian=not riff)[0]

    def step(position, _):
        found = substring(encoded, tf.cast(position, tf.int32) + (0 if riff else 4), 4) == kind
        length = length_at(position)
        following = position + length + (8 + length % 2 if riff else 12)
        # Never beyond 32 bits: the end of the file is far enough.
        return tf.where(found, position, tf.minimum(following, total)), found

    first = tf.constant(12 if riff else 8, tf.int64)
    position, found = tf.while_loop(
        lambda position, found: ~found & (position < total), step, (first, False)
    )
    length = tf.where(found, tf.minimum(length_at(position), total), 0)
    return substring(encoded, tf.cast(position, tf.int32) + 8, tf.cast(length, tf.int32))

"""Bilinear, antialiased resizing of images to squares, as Pillow's but for its rounding.

Made of TensorFlow operations without state: it runs eagerly, in tf.data and in an exported model.
"""

import tensorflow as tf


def resize(
    images: tf.Tensor, image_size: int, scale: tf.Tensor, translation: tf.Tensor
) -> tf.Tensor:
    """Scales and shifts images of one size, and cuts a square out of the result.

    Columns are resized as rows of the transposed image, with all that lies in a row for channels:
    TensorFlow's operation handles three channels one number at a time, and many by vector
    instructions. For the same reason images are transposed as matrices, with a row for each colour
    of a column: three numbers at a time would take twenty times as long.

    Args:
        images: uint8 (n, h, w, 3).
        image_size: Side s of the square in pixels.
        scale: Factors of height and width, float32 (2,).
        translation: Shift down and right in pixels of the result, float32 (2,).

    Returns:
        uint8 (n, s, s, 3).
    """

    def resize_rows(matrices, axis):
        """From (n, length, m) to (n, image_size, m)."""
        count, length, across = tf.unstack(tf.shape(matrices))
        rows = tf.raw_ops.ScaleAndTranslate(
            images=tf.reshape(matrices, tf.stack([count, length, 1, across])),
            size=[image_size, 1],
            scale=tf.stack([scale[axis], 1.0]),
            translation=tf.stack([translation[axis], 0.0]),
            kernel_type="triangle",
            antialias=True,
        )
        return tf.squeeze(rows, 2)

    count, height, width, _ = tf.unstack(tf.shape(images))
    rows = resize_rows(tf.reshape(images, tf.stack([count, height, width * 3])), 0)
    columns = tf.reshape(tf.transpose(rows, (0, 2, 1)), tf.stack([count, width, 3 * image_size]))
    columns = tf.reshape(_rounded(resize_rows(columns, 1)), (-1, image_size * 3, image_size))
    rows = tf.transpose(columns, (0, 2, 1))
    return tf.reshape(rows, (-1, image_size, image_size, 3))


def _rounded(pixels):
    # Pillow rounds halves up.
    return tf.cast(pixels + 0.5, tf.uint8)

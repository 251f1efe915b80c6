"""Whole images of any shape, their longest side resized: what is searched, and what for.

Made of TensorFlow operations without state: it runs eagerly and in tf.data.
"""

import numpy as np
import tensorflow as tf

from dc_keras.data.pipelines import in_threads, unchanged
from dc_keras.data.pixels.decoding import decode
from dc_keras.data.pixels.options import USUAL, PixelOptions
from dc_keras.data.pixels.squares import PADDING
from dc_keras.data.sources.image_source import ImageSource

# The box of an image that is seen whole: x1, y1, x2, y2.
WHOLE = (0.0, 0.0, np.inf, np.inf)


def whole_image(
    encoded: tf.Tensor,
    box: tf.Tensor,
    longest_side: int,
    options: PixelOptions = USUAL,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes an image, resizes it, and cuts out a region of interest if there is one.

    Args:
        encoded: What `decode` takes.
        box: x1, y1, x2 and y2 of the region in pixels of the decoded image, float32 (4,).
        longest_side: Of the resized image in pixels; smaller images are enlarged.
        options: How the image is decoded.

    Returns:
        uint8 (h, w, 3); and height and width of the decoded image, int32 (2,). Memory: the decoded
        image, five times for one that has to be resized.

    >>> image, _ = whole_image(tf.zeros([30, 60, 3], tf.uint8), tf.constant(WHOLE), 40)
    >>> image.shape
    TensorShape([20, 40, 3])
    """
    image = decode(encoded, options)
    size = tf.shape(image)[:2]
    factor = longest_side / tf.reduce_max(size)
    sides = tf.cast(tf.maximum(tf.round(tf.cast(size, tf.float64) * factor), 1.0), tf.int32)
    resized = tf.cond(
        tf.reduce_all(sides == size),
        lambda: image,
        lambda: _rounded(tf.image.resize(image, sides, antialias=True)),
    )
    x1, y1, x2, y2 = tf.unstack(tf.cast(box, tf.float64) * factor)
    top, bottom = _within(y1, y2, sides[0])
    left, right = _within(x1, x2, sides[1])
    return resized[top:bottom, left:right], size


def _rounded(pixels):
    # At the largest value rounding must not begin anew at 0.
    return tf.cast(tf.clip_by_value(pixels + 0.5, 0.0, 255.0), tf.uint8)


def _within(begin, end, side):
    """Whole pixels from the first to the last that a region touches, at least one."""
    side = tf.cast(side, tf.float64)
    first = tf.clip_by_value(tf.floor(begin), 0.0, side - 1)
    last = tf.clip_by_value(tf.math.ceil(end), first + 1, side)
    return tf.cast(first, tf.int32), tf.cast(last, tf.int32)


def _filled_up(image, least_side):
    grey = tf.constant([[PADDING]], tf.uint8)
    for axis in (0, 1):
        size = tf.shape(image)
        beyond = tf.tensor_scatter_nd_update(
            size[:2], [[axis]], [tf.maximum(least_side - size[axis], 0)]
        )
        image = tf.concat([image, tf.tile(grey, tf.concat([beyond, [1]], 0))], axis)
    return image


def whole_images(
    source: ImageSource, indices: np.ndarray, boxes: np.ndarray, longest_side: int, least_side: int
) -> tf.data.Dataset:
    """Given images in given order, each in a batch of its own since shapes differ.

    Args:
        source: The images.
        indices: Which ones, integers `(m,)`.
        boxes: What is seen of each, float `(m, 4)`, see `whole_image`.
        longest_side: See `whole_image`.
        least_side: What is lower or narrower is filled up with grey below or to the right.

    Returns:
        A dataset of images, uint8 `(1, h, w, 3)`; their height and width in the file; and whether
        they are filled up.
    """

    def read(index, box):
        image, size = whole_image(source.load(index), box, longest_side, source.options)
        is_small = tf.reduce_min(tf.shape(image)[:2]) < least_side
        return _filled_up(image, least_side)[tf.newaxis], size, is_small

    pairs = np.asarray(indices, np.int64), np.asarray(boxes, np.float32).reshape(-1, 4)
    return unchanged(tf.data.Dataset.from_tensor_slices(pairs).apply(in_threads(read)).prefetch(2))


def fingerprints(source: ImageSource) -> np.ndarray:
    """Checksums of files, or of pixels where there are no files: equal for exact copies.

    Args:
        source: The images, each of which is read once.

    Returns:
        uint64 `(n,)`.
    """

    def read(index):
        loaded = source.load(index)[tf.newaxis]
        return tf.raw_ops.Fingerprint(data=loaded, method="farmhash64")[0]

    found = unchanged(tf.data.Dataset.range(len(source)).apply(in_threads(read)).batch(256))
    bytes_of = [np.zeros((0, 8), np.uint8), *found.as_numpy_iterator()]
    return np.concatenate(bytes_of).view(np.uint64)[:, 0]

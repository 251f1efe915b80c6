"""From the bytes of an image file to pixels, in a graph that must not fail.

An image that cannot be read does no harm to the others of its batch: it is black, and its status
tells why.
"""

import dataclasses

import tensorflow as tf

from dc_keras.data.pixels.center_crop import preprocess_for_clustering
from dc_keras.data.pixels.decoding import check_jpeg, has_known_start, is_upright_jpeg
from dc_keras.data.pixels.limits import MAX_SIDE, NO_IMAGE
from dc_keras.data.pixels.options import USUAL, PixelOptions

EMPTY = "no bytes"


def damaged(max_pixels: int) -> str:
    """The answer in place of an image that starts like one."""
    return (
        f"damaged, cut off, of an unusual kind, without pixels, of more than {max_pixels:,} "
        f"pixels, or with a side of more than {MAX_SIDE:,}"
    )


def read_all(
    image_bytes: tf.Tensor, image_size: int, options: PixelOptions = USUAL
) -> tuple[tf.Tensor, tf.Tensor]:
    """Prepares all images of a batch that can be read.

    Args:
        image_bytes: Encoded files, string `(n,)`.
        image_size: Side s of the crops in pixels.
        options: How images are decoded and fitted.

    Returns:
        uint8 `(n, s, s, 3)`, black where an image cannot be read; and string `(n,)`: empty, or the
        reason.
    """
    # One image at a time, since their sizes differ; on the CPU, where decoding runs.
    with tf.device("/cpu:0"):
        return tf.map_fn(
            lambda encoded: read_if_possible(encoded, image_size, options),
            image_bytes,
            fn_output_signature=(
                tf.TensorSpec([image_size, image_size, 3], tf.uint8),
                tf.TensorSpec([], tf.string),
            ),
        )


def read_if_possible(
    encoded: tf.Tensor, image_size: int, options: PixelOptions = USUAL
) -> tuple[tf.Tensor, tf.Tensor]:
    """Prepares an image, or says why that cannot be done.

    Graphs know no exceptions; but a `tf.data.Dataset` can leave out an element that fails. So the
    image is an element of one, and an answer in its place stands behind it. What is refused before
    training is refused here: a file cut off below the crop would give features of its own.

    Args:
        encoded: Scalar string tensor.
        image_size: Side s of the crop in pixels.
        options: How the image is decoded and fitted.

    Returns:
        uint8 `(s, s, 3)`, black for an image that cannot be read; and a scalar string: empty, or
        the reason.
    """
    options = dataclasses.replace(options, portable=True)

    def prepare(encoded):
        # All others are decoded whole.
        checked = tf.cond(
            is_upright_jpeg(encoded),
            lambda: check_jpeg(encoded, options.max_pixels),
            lambda: tf.zeros(2, tf.int32),
        )
        with tf.control_dependencies([checked]):
            return preprocess_for_clustering(encoded, image_size, options), ""

    image = tf.data.Dataset.from_tensors(encoded).map(prepare)
    blank = tf.zeros([image_size, image_size, 3], tf.uint8)
    reason = tf.where(
        tf.strings.length(encoded) == 0,
        EMPTY,
        tf.where(has_known_start(encoded), damaged(options.max_pixels), NO_IMAGE),
    )
    instead = tf.data.Dataset.from_tensors((blank, reason))
    either = image.ignore_errors(log_warning=False).concatenate(instead).take(1)
    return either.get_single_element()

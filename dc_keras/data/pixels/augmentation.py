"""What makes a training image of an image: a random resized crop and a flip, then perhaps colours.

Crops are drawn by the law of torchvision and reproducible from a seed. Of a JPEG only the crop is
decoded. Colours are changed a batch at a time; see `color`.
"""

import dataclasses
import math

import tensorflow as tf

from dc_keras.data.pixels.decoding import (
    decode_jpeg_window,
    decode_other,
    is_upright_jpeg,
    jpeg_reduction,
    jpeg_size,
)
from dc_keras.data.pixels.resizing import resize, resize_all

CROP_TRIES = 10
RATIOS = (3 / 4, 4 / 3)


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How training images are changed each time they are seen.

    Attributes:
        image_size: Side of the crops in pixels.
        min_area: Smallest crop as a fraction of the image's area.
        hflip: Whether half of the crops are mirrored.
        color_jitter: Strength of random changes of colour; 0 for none.
        grayscale: Part of the crops that lose all colour.
        views: Crops of each image that is drawn, which stand one behind the other.
    """

    image_size: int
    min_area: float = 0.08
    hflip: bool = True
    color_jitter: float = 0.0
    grayscale: float = 0.0
    views: int = 1


def augment(encoded: tf.Tensor, seed: tf.Tensor, augmentation: Augmentation) -> tf.Tensor:
    """Random resized crop and horizontal flip of a training image, as torchvision's.

    Args:
        encoded: What `decode` takes.
        seed: int32 or int64 (2,). The same seed gives the same crop.
        augmentation: Size of the crop, and how it is drawn.

    Returns:
        uint8 (s, s, 3).

    >>> image = tf.zeros([40, 60, 3], tf.uint8)
    >>> augment(image, tf.constant([31, 0]), Augmentation(image_size=32)).shape
    TensorShape([32, 32, 3])
    """
    image_size, min_area = augmentation.image_size, augmentation.min_area
    uniforms = tf.random.stateless_uniform([2 * CROP_TRIES + 3], seed)

    def crop_of_pixels(image):
        shape = tf.shape(image)
        y, x, height, width = _crop_window(shape[0], shape[1], uniforms, min_area)
        return resize_all(image[y : y + height, x : x + width], image_size)

    def crop_of_jpeg():
        shape = jpeg_size(encoded)
        window = tf.stack(_crop_window(shape[0], shape[1], uniforms, min_area))
        begin, side = window[:2], window[2:]
        reduction = jpeg_reduction(tf.cast(side, tf.float32) / image_size)
        # What is decoded may begin and end with pixels that lie in the crop in part.
        first, end = begin // reduction, -(-(begin + side) // reduction)
        part = decode_jpeg_window(encoded, tf.concat([first, end - first], 0), reduction)
        scale = tf.cast(image_size * reduction, tf.float32) / tf.cast(side, tf.float32)
        shift = tf.cast(first, tf.float32) - tf.cast(begin, tf.float32) / tf.cast(
            reduction, tf.float32
        )
        return resize(part[tf.newaxis], image_size, scale, shift * scale)[0]

    if encoded.dtype == tf.uint8:
        image = crop_of_pixels(encoded)
    else:
        image = tf.cond(
            is_upright_jpeg(encoded),
            crop_of_jpeg,
            lambda: crop_of_pixels(decode_other(encoded)),
        )
    if augmentation.hflip:
        # A slice with step -1 and tf.where would take longer than decoding.
        image = tf.cond(uniforms[-1] < 0.5, lambda: tf.reverse(image, [1]), lambda: image)
    return image


def draw_crop_window(
    height: tf.Tensor, width: tf.Tensor, seed: tf.Tensor, min_area: float = 0.08
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Draws the window of a random resized crop by the law of torchvision's RandomResizedCrop.

    Ten times an area, uniform in [min_area, 1] of the image, and an aspect ratio, log-uniform in
    [3/4, 4/3]; the first pair that fits is placed uniformly. If none fits: the largest central
    window whose ratio is within those limits.

    Args:
        height: Scalar int32, height of the image.
        width: Scalar int32, width of the image.
        seed: int32 or int64 (2,).
        min_area: Smallest area as a fraction of the image.

    Returns:
        Scalars int32 (y, x, height, width) of the window, which lies inside the image.
    """
    uniforms = tf.random.stateless_uniform([2 * CROP_TRIES + 2], seed)
    return _crop_window(height, width, uniforms, min_area)


def _crop_window(height, width, uniforms, min_area):
    size = tf.cast(tf.stack([height, width]), tf.float32)
    area = tf.reduce_prod(size) * (min_area + (1 - min_area) * uniforms[:CROP_TRIES])
    low, high = (math.log(ratio) for ratio in RATIOS)
    # Of a ratio r the sides are sqrt(area / r) and sqrt(area * r).
    log_ratio = low + (high - low) * uniforms[CROP_TRIES : 2 * CROP_TRIES]
    sides = tf.sqrt(area[:, tf.newaxis] * tf.exp(log_ratio[:, tf.newaxis] * [-1.0, 1.0]))
    sides = tf.round(sides)
    fits = tf.reduce_all((sides > 0) & (sides <= size), 1)

    # The last entry always fits: the central window of the nearest ratio.
    central = tf.minimum(size, tf.round(size[::-1] * RATIOS[1]))
    first = tf.argmax(tf.concat([fits, [True]], 0))
    side = tf.gather(tf.concat([sides, central[tf.newaxis]], 0), first)

    free = size - side
    random = uniforms[2 * CROP_TRIES : 2 * CROP_TRIES + 2]
    # A product with a number just below 1 can round up to the bound, hence the minimum.
    begin = tf.where(
        first == CROP_TRIES, free // 2, tf.minimum(tf.floor(random * (free + 1)), free)
    )
    return tuple(tf.unstack(tf.cast(tf.concat([begin, side], 0), tf.int32)))

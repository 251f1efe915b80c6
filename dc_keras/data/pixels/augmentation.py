"""What makes a training image of an image: a random resized crop and a flip, then perhaps colours.

Crops are drawn by the law of torchvision and reproducible from a seed. Of a JPEG only the crop is
decoded. Colours are changed a batch at a time; see `color`.

Where images are squashed or padded rather than cropped, a crop has the shape of its image, within
the same limits: it is drawn as in a square, which is then stretched to the image. So no crop of a
padded image is blank, and grey lies where it lies in clustering.
"""

import dataclasses
import math

import tensorflow as tf

from dc_keras.data.pixels.options import CROPS, USUAL, PixelOptions
from dc_keras.data.pixels.squares import square_of_window

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


def augment(
    encoded: tf.Tensor,
    seed: tf.Tensor,
    augmentation: Augmentation,
    options: PixelOptions = USUAL,
) -> tf.Tensor:
    """Random resized crop and horizontal flip of a training image, as torchvision's.

    Args:
        encoded: What `decode` takes.
        seed: int32 or int64 (2,). The same seed gives the same crop.
        augmentation: Size of the crop, and how it is drawn.
        options: How the image is decoded and fitted into squares.

    Returns:
        uint8 (s, s, 3).

    >>> image = tf.zeros([40, 60, 3], tf.uint8)
    >>> augment(image, tf.constant([31, 0]), Augmentation(image_size=32)).shape
    TensorShape([32, 32, 3])
    """
    uniforms = tf.random.stateless_uniform([2 * CROP_TRIES + 3], seed)
    draw = crop_window if options.fit in CROPS else _stretched_window

    def choose_window(height, width):
        return draw(height, width, uniforms, augmentation.min_area)

    image = square_of_window(encoded, choose_window, augmentation.image_size, options)
    if augmentation.hflip:
        # A slice with step -1 and tf.where would take longer than decoding.
        image = tf.cond(uniforms[-1] < 0.5, lambda: tf.reverse(image, [1]), lambda: image)
    return image


def crop_window(
    height: tf.Tensor, width: tf.Tensor, uniforms: tf.Tensor, min_area: float = 0.08
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """The window of a random resized crop by the law of torchvision's RandomResizedCrop.

    Ten times an area, uniform in [min_area, 1] of the image, and an aspect ratio, log-uniform in
    [3/4, 4/3]; the first pair that fits is placed uniformly. If none fits: the largest central
    window whose ratio is within those limits.

    Args:
        height: Scalar int32, height of the image.
        width: Scalar int32, width of the image.
        uniforms: Draws from [0, 1), float32 (2 * CROP_TRIES + 2 or more,).
        min_area: Smallest area as a fraction of the image.

    Returns:
        Scalars int32 (y, x, height, width) of the window, which lies inside the image.
    """
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


def _stretched_window(height, width, uniforms, min_area):
    """A window of a square that is stretched to the image; of a square image the usual one."""
    size = tf.stack([height, width])
    longer = tf.reduce_max(size)
    window = tf.stack(crop_window(longer, longer, uniforms, min_area))
    sides = tf.cast(tf.concat([size, size], 0), tf.int64)
    # Products of two sides can exceed 32 bits.
    begin_and_side = tf.cast(window, tf.int64) * sides // tf.cast(longer, tf.int64)
    begin, side = tf.split(tf.cast(begin_and_side, tf.int32), 2)
    side = tf.maximum(side, 1)
    begin = tf.minimum(begin, size - side)
    return tuple(tf.unstack(tf.concat([begin, side], 0)))

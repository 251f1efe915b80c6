"""Random squares of images, of a tenth to a half of their area, as VOC is fine-tuned on."""

import dataclasses

import numpy as np
import tensorflow as tf

from dc_keras.data.pipelines import in_threads, unchanged
from dc_keras.data.pixels.augmentation import CROP_TRIES
from dc_keras.data.pixels.options import CROP, PixelOptions
from dc_keras.data.pixels.squares import square_of_window
from dc_keras.data.sources.image_source import ImageSource


@dataclasses.dataclass(frozen=True)
class Squares:
    """How squares are drawn; half of them are mirrored.

    Attributes:
        image_size: Side in pixels that they are resized to.
        seed: Draws them.
        min_area: The smallest as a fraction of the image's area.
        max_area: The largest.
    """

    image_size: int
    seed: int
    min_area: float = 0.1
    max_area: float = 0.5


def random_squares(
    source: ImageSource,
    indices: np.ndarray,
    squares: Squares,
    *,
    batch_size: int,
    first: int = 0,
) -> tf.data.Dataset:
    """Reads a random square of each of the given images, in their order.

    It is drawn from the seed and its position alone, whatever ran before.

    Args:
        source: The images. Those that are padded or squashed elsewhere are cropped here as well.
        indices: Which, integers `(m,)`; an image may come several times.
        squares: How they are drawn.
        batch_size: Squares in a batch; the last one may be smaller.
        first: Position of the first of them, below 2**31.

    Returns:
        A dataset of uint8 `(b, s, s, 3)`.
    """
    options = dataclasses.replace(source.options, fit=CROP)

    def read_and_crop(position, index):
        seed = tf.stack([tf.constant(squares.seed, tf.int32), tf.cast(position, tf.int32)])
        return random_square(source.load(index), seed, squares, options)

    return unchanged(
        tf.data.Dataset.from_tensor_slices(np.asarray(indices, np.int64))
        .enumerate(first)
        .apply(in_threads(read_and_crop))
        .batch(batch_size)
        .prefetch(2)
    )


def random_square(
    encoded: tf.Tensor, seed: tf.Tensor, squares: Squares, options: PixelOptions
) -> tf.Tensor:
    """A random square of one image, uint8 (s, s, 3).

    Args:
        encoded: What `decode` takes.
        seed: int32 (2,).
        squares: How it is drawn.
        options: How the image is decoded.
    """
    uniforms = tf.random.stateless_uniform([CROP_TRIES + 3], seed)

    def choose_window(height, width):
        return square_window(height, width, uniforms, (squares.min_area, squares.max_area))

    image = square_of_window(encoded, choose_window, squares.image_size, options)
    return tf.cond(uniforms[-1] < 0.5, lambda: tf.reverse(image, [1]), lambda: image)


def square_window(
    height: tf.Tensor, width: tf.Tensor, uniforms: tf.Tensor, areas: tuple[float, float]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """The window of torchvision's RandomResizedCrop of ratio 1.

    Ten times an area is drawn; the first square of such an area that fits is placed uniformly. If
    none fits: the largest square in the middle.

    Args:
        height: Scalar int32, height of the image.
        width: Scalar int32, width of the image.
        uniforms: Draws from [0, 1), float32 (CROP_TRIES + 2 or more,).
        areas: The smallest and the largest as fractions of the image.

    Returns:
        Scalars int32 (y, x, height, width) of the window, which lies inside the image.
    """
    size = tf.cast(tf.stack([height, width]), tf.float32)
    low, high = areas
    drawn = tf.reduce_prod(size) * (low + (high - low) * uniforms[:CROP_TRIES])
    sides = tf.round(tf.sqrt(drawn))
    largest = tf.reduce_min(size)
    fits = (sides > 0) & (sides <= largest)
    # The last entry always fits.
    first = tf.argmax(tf.concat([fits, [True]], 0))
    side = tf.gather(tf.concat([sides, [largest]], 0), first)
    free = size - side
    # A product with a number just below 1 can round up to the bound, hence the minimum.
    placed = tf.minimum(tf.floor(uniforms[CROP_TRIES : CROP_TRIES + 2] * (free + 1)), free)
    begin = tf.where(first == CROP_TRIES, free // 2, placed)
    window = tf.cast(tf.concat([begin, [side, side]], 0), tf.int32)
    return tuple(tf.unstack(window))

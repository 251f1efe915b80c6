"""A window of an image becomes the square that the network sees.

With `fit`
    crop, crop_large
              the window is a square, or nearly: what there is beside it is not shown;
    squash    the window is resized to the square, whatever its shape;
    pad       it is resized to the shape of its image, and the square filled up with grey beside it.
"""

from collections.abc import Callable

import tensorflow as tf

from dc_keras.data.pixels.decoding import (
    decode_jpeg_window,
    decode_other,
    is_upright_jpeg,
    jpeg_reduction,
    jpeg_size,
)
from dc_keras.data.pixels.options import PixelOptions
from dc_keras.data.pixels.resizing import resize

# The mean colour of ImageNet, which the network's first layer takes to 0: what its convolutions are
# padded with, too.
PADDING = (124, 116, 104)

Window = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]


def square_of_window(
    encoded: tf.Tensor,
    choose_window: Callable[[tf.Tensor, tf.Tensor], Window],
    image_size: int,
    options: PixelOptions,
) -> tf.Tensor:
    """Decodes a window of an image and makes it a square. Of a JPEG nothing else is decoded.

    Args:
        encoded: What `decode` takes.
        choose_window: From height and width in pixels, scalars int32, to the y, x, height and width
            of the window, which lies inside.
        image_size: Side s of the square in pixels.
        options: How the image is decoded, and the window fitted.

    Returns:
        uint8 (s, s, 3).
    """
    keeps_shape = options.fit == "pad"

    def of_pixels(image):
        shape = tf.shape(image)[:2]
        y, x, height, width = choose_window(shape[0], shape[1])
        place, fitted = _place_in_square(shape, image_size, keeps_shape)
        scale = fitted / tf.cast(tf.stack([height, width]), tf.float32)
        window = image[tf.newaxis, y : y + height, x : x + width]
        return _padded(resize(window, image_size, scale, place), place, fitted, keeps_shape)[0]

    def of_jpeg():
        shape = jpeg_size(encoded, options.max_pixels)
        window = tf.stack(choose_window(shape[0], shape[1]))
        begin, side = window[:2], window[2:]
        place, fitted = _place_in_square(shape, image_size, keeps_shape)
        reduction = jpeg_reduction(tf.cast(side, tf.float32) / fitted)
        # What is decoded may begin and end with pixels that lie in the crop in part.
        first, end = begin // reduction, -(-(begin + side) // reduction)
        part = decode_jpeg_window(encoded, tf.concat([first, end - first], 0), reduction)
        scale = fitted * tf.cast(reduction, tf.float32) / tf.cast(side, tf.float32)
        shift = tf.cast(first, tf.float32) - tf.cast(begin, tf.float32) / tf.cast(
            reduction, tf.float32
        )
        square = resize(part[tf.newaxis], image_size, scale, shift * scale + place)
        return _padded(square, place, fitted, keeps_shape)[0]

    if encoded.dtype == tf.uint8:
        return of_pixels(encoded)
    return tf.cond(
        is_upright_jpeg(encoded), of_jpeg, lambda: of_pixels(decode_other(encoded, options))
    )


def squares_of_images(images: tf.Tensor, image_size: int, keeps_shape: bool) -> tf.Tensor:
    """Makes squares of whole images of one size.

    Args:
        images: uint8 (n, h, w, 3).
        image_size: Side s of the squares in pixels.
        keeps_shape: Whether to fill the squares up rather than to squash the images.

    Returns:
        uint8 (n, s, s, 3).

    >>> image = tf.zeros([1, 20, 80, 3], tf.uint8)
    >>> squares_of_images(image, 8, keeps_shape=True)[0, :, 0, 0].numpy()
    array([124, 124, 124,   0,   0, 124, 124, 124], dtype=uint8)
    """
    side = tf.shape(images)[1:3]
    place, fitted = _place_in_square(side, image_size, keeps_shape)
    squares = resize(images, image_size, fitted / tf.cast(side, tf.float32), place)
    return _padded(squares, place, fitted, keeps_shape)


def _place_in_square(side, image_size, keeps_shape):
    """Where an image lies in its square and how large, in whole pixels: float32 (2,) each."""
    if not keeps_shape:
        return tf.zeros(2), tf.fill([2], float(image_size))
    sides = tf.cast(side, tf.float32)
    fitted = tf.maximum(tf.round(sides * (image_size / tf.reduce_max(sides))), 1.0)
    return tf.floor((image_size - fitted) / 2), fitted


def _padded(squares, place, fitted, keeps_shape):
    """Fills up what lies outside of the windows."""
    if not keeps_shape:
        return squares
    pixels = tf.range(squares.shape[1], dtype=tf.float32)[:, tf.newaxis]
    inside = (pixels >= place) & (pixels < place + fitted)
    shown = inside[:, tf.newaxis, :1] & inside[tf.newaxis, :, 1:]
    return tf.where(shown, squares, tf.constant(PADDING, tf.uint8))

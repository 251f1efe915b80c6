"""The central crop: the one way in which clustering, evaluation and serving see an image.

It is the public transform Resize(256), CenterCrop(224), scaled to any size; or, where a data set is
squashed or padded, the whole image as a square. Normalisation and Sobel filters are part of the
network, so crops stay uint8.

Of a JPEG only what lies under the crop is decoded, and large ones at a half, quarter or eighth of
their size, which costs libjpeg less: so that the crop is still reduced to half or less by the
antialiased resizing behind it, which hides the difference. Photographs of ImageNet's size are
decoded at their full size always.
"""

import numpy as np
import tensorflow as tf

from dc_keras.data.pixels.decoding import (
    decode,
    decode_jpeg_window,
    decode_other,
    is_upright_jpeg,
    jpeg_reduction,
    jpeg_size,
)
from dc_keras.data.pixels.options import CROP, CROP_LARGE, CROPS, USUAL, PixelOptions
from dc_keras.data.pixels.resizing import resize
from dc_keras.data.pixels.squares import square_of_window, squares_of_images

RESIZE_TO_CROP = 256 / 224
# Beyond the pixels that are used: the colours of pixels at the border of what is decoded are
# interpolated from neighbours that are not there.
_BORDER = 2
# More than a side of a JPEG can be.
_LONG = 1 << 16


def preprocess_for_clustering(
    encoded: tf.Tensor, image_size: int, options: PixelOptions = USUAL
) -> tf.Tensor:
    """The one way in which images are prepared for clustering, evaluation and serving.

    Args:
        encoded: What `decode` takes.
        image_size: Side s of the crop in pixels.
        options: How the image is decoded and fitted into the square.

    Returns:
        uint8 (s, s, 3).
    """
    fit = options.fit
    if fit not in CROPS:
        return square_of_window(encoded, _whole, image_size, options)
    if encoded.dtype == tf.uint8:
        return center_crop(encoded, image_size, options.fit)

    def crop_of_jpeg():
        size = jpeg_size(encoded, options.max_pixels)
        # An eighth, say, has the eighth part of the pixels, the last of which may be cut.
        reduction = jpeg_reduction(1 / _center_of(size, image_size, fit, tf.float32)[0])
        window, scale, shift = _part_under_crop(
            size, image_size, options.fit, reduction, tf.float32
        )
        part = decode_jpeg_window(encoded, window, reduction)
        return resize(part[tf.newaxis], image_size, scale, shift)[0]

    return tf.cond(
        is_upright_jpeg(encoded),
        crop_of_jpeg,
        lambda: center_crop(decode_other(encoded, options), image_size, options.fit),
    )


def crop_and_thumbnail(
    encoded: tf.Tensor, image_size: int, thumbnail_size: int, options: PixelOptions = USUAL
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The crop of `preprocess_for_clustering` and a small picture, of an image decoded once.

    Args:
        encoded: What `decode` takes.
        image_size: Side s of the crop in pixels.
        thumbnail_size: Side t of the small picture in pixels; no more than twice s.
        options: As for `preprocess_for_clustering`.

    Returns:
        The crop, uint8 (s, s, 3), bit for bit that of `preprocess_for_clustering`; the largest
        square in the middle of the image, uint8 (t, t, 3); height and width of the image, int32
        (2,).
    """
    fit = options.fit
    if fit not in CROPS:
        # The square is made of all of the image, which is decoded by itself for the small picture.
        image = decode(encoded, options)
        square = preprocess_for_clustering(encoded, image_size, options)
        return square, _square(image, thumbnail_size), tf.shape(image)[:2]

    def of_jpeg():
        size = jpeg_size(encoded, options.max_pixels)
        reduction = jpeg_reduction(1 / _center_of(size, image_size, fit, tf.float32)[0])
        whole = tf.concat([[0, 0], -(-size // reduction)], 0)
        image = decode_jpeg_window(encoded, whole, reduction)
        window, scale, shift = _part_under_crop(
            size, image_size, options.fit, reduction, tf.float32
        )
        y, x, height, width = tf.unstack(window)
        part = image[y : y + height, x : x + width]
        crop = resize(part[tf.newaxis], image_size, scale, shift)[0]
        return crop, _square(image, thumbnail_size), size

    def of_pixels(image):
        size = tf.shape(image)[:2]
        return center_crop(image, image_size, options.fit), _square(image, thumbnail_size), size

    if encoded.dtype == tf.uint8:
        return of_pixels(encoded)
    return tf.cond(
        is_upright_jpeg(encoded), of_jpeg, lambda: of_pixels(decode_other(encoded, options))
    )


def _square(image, side):
    """The largest square in the middle, resized."""
    size = tf.shape(image)[:2]
    shorter = tf.reduce_min(size)
    y, x = tf.unstack((size - shorter) // 2)
    square = image[tf.newaxis, y : y + shorter, x : x + shorter]
    return squares_of_images(square, side, keeps_shape=False)[0]


def center_crop(image: tf.Tensor, image_size: int, fit: str = CROP_LARGE) -> tf.Tensor:
    """Resizes the shorter side and takes the central square.

    The shorter side becomes round(s * 256 / 224); where images that are no larger than s stay
    whole, theirs becomes s. Bilinear with antialiasing, rounded to uint8. Equal to torchvision's
    Resize and CenterCrop on Pillow images to within 1 of 255: Pillow rounds between its two passes.

    Args:
        image: uint8 (h, w, 3).
        image_size: Side s of the crop in pixels.
        fit: `CROP`, as published, or `CROP_LARGE`, which leaves those whole.

    Returns:
        uint8 (s, s, 3). Memory: the part of the image under the crop, as float32, at most.

    >>> center_crop(tf.zeros([480, 640, 3], tf.uint8), image_size=224).shape
    TensorShape([224, 224, 3])
    """
    return tf.squeeze(center_crop_batch(image[tf.newaxis], image_size, fit), 0)


def center_crop_batch(images: tf.Tensor, image_size: int, fit: str = CROP_LARGE) -> tf.Tensor:
    """`center_crop` of a batch of images of one size, or what stands for it.

    Args:
        images: uint8 (n, h, w, 3).
        image_size: Side s of the crops in pixels.
        fit: See `PixelOptions`.

    Returns:
        uint8 (n, s, s, 3).
    """
    if fit not in CROPS:
        return squares_of_images(images, image_size, keeps_shape=fit == "pad")
    size = tf.shape(images)[1:3]

    def part_in(dtype):
        return lambda: _part_under_crop(size, image_size, fit, 1, dtype)

    # Of longer sides than any JPEG's, single precision loses the place.
    window, scale, shift = tf.cond(
        tf.reduce_max(size) < _LONG, part_in(tf.float32), part_in(tf.float64)
    )
    y, x, height, width = tf.unstack(window)
    return resize(images[:, y : y + height, x : x + width], image_size, scale, shift)


def shown_part(sizes: np.ndarray, image_size: int, fit: str) -> np.ndarray:
    """How much of an image its centre crop shows.

    Args:
        sizes: Heights and widths in pixels, integers (n, 2).
        image_size: Side of the crop in pixels.
        fit: `CROP` or `CROP_LARGE`.

    Returns:
        Fractions of the area, float64 (n,).

    >>> sizes = np.array([[64, 512], [256, 256], [20, 20]])
    >>> shown_part(sizes, image_size=224, fit="crop_large").round(3)
    array([0.125, 0.766, 1.   ])
    >>> shown_part(sizes, image_size=224, fit="crop").round(3)
    array([0.096, 0.766, 0.766])
    """
    shorter, longer = sizes.min(axis=1), sizes.max(axis=1)
    # Shorter sides that are not resized to more than the crop are shown whole.
    is_cut = (shorter > image_size) | (fit == CROP)
    whole = np.where(is_cut, round(image_size * RESIZE_TO_CROP), image_size)
    return (image_size / whole) ** 2 * shorter / longer


def _whole(height, width):
    return tf.constant(0), tf.constant(0), height, width


def _center_of(size, image_size, fit, dtype):
    """Factors that an image of this size is resized by, and where the crop of the result begins."""
    shorter = tf.reduce_min(size)
    is_cut = (shorter > image_size) | (fit == CROP)
    target = tf.where(is_cut, round(image_size * RESIZE_TO_CROP), image_size)
    # As torchvision: the longer side is cut to an integer. A ribbon's exceeds 32 bits.
    sides = tf.cast(size, tf.int64) * tf.cast(target, tf.int64) // tf.cast(shorter, tf.int64)
    scale = tf.cast(sides, dtype) / tf.cast(size, dtype)
    return scale, tf.round(tf.cast(sides - image_size, dtype) / 2)


def _part_under_crop(size, image_size, fit, reduction, dtype):
    """The pixels that the crop is made of, and how they become the crop.

    Only these are decoded and resized, and the resizing itself cuts the square out: a banner of
    10,000 x 3 pixels must not grow to 750,000 x 224. The triangle filter reaches
    max(1, 1 / scale) pixels beyond; one more makes up for rounding.

    Returns:
        y, x, height and width in pixels of the reduced image, int32 (4,); the factors that they are
        resized by and their shift in pixels of the result, float32 (2,) each.
    """
    scale, offset = _center_of(size, image_size, fit, dtype)
    scale *= tf.cast(reduction, dtype)
    margin = tf.maximum(tf.constant(1, dtype), 1 / scale) + 1 + _BORDER
    begin = tf.cast(tf.maximum(offset / scale - margin, 0), tf.int32)
    end = tf.cast(tf.math.ceil((offset + image_size) / scale + margin), tf.int32)
    end = tf.minimum(end, -(-size // reduction))
    shift = tf.cast(begin, dtype) * scale - offset
    window = tf.concat([begin, end - begin], 0)
    return window, tf.cast(scale, tf.float32), tf.cast(shift, tf.float32)

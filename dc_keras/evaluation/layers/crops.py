"""Batches of the published probes: augmented crops with labels, and ten crops of each image."""

import numpy as np
import tensorflow as tf

from dc_keras.data.batches.augmented import augmented_batches
from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.data.pipelines import in_threads, unchanged
from dc_keras.data.pixels.augmentation import Augmentation
from dc_keras.data.pixels.squares import square_of_window
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.seeds import derive_seed, numpy_rng

# A crop of 224 pixels of the central square at 256.
_PART = 224 / 256
# Where ten crops begin, as parts of what is free: corners and centre.
_PLACES = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5))


def resized_crops(
    source: ImageSource, *, image_size: int, batch_size: int, seed: int, epoch: int
) -> tf.data.Dataset:
    """All images once, in random order: random resized crops, flipped at random, as VGG16's.

    Args:
        source: The images, with labels.
        image_size: Side of the crops in pixels.
        batch_size: Images in a batch; the last one may be smaller.
        seed: The run's seed.
        epoch: Number of the epoch; another order and other crops in each.

    Returns:
        A dataset of images uint8 `(b, s, s, 3)` and labels int32 `(b,)`.
    """
    return augmented_batches(
        source,
        _shuffled(source, seed, epoch),
        tf.constant(derive_seed(seed, "probe crops", epoch), tf.int32),
        Augmentation(image_size),
        batch_size=batch_size,
        drop_remainder=False,
    )


def shifted_crops(
    source: ImageSource, *, image_size: int, batch_size: int, seed: int, epoch: int
) -> tf.data.Dataset:
    """As `resized_crops`, with crops of 224 of 256 at random places, as AlexNet's."""
    base = derive_seed(seed, "probe crops", epoch)

    def crop(position, pair):
        index, label = pair
        uniforms = tf.random.stateless_uniform([3], tf.stack([base, tf.cast(position, tf.int32)]))
        image = _crop_at(source, index, uniforms[:2], image_size)
        image = tf.cond(uniforms[2] < 0.5, lambda: tf.reverse(image, [1]), lambda: image)
        return image, label

    pairs = _shuffled(source, seed, epoch).enumerate().apply(in_threads(crop))
    return unchanged(pairs.batch(batch_size).prefetch(2))


def crops_for_testing(
    source: ImageSource, *, image_size: int, batch_size: int, ten_crops: bool
) -> tf.data.Dataset:
    """All images in order: their centre crops, or ten crops of each, one behind the other.

    Ten are the corners and the centre of the central square, and the same mirrored.

    Args:
        source: The images.
        image_size: Side of the crops in pixels.
        batch_size: Crops in a batch, about.
        ten_crops: Whether there are ten of each.

    Returns:
        A dataset of uint8 `(b, s, s, 3)`.
    """
    if not ten_crops:
        return ordered_batches(
            source, np.arange(len(source)), image_size=image_size, batch_size=batch_size
        )

    def crops(index):
        five = tf.stack([_crop_at(source, index, place, image_size) for place in _PLACES])
        return tf.concat([five, tf.reverse(five, [2])], 0)

    images = tf.data.Dataset.range(len(source)).apply(in_threads(crops))
    batches = images.batch(max(1, batch_size // 10))
    return unchanged(
        batches.map(lambda some: tf.reshape(some, (-1, image_size, image_size, 3))).prefetch(2)
    )


def _shuffled(source: ImageSource, seed: int, epoch: int) -> tf.data.Dataset:
    """Pairs of index and label, all once, in the order of an epoch."""
    order = numpy_rng(seed, "probe order", epoch).permutation(len(source))
    return tf.data.Dataset.from_tensor_slices((order, np.asarray(source.labels, np.int32)[order]))


def _crop_at(source: ImageSource, index: tf.Tensor, place, image_size: int) -> tf.Tensor:
    """7/8 of the central square of an image, at a place given by two parts of what is free."""

    def window(height, width):
        shorter = tf.minimum(height, width)
        side = tf.maximum(tf.cast(tf.round(tf.cast(shorter, tf.float32) * _PART), tf.int32), 1)
        free = tf.cast(shorter - side, tf.float32)
        y, x = (tf.cast(tf.floor(place[i] * (free + 0.999)), tf.int32) for i in range(2))
        return (height - shorter) // 2 + y, (width - shorter) // 2 + x, side, side

    return square_of_window(source.load(index), window, image_size, source.options)

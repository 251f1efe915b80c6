"""Batches of augmented images: random crop, flip and colours, by draws that no thread decides."""

import tensorflow as tf

from dc_keras.data.color import jitter_colors
from dc_keras.data.image_source import ImageSource
from dc_keras.data.preprocessing import augment
from dc_keras.data.threads import as_given, in_threads


def augmented_batches(
    source: ImageSource,
    pairs: tf.data.Dataset,
    seed: tf.Tensor | tf.Variable,
    *,
    batch_size: int,
    image_size: int,
    min_area: float = 0.08,
    hflip: bool = True,
    color_jitter: float = 0.0,
    grayscale: float = 0.0,
    views: int = 1,
    first_batch: int = 0,
    drop_remainder: bool = True,
) -> tf.data.Dataset:
    """Reads and augments images in a given order.

    A crop is drawn from (seed, its position), so a batch does not depend on threads or on what ran
    before. Colours are drawn for a batch at a time, from (seed, number of the batch).

    Args:
        source: The images.
        pairs: Elements (index, ...), scalars; what stands behind the index goes with the image.
        seed: Scalar int32. A variable is read when an iterator is made.
        batch_size: Crops in a batch, a multiple of `views`.
        image_size: Side of the crops in pixels.
        min_area: Smallest crop as a fraction of the image's area.
        hflip: Whether half of the crops are mirrored.
        color_jitter: Strength of random changes of colour.
        grayscale: Part of the images that lose all colour.
        views: Crops of each image, which stand one behind the other.
        first_batch: Batches to leave out from the beginning, whose images are not read.
        drop_remainder: Whether to leave out a last batch that is not full.

    Returns:
        A dataset with elements (images uint8 `(b, s, s, 3)`, ... `(b,)`).
    """

    def read_and_augment(position, pair):
        index, *targets = pair
        image = source.load(index)
        first = views * tf.cast(position, tf.int32)
        crops = [
            augment(
                image,
                tf.stack([tf.convert_to_tensor(seed), first + view]),
                image_size=image_size,
                min_area=min_area,
                hflip=hflip,
            )
            for view in range(views)
        ]
        return tf.stack(crops), *(tf.repeat(target, views) for target in targets)

    def merge_views(*parts):
        return tuple(tf.reshape(part, (-1, *part.shape[2:])) for part in parts)

    def change_colors(batch_number, batch):
        images, *targets = batch
        # Positions of images count from 0 on; batches must not meet them.
        at = tf.stack([tf.convert_to_tensor(seed), -1 - tf.cast(batch_number, tf.int32)])
        images = jitter_colors(images, at, strength=color_jitter, grayscale=grayscale)
        return images, *targets

    images_per_batch = batch_size // views
    batches = (
        pairs.skip(first_batch * images_per_batch)
        .enumerate(start=first_batch * images_per_batch)
        .apply(in_threads(read_and_augment))
        .batch(images_per_batch, drop_remainder=drop_remainder)
        .map(merge_views)
    )
    if color_jitter > 0 or grayscale > 0:
        batches = batches.enumerate(start=first_batch).apply(in_threads(change_colors))
    return as_given(batches.prefetch(2))

"""Batches of augmented images: random crop, flip and colours, by draws that no thread decides."""

import tensorflow as tf

from dc_keras.data.batches.share import WHOLE, Share
from dc_keras.data.pipelines import in_threads, unchanged
from dc_keras.data.pixels.augmentation import Augmentation, augment
from dc_keras.data.pixels.color import jitter_colors
from dc_keras.data.sources.image_source import ImageSource


def augmented_batches(
    source: ImageSource,
    pairs: tf.data.Dataset,
    seed: tf.Tensor | tf.Variable,
    augmentation: Augmentation,
    *,
    batch_size: int,
    first_batch: int = 0,
    drop_remainder: bool = True,
    share: Share = WHOLE,
) -> tf.data.Dataset:
    """Reads and augments images in a given order.

    A crop is drawn from (seed, its position), so a batch does not depend on threads or on what ran
    before. Colours are drawn for a batch at a time, from (seed, number of the batch).

    Args:
        source: The images.
        pairs: Elements (index, ...), scalars; what stands behind the index goes with the image.
        seed: Scalar int32. A variable is read when an iterator is made.
        augmentation: How the images are changed.
        batch_size: Crops in a batch, a multiple of `augmentation.views`.
        first_batch: Batches to leave out from the beginning, whose images are not read.
        drop_remainder: Whether to leave out a last batch that is not full.
        share: Which rows of each batch are read: those of a worker, as a batch for each of its
            replicas. With it, `drop_remainder` must be True.

    Returns:
        A dataset with elements (images uint8 `(b, s, s, 3)`, ... `(b,)`).
    """
    views = augmentation.views

    def read_and_augment(position, pair):
        index, *targets = pair
        image = source.load(index)
        seed_of_epoch = tf.convert_to_tensor(seed)
        first = views * tf.cast(position, tf.int32)
        crops = [
            augment(image, tf.stack([seed_of_epoch, first + view]), augmentation, source.options)
            for view in range(views)
        ]
        return tf.stack(crops), *(tf.repeat(target, views) for target in targets)

    def merge_views(*parts):
        return tuple(tf.reshape(part, (-1, *part.shape[2:])) for part in parts)

    def change_colors(part_number, batch):
        images, *targets = batch
        batch_number, part = part_number // share.count, share.first + part_number % share.count
        # Positions of images count from 0 on; batches must not meet them.
        at = tf.stack([tf.convert_to_tensor(seed), -1 - tf.cast(batch_number, tf.int32)])
        images = jitter_colors(
            images,
            at,
            strength=augmentation.color_jitter,
            grayscale=augmentation.grayscale,
            first=tf.cast(part, tf.int32) * share.part_size(batch_size),
        )
        return images, *targets

    images_per_batch = batch_size // views
    drawn = pairs.skip(first_batch * images_per_batch)
    numbered = drawn.enumerate(start=first_batch * images_per_batch)
    if share != WHOLE:
        start, end = share.rows(images_per_batch)
        in_batches = numbered.batch(images_per_batch, drop_remainder=True)
        numbered = in_batches.map(
            lambda *rows: tf.nest.map_structure(lambda row: row[start:end], rows)
        ).unbatch()
    batches = (
        numbered.apply(in_threads(read_and_augment))
        .batch(share.part_size(images_per_batch), drop_remainder=drop_remainder)
        .map(merge_views)
    )
    if augmentation.color_jitter > 0 or augmentation.grayscale > 0:
        parts = batches.enumerate(start=first_batch * share.count)
        batches = parts.apply(in_threads(change_colors))
    return unchanged(batches.prefetch(2))

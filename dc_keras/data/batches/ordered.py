"""Batches of given images in given order, for the pass that computes features."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from dc_keras.data.pipelines import in_threads, unchanged
from dc_keras.data.pixels.center_crop import preprocess_for_clustering
from dc_keras.data.sources.image_source import ImageSource


def ordered_batches(
    source: ImageSource, indices: np.ndarray, *, image_size: int, batch_size: int
) -> tf.data.Dataset:
    """Centre crops of the given images, in the given order, without augmentation.

    Args:
        source: The images.
        indices: Which ones, integers `(m,)`.
        image_size: Side of the crops in pixels.
        batch_size: Images in a batch; the last one may be smaller.

    Returns:
        A dataset of uint8 `(b, s, s, 3)`.

    >>> from dc_keras.data.sources.open import open_source
    >>> source = open_source("sklearn:digits")
    >>> batches = ordered_batches(source, np.arange(5), image_size=32, batch_size=3)
    >>> [batch.shape for batch in batches.as_numpy_iterator()]
    [(3, 32, 32, 3), (2, 32, 32, 3)]
    """

    def read_and_crop(index):
        return preprocess_for_clustering(source.load(index), image_size, source.options)

    return unchanged(
        tf.data.Dataset.from_tensor_slices(np.asarray(indices, np.int64))
        .apply(in_threads(read_and_crop))
        .batch(batch_size)
        .prefetch(2)
    )


def readable_batches(load: Callable, indices: np.ndarray, batch_size: int) -> tf.data.Dataset:
    """Batches of what is loaded for given indices, in order, without what cannot be read.

    Args:
        load: From an index, int64, to tensors, among them the index: others than were asked for
            can be told by it.
        indices: Which ones, integers `(m,)`.
        batch_size: Elements in a batch; the last one may be smaller.
    """
    return unchanged(
        tf.data.Dataset.from_tensor_slices(np.asarray(indices, np.int64))
        .apply(in_threads(load))
        .ignore_errors(log_warning=False)
        .batch(batch_size)
        .prefetch(2)
    )

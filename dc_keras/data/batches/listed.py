"""Samplers that list the images of an epoch when it begins.

They work them out from (seed, epoch) and the labels alone, and hand them to the pipeline in a
variable: nothing depends on threads or on what ran before.
"""

import abc

import numpy as np
import tensorflow as tf

from dc_keras.data.batches.sampler import Sampler
from dc_keras.data.pipelines import in_threads
from dc_keras.seeds import numpy_rng

_CHUNK = 8192


class _ListSampler(Sampler):
    """A sampler whose images are listed when the epoch begins.

    Args:
        num_images: Number of images `n`.
        epoch_length: Number of images in an epoch.
    """

    def __init__(self, num_images: int, epoch_length: int):
        super().__init__(num_images)
        self._epoch_length = epoch_length
        with tf.device("CPU:0"):
            self._drawn = tf.Variable(tf.zeros([epoch_length], tf.int32), trainable=False)

    def begin_epoch(self, seed: int, epoch: int) -> None:
        super().begin_epoch(seed, epoch)
        self._drawn.assign(self._draw(seed, epoch).astype(np.int32))

    @abc.abstractmethod
    def _draw(self, seed: int, epoch: int) -> np.ndarray:
        """The images of an epoch in order, integers `(epoch_length,)`."""

    def pairs(self, num_pairs: int) -> tf.data.Dataset:
        if num_pairs > self._epoch_length:
            raise ValueError(
                f"More pairs than the epoch has. Received: num_pairs={num_pairs}. "
                f"Expected at most the sampler's epoch_length={self._epoch_length}."
            )
        starts = tf.data.Dataset.range(0, num_pairs, _CHUNK)
        chunks = starts.apply(
            in_threads(
                lambda start: self._targets(self._drawn[start : start + _CHUNK]), num_threads=2
            )
        )
        pairs = chunks.unbatch().take(num_pairs)
        return pairs.apply(tf.data.experimental.assert_cardinality(num_pairs))

    def _targets(self, indices: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Images with all that is known of them, `(m,)` each."""
        return indices, tf.gather(self._labels, indices)


class NaturalSampler(_ListSampler):
    """Every image once a pass, in random order.

    A pass may be longer or shorter than an epoch: each pass is a permutation of its own, and epochs
    are cut out of their sequence, so that no image is left out or repeated where they meet.
    """

    def _draw(self, seed: int, epoch: int) -> np.ndarray:
        num_images, length = self._labels.shape[0], self._epoch_length
        first, last = epoch * length, (epoch + 1) * length
        passes = range(first // num_images, -(-last // num_images))
        images = np.concatenate(
            [numpy_rng(seed, "pass", number).permutation(num_images) for number in passes]
        )
        start = first - passes.start * num_images
        return images[start : start + length]


class ReweightingSampler(NaturalSampler):
    """Every image once a pass, its loss weighted by the inverse of its cluster's size.

    With n images in k non-empty clusters, the weight of an image in a cluster of size s is
    n / (k s): 1 on average over the images. The mean of weight times loss over all images is then

        1/n sum_i n / (k s_i) loss_i  =  sum_i 1 / (k s_i) loss_i,

    the expectation of the loss of images drawn uniformly over clusters.

    Reference:
        Caron et al. 2018, section 3.3.
    """

    def __init__(self, num_images: int, epoch_length: int):
        super().__init__(num_images, epoch_length)
        with tf.device("CPU:0"):
            self._weights = tf.Variable(tf.ones([num_images], tf.float32), trainable=False)

    def set_labels(self, labels: np.ndarray) -> None:
        super().set_labels(labels)
        sizes = np.bincount(labels)
        weights = len(labels) / (np.count_nonzero(sizes) * sizes[labels])
        self._weights.assign(weights.astype(np.float32))

    def _targets(self, indices: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return *super()._targets(indices), tf.gather(self._weights, indices)


class ReleasedSampler(_ListSampler):
    """The images that the public code trains on.

    It draws as many images from each cluster, but the numbers it draws are places in the data set,
    and its data loader takes them for places in the list of images sorted by cluster. Image and
    label still belong together, yet which images come out has little to do with the draw: clusters
    come out about in proportion to their sizes, and many images not at all.
    """

    def _draw(self, seed: int, epoch: int) -> np.ndarray:
        labels = self._labels.numpy()
        rng = numpy_rng(seed, "released sampling", epoch)
        places = draw_equally(labels, self._epoch_length, rng)
        by_cluster = np.argsort(labels, kind="stable")
        return by_cluster[places]


def draw_equally(labels: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    """Draws the same number of images from each non-empty cluster.

    That number is length // k + 1 for k non-empty clusters: with replacement from clusters that do
    not have more images, without from the others. All draws are shuffled and cut to `length`.

    Args:
        labels: Cluster of each image, integers `(n,)` from 0.
        length: Number of images to draw.
        rng: Draws them.

    Returns:
        Image indices, int64 `(length,)`. Takes O(n log n + length) time.
    """
    sizes = np.bincount(labels)
    share = length // np.count_nonzero(sizes) + 1
    # Images by cluster, in random order within each.
    order = np.lexsort((rng.random(len(labels)), labels))
    starts = np.cumsum(sizes) - sizes
    small = np.flatnonzero((sizes > 0) & (sizes <= share))
    offsets = rng.integers(0, sizes[small][:, None], (len(small), share))
    repeated = order[starts[small][:, None] + offsets]
    large = np.flatnonzero(sizes > share)
    distinct = order[starts[large][:, None] + np.arange(share)]
    return rng.permutation(np.concatenate([repeated.ravel(), distinct.ravel()]))[:length]

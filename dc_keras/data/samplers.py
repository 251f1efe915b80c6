"""Which images an epoch shows: what all samplers share, and those that draw an epoch in advance.

    uniform     every non-empty cluster as often as any other: the published method   (balanced.py)
    sqrt        a cluster of size s in proportion to sqrt(s), half-way to natural     (balanced.py)
    natural     every image once a pass; a cluster of size s in proportion to s
    reweight    the images of natural, with a loss weighted by the inverse of s
    released    what the public code does when it means to draw uniformly

The last three work out an epoch's images when it begins, from (seed, epoch) and the labels alone,
and hand them to the pipeline in a variable: nothing depends on threads or on what ran before.
"""

import abc

import numpy as np
import tensorflow as tf

from dc_keras.data.threads import in_threads
from dc_keras.runtime import derive_seed, numpy_rng

_CHUNK = 8192


class Sampler(abc.ABC):
    """Draws image indices with their pseudo-labels; labels can change between epochs.

    The labels live in variables on the CPU that the pipeline reads while it runs, so one
    `tf.data.Dataset` serves all epochs of one `model.fit`: a callback assigns new labels at the
    beginning of an epoch, and the fresh iterator that Keras makes afterwards sees them.

    Args:
        num_images: Number of images `n`.

    Attributes:
        epoch_seed: Seed of the epoch's draws, a variable; int32 scalar.
    """

    def __init__(self, num_images: int):
        with tf.device("CPU:0"):
            self._labels = tf.Variable(tf.zeros([num_images], tf.int32), trainable=False)
            self.epoch_seed = tf.Variable(0, dtype=tf.int32, trainable=False)

    def set_labels(self, labels: np.ndarray) -> None:
        """Hands over new pseudo-labels, integers `(n,)` from 0; `begin_epoch` must follow."""
        self._labels.assign(labels.astype(np.int32))

    def begin_epoch(self, seed: int, epoch: int) -> None:
        """Makes the draws of the next iterator those of one epoch, whatever came before."""
        self.epoch_seed.assign(derive_seed(seed, "sampling", epoch))

    @abc.abstractmethod
    def pairs(self, num_pairs: int) -> tf.data.Dataset:
        """The pairs of one epoch.

        Args:
            num_pairs: How many.

        Returns:
            A dataset of known length with elements (index, label), int32 scalars, or
            (index, label, weight of the loss), the last a float32 scalar. Each new iterator reads
            the labels and the epoch that hold when it is made.
        """


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

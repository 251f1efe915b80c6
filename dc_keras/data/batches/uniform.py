"""Draws images uniformly over clusters, by rejection resampling of (index, label) pairs.

Without it, a few large clusters would dominate the training and the network would learn to put all
images into them: the paper's second trivial solution. Drawing uniformly over clusters weighs each
image by the inverse of its cluster's size.

How the draw works. Image i of a cluster of size s shall come out with probability proportional to
1/s. A proposal is drawn with probability proportional to 2**-g, where g = floor(log2 s), and kept
with probability 2**g / s, so

    P(proposed and kept) ~ 2**-g * 2**g / s = 1 / s.

Since s < 2**(g + 1), more than half of all proposals are kept, whatever the cluster sizes: the
pipeline cannot starve. Proposing is cheap: images are sorted by g, a level is drawn by its total
weight and a position within it uniformly. (Proposing uniformly over images instead, as the textbook
would, keeps k * min(s) / n of them: 0.8 % at paper scale, and next to none with one large cluster.)

Everything happens on integers before any image is read, a chunk of pairs at a time.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from dc_keras.data.batches.sampler import Sampler
from dc_keras.data.pipelines import in_threads

# Cluster sizes fit into 32-bit integers, so there are at most 32 levels of them.
_LEVELS = 32
_CHUNK = 8192


@dataclasses.dataclass(frozen=True)
class Proposal:
    """How pairs are proposed and kept; see the module's text.

    Attributes:
        order: Image indices sorted by the level of their cluster, int32 `(n,)`.
        level_start: First position of each level in `order`, int64 `(32,)`.
        level_size: Number of images of each level, int64 `(32,)`.
        level_cdf: Cumulative probability of the levels, float64 `(32,)`.
        keep: Probability to keep an image once proposed, float32 `(n,)`, all in (1/2, 1].
    """

    order: np.ndarray
    level_start: np.ndarray
    level_size: np.ndarray
    level_cdf: np.ndarray
    keep: np.ndarray


def uniform_over_clusters(labels: np.ndarray) -> Proposal:
    """Prepares rejection resampling of every non-empty cluster with the same probability.

    Args:
        labels: Cluster of each image, integers `(n,)` from 0.

    Returns:
        The proposal. Takes O(n) time and 12 bytes an image.

    >>> proposal = uniform_over_clusters(np.array([0, 0, 0, 1]))
    >>> proposal.keep  # clusters of 3 and of 1: 2/3 and 1/1
    array([0.6666667, 0.6666667, 0.6666667, 1.       ], dtype=float32)
    """
    size = np.bincount(labels)[labels]
    level = np.frexp(size)[1] - 1
    level_size = np.bincount(level, minlength=_LEVELS)
    weight = level_size * np.exp2(-np.arange(_LEVELS, dtype=np.float64))
    return Proposal(
        order=np.argsort(level, kind="stable").astype(np.int32),
        level_start=np.cumsum(level_size) - level_size,
        level_size=level_size.astype(np.int64),
        level_cdf=np.cumsum(weight) / weight.sum(),
        keep=np.exp2(level).astype(np.float32) / size.astype(np.float32),
    )


class UniformClusterSampler(Sampler):
    """Draws image indices uniformly over clusters; see `Sampler`.

    Args:
        num_images: Number of images `n`.
    """

    def __init__(self, num_images: int):
        super().__init__(num_images)
        with tf.device("CPU:0"):
            self._order = tf.Variable(tf.range(num_images, dtype=tf.int32), trainable=False)
            self._keep = tf.Variable(tf.ones([num_images], tf.float32), trainable=False)
            self._level_start = tf.Variable(tf.zeros([_LEVELS], tf.int64), trainable=False)
            self._level_size = tf.Variable(tf.zeros([_LEVELS], tf.int64), trainable=False)
            self._level_cdf = tf.Variable(tf.zeros([_LEVELS], tf.float64), trainable=False)
        # Keras pulls one batch before the first epoch begins, when there are no clusters yet.
        self.set_labels(np.zeros(num_images, np.int32))

    def set_labels(self, labels: np.ndarray) -> None:
        super().set_labels(labels)
        proposal = uniform_over_clusters(labels)
        self._order.assign(proposal.order)
        self._keep.assign(proposal.keep)
        self._level_start.assign(proposal.level_start)
        self._level_size.assign(proposal.level_size)
        self._level_cdf.assign(proposal.level_cdf)

    def draw(self, chunk: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws one chunk of pairs; a pure function of labels, epoch and chunk number.

        Args:
            chunk: Number of the chunk, scalar integer.

        Returns:
            Image indices int32 `(m,)` and their labels int32 `(m,)`, where m is random, above half
            of the chunk size on average.
        """
        seed = tf.stack([self.epoch_seed.read_value(), tf.cast(chunk, tf.int32)])
        uniform = tf.random.stateless_uniform([3, _CHUNK], seed, dtype=tf.float64)
        level = tf.searchsorted(self._level_cdf, uniform[0], side="right")
        # A draw above the last sum, which rounding can leave just below 1, would be out of range.
        level = tf.minimum(level, _LEVELS - 1)
        size = tf.gather(self._level_size, level)
        offset = tf.cast(uniform[1] * tf.cast(size, tf.float64), tf.int64)
        position = tf.gather(self._level_start, level) + tf.minimum(offset, size - 1)
        proposed = tf.gather(self._order, position)
        kept = uniform[2] < tf.cast(tf.gather(self._keep, proposed), tf.float64)
        indices = tf.boolean_mask(proposed, kept)
        return indices, tf.gather(self._labels, indices)

    def pairs(self, num_pairs: int) -> tf.data.Dataset:
        chunks = tf.data.Dataset.counter()
        drawn = chunks.apply(in_threads(self.draw, num_threads=2))
        pairs = drawn.unbatch().take(num_pairs)
        return pairs.apply(tf.data.experimental.assert_cardinality(num_pairs))

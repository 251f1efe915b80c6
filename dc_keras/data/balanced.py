"""Training batches drawn uniformly over clusters, by rejection resampling of (index, label) pairs.

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

The same works for any other weights of images: between the natural frequencies of clusters and
uniform ones lies 1/sqrt(s), by which a cluster comes out in proportion to sqrt(s).

Everything happens on integers before any image is read, a chunk of pairs at a time.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from dc_keras.data.augmented import augmented_batches
from dc_keras.data.samplers import NaturalSampler, ReleasedSampler, ReweightingSampler, Sampler
from dc_keras.data.sources import ImageSource
from dc_keras.data.threads import in_threads

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


def proposal_for(spread: np.ndarray) -> Proposal:
    """Prepares rejection resampling with given weights of images.

    Args:
        spread: Inverse of the weight of each image, `(n,)`, from 1 up to the number of images.

    Returns:
        The proposal; images come out with probability proportional to 1 / spread. Takes O(n) time
        and 12 bytes an image.
    """
    level = np.frexp(spread)[1] - 1
    level_size = np.bincount(level, minlength=_LEVELS)
    weight = level_size * np.exp2(-np.arange(_LEVELS, dtype=np.float64))
    return Proposal(
        order=np.argsort(level, kind="stable").astype(np.int32),
        level_start=np.cumsum(level_size) - level_size,
        level_size=level_size.astype(np.int64),
        level_cdf=np.cumsum(weight) / weight.sum(),
        keep=np.exp2(level).astype(np.float32) / spread.astype(np.float32),
    )


def uniform_over_clusters(labels: np.ndarray) -> Proposal:
    """Every non-empty cluster with the same probability.

    Args:
        labels: Cluster of each image, integers `(n,)` from 0.

    Returns:
        The proposal.
    """
    return proposal_for(np.bincount(labels)[labels])


def sqrt_over_clusters(labels: np.ndarray) -> Proposal:
    """Clusters in proportion to the square roots of their sizes.

    Args:
        labels: Cluster of each image, integers `(n,)` from 0.

    Returns:
        The proposal.
    """
    return proposal_for(np.sqrt(np.bincount(labels))[labels])


class UniformClusterSampler(Sampler):
    """Draws image indices uniformly over clusters; see `Sampler`.

    Args:
        num_images: Number of images `n`.
    """

    _proposal = staticmethod(uniform_over_clusters)

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
        proposal = self._proposal(labels)
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


class SqrtClusterSampler(UniformClusterSampler):
    """Draws clusters in proportion to the square roots of their sizes; see `Sampler`."""

    _proposal = staticmethod(sqrt_over_clusters)


def make_sampler(name: str, num_images: int, epoch_length: int) -> Sampler:
    """Makes a sampler by its name in `--sampler`.

    Args:
        name: "uniform", "sqrt", "natural", "reweight" or "released".
        num_images: Number of images.
        epoch_length: Number of images in an epoch.

    Returns:
        The sampler, which has no labels yet.
    """
    if name == "uniform":
        return UniformClusterSampler(num_images)
    if name == "sqrt":
        return SqrtClusterSampler(num_images)
    listing = {
        "natural": NaturalSampler,
        "reweight": ReweightingSampler,
        "released": ReleasedSampler,
    }
    return listing[name](num_images, epoch_length)


def training_batches(
    source: ImageSource,
    sampler: Sampler,
    *,
    num_batches: int,
    batch_size: int,
    image_size: int,
    min_area: float = 0.08,
    hflip: bool = True,
    color_jitter: float = 0.0,
    grayscale: float = 0.0,
    views: int = 1,
    first_batch: int = 0,
) -> tf.data.Dataset:
    """The training pipeline: a sampler, then read, decode, random crop, flip and colours.

    The augmentation of an image is drawn from (epoch, position in the epoch).

    Args:
        source: The images.
        sampler: Which of them, with which pseudo-labels.
        num_batches: Batches in an epoch.
        batch_size: Crops in a batch, over all replicas; a multiple of `views`.
        image_size: Side of the crops in pixels.
        min_area: Smallest crop as a fraction of the image's area.
        hflip: Whether half of the crops are mirrored.
        color_jitter: Strength of random changes of colour.
        grayscale: Part of the images that lose all colour.
        views: Crops of each image that is drawn, which stand one behind the other.
        first_batch: Batches of the epoch to leave out from its beginning, whose images are not
            read.

    Returns:
        A dataset of known length with elements (images uint8 `(b, s, s, 3)`, labels int32 `(b,)`),
        and weights float32 `(b,)` as a third where the sampler gives some.
    """
    return augmented_batches(
        source,
        sampler.pairs(num_batches * batch_size // views),
        sampler.epoch_seed,
        batch_size=batch_size,
        image_size=image_size,
        min_area=min_area,
        hflip=hflip,
        color_jitter=color_jitter,
        grayscale=grayscale,
        views=views,
        first_batch=first_batch,
    )

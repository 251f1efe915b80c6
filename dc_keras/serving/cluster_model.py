"""From pixels to features, descriptors and clusters, in one graph of TensorFlow.

`dc-keras assign`, the Python API and the SavedModel all answer by this graph, so that they agree
bit for bit. Convolutions round otherwise in another number of images, so a batch is cut into blocks
of fixed sizes: what an image is answered depends on its block alone. In batches of a multiple of
the largest block all that stands before the rest of the last one is the same however it is called.

    features     the network, as in the training without augmentation
    embedding    PCA, whitening and unit length: the descriptors of the method
    cluster      the nearest centroid, how far it is, and how much farther the next ones are
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from dc_keras.clustering.whitening import Whitening

# Images of a block, largest first. Larger ones are hardly faster; the last one is for the rest.
BLOCKS = (32, 8, 1)
# How many of the nearest clusters are told.
TOP = 3


class NearestClusters(NamedTuple):
    """The clusters that some images are nearest to.

    Attributes:
        clusters: The nearest ones, nearest first, int32 `(n, top)`.
        distances: Of the descriptor from their centroids, float32 `(n, top)`, at most about 2.
        margins: How much farther the second is than the first, float32 `(n,)`: 0 is a coin's
            toss, and stands where there is one cluster alone.
        outliers: Whether the image is farther away than 95 % of the images that the clusters were
            made of, bool `(n,)`.
    """

    clusters: tf.Tensor
    distances: tf.Tensor
    margins: tf.Tensor
    outliers: tf.Tensor


class Cells:
    """What makes clusters of features: the whitening, the centroids and how far is far.

    Args:
        whitening: From features to descriptors.
        centroids: float32 `(num_clusters, dim)`.
        outlier_distance: Distance from the nearest centroid above which an image is an outlier;
            None where that is not known, and none is.

    Attributes:
        top: How many of the nearest clusters are told.
    """

    def __init__(self, whitening: Whitening, centroids: np.ndarray, outlier_distance: float | None):
        centroids = np.asarray(centroids, np.float32)
        self._mean = _constant(whitening.mean, "mean")
        self._projection = _constant(whitening.projection, "projection")
        self._centroids = _constant(centroids, "centroids")
        squares = np.einsum("ij,ij->i", centroids, centroids, dtype=np.float64)
        self._half_squares = _constant(squares / 2, "half_squares")
        self.top = min(TOP, len(centroids))
        self._outlier_distance = float("inf") if outlier_distance is None else outlier_distance

    def embedding(self, features: tf.Tensor) -> tf.Tensor:
        """Descriptors, float32 `(n, dim)`, of features `(n, d)`; see `Whitening.apply`."""
        projected = tf.matmul(features - self._mean, self._projection)
        squares = tf.reduce_sum(tf.square(tf.cast(projected, tf.float64)), 1, keepdims=True)
        # The smallest normal number keeps a zero row zero instead of NaN.
        length = tf.maximum(tf.sqrt(squares), np.finfo(np.float64).tiny)
        return tf.cast(tf.cast(projected, tf.float64) / length, tf.float32)

    def nearest(self, embedding: tf.Tensor) -> NearestClusters:
        """The nearest clusters of descriptors, float32 `(n, dim)`."""
        # The smallest |x - c|^2 has the largest x.c - |c|^2 / 2.
        closeness = tf.matmul(embedding, self._centroids, transpose_b=True) - self._half_squares
        _, clusters = tf.math.top_k(closeness, self.top)
        # Products lose the digits of small distances, differences do not.
        apart = embedding[:, tf.newaxis] - tf.gather(self._centroids, clusters)
        distances = tf.norm(apart, axis=-1)
        order = tf.argsort(distances, axis=1, stable=True)
        clusters = tf.gather(clusters, order, batch_dims=1)
        distances = tf.gather(distances, order, batch_dims=1)
        nearest = distances[:, 0]
        margins = distances[:, 1] - nearest if self.top > 1 else tf.zeros_like(nearest)
        return NearestClusters(clusters, distances, margins, nearest > self._outlier_distance)


def _constant(values: np.ndarray, name: str) -> tf.Variable:
    """Numbers that a graph refers to: all its functions share one copy."""
    return tf.Variable(values.astype(np.float32), trainable=False, name=name)


class ClusterModel:
    """Answers what features, descriptors and clusters images have.

    Args:
        model: From uint8 images `(n, s, s, 3)` to features `(n, d)`.
        cells: What makes clusters of the features, or None for features alone.
    """

    def __init__(self, model: keras.Model, cells: Cells | None = None):
        self.model = model
        self._cells = cells
        self._compiled: dict[str, Callable] = {}
        self._blocks: dict[int, Callable] = {}

    @property
    def image_size(self) -> int:
        """Side s of the images in pixels."""
        return self.model.input_shape[1]

    def features(self, images: tf.Tensor) -> tf.Tensor:
        """Features, float32 `(n, d)`, of uint8 images `(n, s, s, 3)`. Works inside of graphs."""
        return in_blocks(self._features, images)

    def embedding(self, images: tf.Tensor) -> tf.Tensor:
        """Descriptors, float32 `(n, dim)`, of uint8 images `(n, s, s, 3)`."""
        return in_blocks(lambda block: self.cells.embedding(self._features(block)), images)

    def nearest(self, images: tf.Tensor) -> NearestClusters:
        """The nearest clusters of uint8 images `(n, s, s, 3)`."""

        def nearest(block):
            return self.cells.nearest(self.cells.embedding(self._features(block)))

        return in_blocks(nearest, images)

    @property
    def has_clusters(self) -> bool:
        """Whether it knows more than features."""
        return self._cells is not None

    @property
    def cells(self) -> Cells:
        """What makes clusters of features.

        Raises:
            ValueError: If the model has features alone.
        """
        if self._cells is None:
            raise ValueError("The model has no clusters. Received: a model of features alone.")
        return self._cells

    def compiled(self, answer: str) -> Callable:
        """One of the answers as a compiled function of images, one for all that ask for it.

        Args:
            answer: "features", "embedding" or "nearest".
        """
        if answer not in self._compiled:
            images = tf.TensorSpec([None, *self.model.input_shape[1:]], tf.uint8)
            with tf.init_scope():
                self._compiled[answer] = tf.function(
                    getattr(self, answer), autograph=False
                ).get_concrete_function(images)
        return self._compiled[answer]

    def _features(self, block: tf.Tensor) -> tf.Tensor:
        """Features of a block, by a function that all answers share: networks are large graphs."""
        if block.shape[0] not in self._blocks:

            def compute(images):
                # Clustering is done in float32 whatever the network computes in.
                return tf.cast(self.model(images, training=False), tf.float32)

            with tf.init_scope():
                self._blocks[block.shape[0]] = tf.function(
                    compute, autograph=False
                ).get_concrete_function(tf.TensorSpec(block.shape, block.dtype))
        return self._blocks[block.shape[0]](block)


def in_blocks(function: Callable, images: tf.Tensor, sizes: Sequence[int] = BLOCKS):
    """Applies a function to images in blocks of fixed sizes, each as often as it fits.

    Layers that know how many images they get choose the fastest way, and each block is rounded in
    the same way whatever stands before and behind it.

    Args:
        function: From images `(size, ...)` to a tensor of as many rows, or a structure of them.
        images: `(n, ...)`, n from 0 on.
        sizes: Images of a block, decreasing; the last is 1.

    Returns:
        What the function returns, for all images.

    >>> in_blocks(lambda block: block * block.shape[0], tf.ones(12)).numpy().tolist()
    [8.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0, 1.0, 1.0, 1.0, 1.0]
    """
    shape = images.shape[1:]
    parts, rest = [], images
    for size in sizes:
        block = tf.function(function, autograph=False).get_concrete_function(
            tf.TensorSpec((size, *shape), images.dtype)
        )
        count = tf.shape(rest)[0] // size
        found = tf.map_fn(
            block,
            tf.reshape(rest[: count * size], (count, size, *shape)),
            fn_output_signature=tf.nest.map_structure(
                lambda output: tf.TensorSpec(output.shape, output.dtype), block.structured_outputs
            ),
            parallel_iterations=1,
        )
        parts.append(tf.nest.map_structure(_flat, found))
        rest = rest[count * size :]
    return tf.nest.map_structure(lambda *values: tf.concat(values, 0), *parts)


def _flat(blocks: tf.Tensor) -> tf.Tensor:
    return tf.reshape(blocks, (-1, *blocks.shape[2:]))

"""Features of images by a network as it is, on all replicas, in order."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dc_keras.machine import devices_of

# The layer whose outputs, before their ReLU, are the features of the method.
FEATURES = "fc7"


class FeatureExtractor:
    """Computes a model's outputs over a dataset on all replicas, in the order of the dataset.

    Of several workers each has datasets of its own: nothing is exchanged.

    Args:
        model: From images to features; called with `training=False`: batch norm uses its running
            statistics and dropout is inactive.
        xla: Whether XLA compiles the forward pass, which takes a while and pays on a GPU, over many
            images. With one replica only.
    """

    def __init__(self, model: keras.Model, *, xla: bool = False):
        self._model = model
        self._xla = xla
        self._strategy = model.distribute_strategy
        self._replicas = len(devices_of(self._strategy))
        self._step: Callable | None = None
        self._size = 0

    @property
    def image_size(self) -> int:
        """Side of the model's input in pixels."""
        return self._model.input_shape[1]

    def __call__(self, dataset: tf.data.Dataset) -> Iterator[Any]:
        """Yields the features of each batch of the dataset.

        Args:
            dataset: Batches of images; their order is kept.

        Yields:
            Features, float32 `(b, feature_dim)`; for a model with several outputs, a list of them.
        """
        for images in dataset:
            yield self._features(images)

    def with_others(self, dataset: tf.data.Dataset) -> Iterator[tuple[Any, Any]]:
        """Yields the features of batches of images that other things come with.

        Args:
            dataset: Batches `(images, others)`, others being tensors of as many rows.

        Yields:
            What `__call__` yields, and the others as arrays.
        """
        for images, others in dataset:
            yield self._features(images), tf.nest.map_structure(lambda one: one.numpy(), others)

    def _features(self, images: tf.Tensor) -> Any:
        """Features of a batch.

        Batches that are smaller than others are filled with blank images, for three reasons:
        TensorFlow's fused convolutions do not take a replica without images; layers that know how
        many images they get choose their way by that; and an image's features are computed in the
        same way in whatever batch it is.
        """
        size = -(-len(images) // self._replicas)
        shares = self._shares(images, max(size, self._size))
        if self._step is None or size > self._size:
            self._step, self._size = self._trace(shares), size
        return tf.nest.map_structure(
            lambda outputs: self._gather(outputs)[: len(images)], self._step(shares)
        )

    def _shares(self, images: tf.Tensor, size: int) -> Any:
        """A batch shared out among the replicas: so many images each, blank ones at the end."""
        missing = size * self._replicas - len(images)
        if missing:
            images = tf.pad(images, [[0, missing], [0, 0], [0, 0], [0, 0]])
        if self._replicas == 1:
            return images
        parts = tf.split(images, self._replicas)
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: parts[context.replica_id_in_sync_group % self._replicas]
        )

    def _trace(self, shares: Any) -> Callable:
        """Compiles the forward pass for batches of this size."""

        def on_replica(images):
            # Clustering is done in float32 whatever the network computes in.
            return tf.nest.map_structure(
                lambda output: tf.cast(output, tf.float32), self._model(images, training=False)
            )

        def compute(images):
            return self._strategy.run(on_replica, args=(images,))

        traced = tf.function(compute, autograph=False, jit_compile=self._xla or None)
        # Called as it is, TensorFlow would warn of tracing where several networks are compared.
        return traced.get_concrete_function(shares)

    def _gather(self, replicas) -> np.ndarray:
        parts = self._strategy.experimental_local_results(replicas)
        return np.concatenate([part.numpy() for part in parts])


def feature_model(network: keras.Model, *layers: str) -> keras.Model:
    """The part of a network that ends in its features.

    Args:
        network: From images to logits.
        *layers: Names of the layers whose outputs are wanted, such as "fc7": the features of the
            method, before their ReLU.

    Returns:
        A model from the same images to that output, or to a list of them; it shares the network's
        weights. Dropout is inactive when it is called with `training=False`.

    >>> from dc_keras.models.architectures import build_network
    >>> from dc_keras.models.options import NetworkOptions
    >>> network = build_network(NetworkOptions(image_size=32, width=1 / 64), num_clusters=10)
    >>> feature_model(network, "fc7").output_shape
    (None, 64)
    """
    outputs = [network.get_layer(layer).output for layer in layers]
    return keras.Model(network.input, outputs[0] if len(outputs) == 1 else outputs)

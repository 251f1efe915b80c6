"""Features of images by a network as it is, on all replicas, in order."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# The layer whose outputs, before their ReLU, are the features of the method.
FEATURES = "fc7"


class FeatureExtractor:
    """Computes a model's outputs over a dataset on all replicas, in the order of the dataset.

    Args:
        model: From images to features; called with `training=False`: batch norm uses its running
            statistics and dropout is inactive.
    """

    def __init__(self, model: keras.Model):
        self._model = model
        self._strategy = model.distribute_strategy
        self._step: Callable | None = None
        self._size = 0

    @property
    def image_size(self) -> int:
        """Side of the model's input in pixels."""
        return self._model.input_shape[1]

    def _trace(self, element_spec, size: int) -> Callable:
        """Compiles the forward pass for batches of up to `size` images on each replica.

        Smaller ones are filled with blank images, for three reasons: TensorFlow's fused
        convolutions do not take a replica without images, which the last batch can leave; layers
        that know how many images they get choose their way by that; and an image's features are
        computed in the same way in whatever batch it is.
        """

        def on_replica(images):
            count = tf.shape(images)[0]
            images = tf.pad(images, [[0, size - count], [0, 0], [0, 0], [0, 0]])
            images = tf.ensure_shape(images, (size, *images.shape[1:]))
            outputs = self._model(images, training=False)
            # Clustering is done in float32 whatever the network computes in.
            return tf.nest.map_structure(
                lambda output: tf.cast(output[:count], tf.float32), outputs
            )

        def compute(images):
            return self._strategy.run(on_replica, args=(images,))

        traced = tf.function(compute, input_signature=[element_spec], autograph=False)
        # Called as it is, TensorFlow would warn of tracing where several networks are compared.
        return traced.get_concrete_function()

    def _gather(self, replicas) -> np.ndarray:
        parts = self._strategy.experimental_local_results(replicas)
        return np.concatenate([part.numpy() for part in parts])

    def __call__(self, dataset: tf.data.Dataset) -> Iterator[Any]:
        """Yields the features of each batch of the dataset.

        Args:
            dataset: Batches of images; their order is kept.

        Yields:
            Features, float32 `(b, feature_dim)`; for a model with several outputs, a list of them.
        """
        dataset = self._strategy.experimental_distribute_dataset(dataset)
        for images in dataset:
            yield self._features(images, dataset.element_spec)

    def with_others(self, dataset: tf.data.Dataset) -> Iterator[tuple[Any, Any]]:
        """Yields the features of batches of images that other things come with.

        Args:
            dataset: Batches `(images, others)`, others being tensors of as many rows.

        Yields:
            What `__call__` yields, and the others as arrays.
        """
        dataset = self._strategy.experimental_distribute_dataset(dataset)
        for images, others in dataset:
            features = self._features(images, dataset.element_spec[0])
            yield features, tf.nest.map_structure(self._gather, others)

    def _features(self, images, element_spec) -> Any:
        parts = self._strategy.experimental_local_results(images)
        size = max(len(part) for part in parts)
        if self._step is None or size > self._size:
            self._step, self._size = self._trace(element_spec, size), size
        return tf.nest.map_structure(self._gather, self._step(images))


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

"""The convolutions of a network on images of any size."""

import keras
import numpy as np
import tensorflow as tf

from dc_keras.errors import InputError

# Sides in pixels that are tried: networks need 16 (VGG16) or 31 (AlexNet).
_LARGEST_LEAST_SIDE = 1024


class ConvMaps:
    """The feature maps of one layer, for images of any size.

    The layers up to that one are connected anew behind an input of unknown size. They are the same
    layers with the same weights: nothing is copied.

    Args:
        network: From uint8 images `(n, s, s, 3)`; batch norm uses its running statistics.
        layer: Name of the layer, such as "relu5_3": the last convolution after its ReLU, before its
            pooling.

    Raises:
        InputError: If there is no such layer, it gives no maps, or layers before it take one size
            alone.
    """

    def __init__(self, network: keras.Model, layer: str):
        with network.distribute_strategy.scope():
            self._model = any_size(network, layer)
        self.least_side = least_side(self._model)
        # One trace for all sizes.
        self._compute = tf.function(
            lambda images: tf.cast(self._model(images, training=False), tf.float32),
            input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)],
            autograph=False,
        ).get_concrete_function()

    def __call__(self, image: tf.Tensor) -> np.ndarray:
        """Computes the maps of one image.

        Args:
            image: uint8 `(1, h, w, 3)`, h and w at least `least_side`.

        Returns:
            float32 `(h', w', c)`.
        """
        return self._compute(image).numpy()[0]


def any_size(network: keras.Model, layer: str) -> keras.Model:
    """The part of a network up to a layer, for images of any size.

    Args:
        network: From uint8 images `(n, s, s, 3)`.
        layer: Name of the layer whose outputs are wanted.

    Returns:
        From uint8 images `(n, h, w, 3)` to maps `(n, h', w', c)`; it shares the network's layers.

    Raises:
        InputError: As `ConvMaps`.

    >>> from dc_keras.models.architectures import build_network
    >>> from dc_keras.models.options import NetworkOptions
    >>> network = build_network(NetworkOptions(image_size=32, width=1 / 64), num_clusters=10)
    >>> any_size(network, "relu5_3").output_shape
    (None, None, None, 8)
    """
    names = [one.name for one in network.layers]
    if layer not in names:
        raise InputError(
            f"The network has no such layer. Received: {layer!r}. Expected its last convolution, "
            f"one of: {', '.join(names[-20:])}."
        )
    part = keras.Model(network.input, network.get_layer(layer).output)
    if len(part.output_shape) != 4:
        raise InputError(
            f"Retrieval takes feature maps. Received: layer {layer!r} with outputs "
            f"{part.output_shape}. Expected a convolution, whose outputs are (n, h, w, c)."
        )
    images = keras.Input((None, None, 3), dtype=network.inputs[0].dtype)
    try:
        found = keras.models.clone_model(
            part, input_tensors=images, clone_function=lambda layer: layer
        )
        if any(found.output_shape[1:3]):
            raise ValueError(f"outputs are always {found.output_shape}")
    except (ValueError, TypeError) as error:
        raise InputError(
            "The network takes images of one size alone, and retrieval has images of any. "
            f"Received: layers up to {layer!r} that refuse another ({str(error).splitlines()[0]}). "
            "Expected convolutions and poolings: leave this network out, or leave out retrieval."
        ) from error
    return found


def least_side(model: keras.Model) -> int:
    """The side in pixels from which on an image has maps at all, by bisection.

    Args:
        model: As `any_size` returns it.

    >>> images = keras.Input((None, None, 3))
    >>> least_side(keras.Model(images, keras.layers.MaxPooling2D(4)(images)))
    4
    """

    def enough(side: int) -> bool:
        try:
            return min(model.compute_output_shape((1, side, side, 3))[1:3]) > 0
        # Which kind is up to the layer that gets too little.
        except (ValueError, tf.errors.InvalidArgumentError):
            return False

    too_small, large_enough = 0, _LARGEST_LEAST_SIDE
    while large_enough - too_small > 1:
        middle = (too_small + large_enough) // 2
        too_small, large_enough = (too_small, middle) if enough(middle) else (middle, large_enough)
    return large_enough

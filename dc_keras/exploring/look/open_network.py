"""A network from normalised pixels on, with the maps of its layers beside its features.

Whole networks take uint8, through which no gradient goes. Those that `dc-keras cluster --network`
was given are nested in another as one layer, and are laid open here as well.
"""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from dc_keras.errors import InputError
from dc_keras.models.feature_extractor import FEATURES

_POOLS = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
_RECTIFIERS = (keras.layers.ReLU, keras.layers.Activation)


@dataclasses.dataclass(frozen=True)
class OpenNetwork:
    """A network that gradients go through, from the pixels on.

    Attributes:
        model: From normalised pixels, float32 `(n, s, s, 3)`, to a list: maps `(n, h, w, c)` of
            each layer that was asked for, then the features `(n, d)`.
        scale: Of pixels in 0..255, float32 `(3,)`.
        offset: What is added to them then, float32 `(3,)`.
    """

    model: keras.Model
    scale: np.ndarray
    offset: np.ndarray

    @property
    def image_size(self) -> int:
        """Side of the pictures in pixels."""
        return self.model.input_shape[1]

    def normalized(self, pixels: tf.Tensor) -> tf.Tensor:
        """What the model takes, of pixels in 0..255."""
        return tf.cast(pixels, tf.float32) * self.scale + self.offset


def open_network(
    network: keras.Model, layers: Sequence[str], *, rectified: bool = True
) -> OpenNetwork:
    """Opens a network for the maps of some layers.

    Args:
        network: From uint8 images, as `runs.trained_model` loads it.
        layers: Names of `map_shapes`.
        rectified: With False, in place of the outputs of a layer that is an activation its inputs:
            where a ReLU is zero, no gradient tells the way up.

    Raises:
        InputError: If it is not known what the network does to pixels.
    """
    nested = _nested(network)
    inner = nested or network
    outputs = [_maps(inner.get_layer(name), rectified) for name in layers]
    if nested is None:
        scaling = _scaling(network)
        features = network.get_layer(FEATURES).output
        return _opened(keras.Model(scaling.output, [*outputs, features]), scaling)
    # Others' networks stand in a chain: scaling, perhaps a turned order of colours, the network
    # itself, and what makes one vector of its outputs.
    operations = list(network.operations)
    before, after = _around(operations, nested)
    takes_bytes = nested.inputs[0].dtype == "uint8"
    scaling = _scaling(nested if takes_bytes else network)
    pixels = keras.Input(_side_and_colours(network), dtype="float32")
    x = pixels
    for operation in [] if takes_bytes else before[before.index(scaling) + 1 :]:
        x = operation(x)
    start = scaling.output if takes_bytes else nested.inputs
    *maps, x = keras.Model(start, [*outputs, *nested.outputs])(x)
    for operation in after:
        x = operation(x)
    return _opened(keras.Model(pixels, [*maps, x]), scaling)


def map_shapes(network: keras.Model) -> dict[str, tuple[int, int, int]]:
    """The layers of a network that have maps, in order, with height, width and channels.

    What stands before the first convolution and poolings are left out.

    Raises:
        InputError: If there are none, or it is not known what the network does to pixels.
    """
    layers = (_nested(network) or network).layers
    first = next((at for at, layer in enumerate(layers) if _is_convolution(layer)), len(layers))
    names = [
        layer.name for layer in layers[first:] if not isinstance(layer, _POOLS) and _has_maps(layer)
    ]
    if not names:
        kinds = ", ".join(dict.fromkeys(type(layer).__name__ for layer in layers[-20:]))
        raise InputError(
            f"The network has no convolutions to look at. Received: layers of kinds {kinds}. "
            "Expected a convolutional network, which may be nested in another once."
        )
    shapes = open_network(network, names).model.output_shape
    return {name: shape[1:] for name, shape in zip(names, shapes, strict=False)}


def check_layer(layer: str, shapes: dict[str, tuple[int, int, int]]) -> str:
    """The layer that was asked for, or the last one where none was.

    Raises:
        InputError: If the network has no such layer, or one without maps.
    """
    if layer and layer not in shapes:
        raise InputError(
            f"The network has no layer of that name with maps. Received: --layer={layer}. "
            f"Expected one of: {', '.join(shapes)}."
        )
    return layer or list(shapes)[-1]


def last_wide_layer(shapes: dict[str, tuple[int, int, int]], side: int) -> str:
    """The last layer whose maps are at least so wide and high, or the widest.

    >>> last_wide_layer({"conv1": (8, 8, 2), "conv2": (4, 4, 2), "conv3": (2, 2, 9)}, side=3)
    'conv2'
    >>> last_wide_layer({"conv1": (2, 2, 2), "conv2": (1, 1, 9)}, side=3)
    'conv1'
    """
    wide = [name for name, shape in shapes.items() if min(shape[:2]) >= side]
    return wide[-1] if wide else max(shapes, key=lambda name: min(shapes[name][:2]))


def first_convolution(network: keras.Model) -> tuple[np.ndarray, bool]:
    """The filters that see the image, and whether they see its gradients by Sobel filters.

    Returns:
        float32 `(height, width, inputs, filters)`, where they see colours red first; and whether.

    Raises:
        InputError: If no convolution is found.
    """
    layers = (_nested(network) or network).layers
    for layer in layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel = keras.ops.convert_to_numpy(layer.kernel).astype(np.float32)
            # Networks of others may take blue first.
            turned = any(type(one).__name__ == "Flip" for one in network.operations)
            return kernel[:, :, ::-1] if turned else kernel, sees_gradients(network)
    raise InputError(
        "The network has no convolutions to look at. Received: none among its "
        f"{len(layers)} layers. Expected a convolutional network."
    )


def sees_gradients(network: keras.Model) -> bool:
    """Whether Sobel filters stand before the first layer, so that colours are not seen."""
    return any(layer.name == "sobel" for layer in (_nested(network) or network).layers)


def _opened(model: keras.Model, scaling: keras.layers.Rescaling) -> OpenNetwork:
    scale, offset = (
        np.broadcast_to(np.asarray(value, np.float32), 3)
        for value in (scaling.scale, scaling.offset)
    )
    return OpenNetwork(model, scale, offset)


def _nested(network: keras.Model) -> keras.Model | None:
    """The network of others within one."""
    return next((layer for layer in network.layers if isinstance(layer, keras.Model)), None)


def _scaling(network: keras.Model) -> keras.layers.Rescaling:
    """The layer that takes the pixels first.

    Raises:
        InputError: If it is of another kind.
    """
    layer = next(one for one in network.layers if not isinstance(one, keras.layers.InputLayer))
    if not isinstance(layer, keras.layers.Rescaling):
        raise InputError(
            "It is not known how the network scales its pixels. Received: one that begins with "
            f"{layer.name}, a {type(layer).__name__}. Expected one that begins with a Rescaling, "
            "or takes float pixels."
        )
    return layer


def _around(operations: list, nested: keras.Model) -> tuple[list, list]:
    at = next(place for place, one in enumerate(operations) if one is nested)
    return operations[:at], operations[at + 1 :]


def _side_and_colours(network: keras.Model) -> tuple[int, int, int]:
    return tuple(network.inputs[0].shape[1:])


def _is_convolution(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, (keras.layers.Conv2D, keras.layers.SeparableConv2D))


def _has_maps(layer: keras.layers.Layer) -> bool:
    # Layers of others may have several outputs, or none that is a tensor.
    shape = getattr(getattr(layer, "output", None), "shape", ())
    return len(shape) == 4


def _maps(layer: keras.layers.Layer, rectified: bool) -> keras.KerasTensor:
    return layer.input if not rectified and isinstance(layer, _RECTIFIERS) else layer.output

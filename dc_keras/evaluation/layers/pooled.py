"""All layers of a network at once, each pooled to about 9,000 values inside of the graph.

Only the pooled values leave it: of VGG16 at 224 pixels 120,000 an image in place of 13 million.
"""

import math
from collections.abc import Sequence

import keras
import numpy as np

from dc_keras.errors import InputError
from dc_keras.evaluation.linear_probe import MAX_POOLED_SIZE, averaging
from dc_keras.models.feature_extractor import FEATURES

# The fully connected layers that are probed, before their ReLU, as they are clustered.
FULLY_CONNECTED = ("fc6", FEATURES)

PUBLISHED_SIZE = 224
# Size and step of the published average pools, of networks of so many convolutions: VGG16's of
# DeeperCluster, AlexNet's of the evaluation of vissl.
PUBLISHED_POOLS = {
    13: ((18, 18),) * 2 + ((14, 14),) * 2 + ((9, 9),) * 3 + ((6, 6),) * 3 + ((3, 3),) * 3,
    5: ((19, 4), (12, 3), (9, 1), (9, 1), (8, 1)),
}


def layer_names(network: keras.Model) -> tuple[str, ...]:
    """The layers that are probed, by their names in the network, from the image on.

    Args:
        network: From images to logits, as `architectures.build_network` makes it.

    Returns:
        Every convolution's ReLU, as "relu1_1", then "fc6" and "fc7".

    Raises:
        InputError: If the network has none of them.

    >>> from dc_keras.models.architectures import build_network
    >>> from dc_keras.models.options import NetworkOptions
    >>> options = NetworkOptions(image_size=64, arch="alexnet", width=1 / 64)
    >>> layer_names(build_network(options, num_clusters=10))
    ('relu1', 'relu2', 'relu3', 'relu4', 'relu5', 'fc6', 'fc7')
    """
    names = tuple(layer.name for layer in network.layers if _is_relu_of_maps(layer))
    names += tuple(layer.name for layer in network.layers if layer.name in FULLY_CONNECTED)
    if not names:
        raise InputError(
            "The layers of this network are not known. Received: a network without a layer of ReLU "
            f"behind a convolution, and without {' and '.join(FULLY_CONNECTED)}. Expected VGG16 or "
            "AlexNet. Leave out the task."
        )
    return names


def pooled_layers(network: keras.Model, layers: Sequence[str] = ()) -> keras.Model:
    """The part of a network that ends in its layers, pooled.

    At 224 pixels maps are averaged by the published pools; at other sizes as
    `linear_probe.pooled_conv_features` does it.

    Args:
        network: From images to logits.
        layers: Names of layers, of those of `layer_names`; empty for all.

    Returns:
        A model from the same images to a list of float32 `(n, d)`, one of each layer in the order
        of `layers`. It shares the network's weights.

    Raises:
        InputError: If the network has not these layers.

    Reference:
        Caron et al. 2019, "Unsupervised Pre-Training of Image Features on Non-Curated Data", for
        VGG16; Goyal et al. 2019, "Scaling and Benchmarking", for AlexNet.
    """
    known = layer_names(network)
    layers = tuple(layers) or known
    if missing := [name for name in layers if name not in known]:
        raise InputError(
            f"The network has no such layers to probe. Received: {', '.join(missing)}. Expected "
            f"some of: {', '.join(known)}."
        )
    maps = [name for name in known if name not in FULLY_CONNECTED]
    pools = {}
    if network.input_shape[1] == PUBLISHED_SIZE and len(maps) in PUBLISHED_POOLS:
        pools = dict(zip(maps, PUBLISHED_POOLS[len(maps)], strict=True))
    outputs = [_pooled(network.get_layer(name).output, name, pools.get(name)) for name in layers]
    return keras.Model(network.input, outputs)


def _is_relu_of_maps(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.ReLU) and len(layer.output.shape) == 4


def _pooled(
    x: keras.KerasTensor, name: str, published: tuple[int, int] | None
) -> keras.KerasTensor:
    """Maps `(n, h, w, c)`, averaged and flat; what is flat stays as it is; both as float32."""
    # Whatever the network computes in.
    kind = {"dtype": "float32", "name": f"{name}_pooled"}
    if len(x.shape) == 2:
        return keras.layers.Identity(**kind)(x)
    _, height, width, channels = x.shape
    grid = max(1, min(height, width, math.isqrt(MAX_POOLED_SIZE // channels)))
    if published:
        x = keras.layers.AveragePooling2D(published[0], strides=published[1], **kind)(x)
    elif height % grid == 0 and width % grid == 0:
        x = keras.layers.AveragePooling2D((height // grid, width // grid), **kind)(x)
    else:
        x = GridPooling(grid, **kind)(x)
    return keras.layers.Flatten(dtype="float32", name=f"{name}_flat")(x)


class GridPooling(keras.layers.Layer):
    """Averages maps over the cells of a square grid, which may overlap by a row or a column.

    Two products with constant matrices, which need no other order of the values in memory.

    Args:
        grid: Cells along a side, at most the sides of the maps.
    """

    def __init__(self, grid: int, **keyword_arguments):
        super().__init__(**keyword_arguments)
        self.grid = grid

    def call(self, maps):
        _, height, width, channels = maps.shape
        rows, columns = (averaging(side, self.grid) for side in (height, width))
        x = keras.ops.matmul(rows, keras.ops.reshape(maps, (-1, height, width * channels)))
        x = keras.ops.matmul(columns, keras.ops.reshape(x, (-1, width, channels)))
        return keras.ops.reshape(x, (-1, self.grid, self.grid, channels))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.grid, self.grid, input_shape[3])


def dimensions(model: keras.Model) -> list[int]:
    """How many values an image has in each output of `pooled_layers`."""
    return [int(np.prod(output.shape[1:])) for output in model.outputs]

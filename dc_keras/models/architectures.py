"""The networks by name, as `--arch` and PyTorch's checkpoints call them."""

import keras

from dc_keras.models.alexnet import build_alexnet
from dc_keras.models.compact import build_compact
from dc_keras.models.options import NetworkOptions
from dc_keras.models.vgg import build_vgg16

_BUILDERS = {"vgg16": build_vgg16, "alexnet": build_alexnet, "compact": build_compact}

# The output of the last convolution, after batch norm and ReLU and before its pooling.
LAST_CONV = {"vgg16": "relu5_3", "alexnet": "relu5", "compact": "relu4_2"}
# Those that end in fully connected layers, fc6 and fc7; of others fc7 is a mean over places.
WITH_FULLY_CONNECTED = ("vgg16", "alexnet")


def build_network(options: NetworkOptions, num_clusters: int) -> keras.Model:
    """Builds the network that the options ask for.

    Args:
        options: Its architecture, size and kind.
        num_clusters: Outputs of the head.

    Returns:
        A functional model from uint8 images `(n, image_size, image_size, 3)` to float logits
        `(n, num_clusters)`, with layers `fc7` (the features) and `head`.

    >>> build_network(NetworkOptions(image_size=32, width=1 / 64), num_clusters=10).output_shape
    (None, 10)
    """
    return _BUILDERS[options.arch](options, num_clusters)

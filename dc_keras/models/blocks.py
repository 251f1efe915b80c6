"""What the published networks share: front-end, convolution with batch norm, classifier.

Layers start as the published ones do: convolutions He-normal over their fan-out, fully connected
layers from N(0, 0.01), batch norm with PyTorch's momentum and epsilon.
"""

import keras

from dc_keras.models.layers import BatchNormalization, Convolution, CosineHead, Dense
from dc_keras.models.options import NetworkOptions
from dc_keras.models.sobel import full_precision, normalize, sobel
from dc_keras.seeds import derive_seed

# Units of fc6 and fc7, and the standard deviation that all fully connected layers start with.
FULLY_CONNECTED = 4096
FC_STDDEV = 0.01


def scaled(size: int, width: float) -> int:
    """Number of channels or units at a width multiplier, at least one."""
    return max(1, round(size * width))


def fc_stddev(fan_in: int, published_fan_in: int) -> float:
    """Initial standard deviation that keeps the signal of the published network.

    A layer with independent weights N(0, s) multiplies the root mean square of its input by
    s * sqrt(fan_in). With the published 0.01 a layer of 512 inputs instead of 25,088 would pass on
    a seventh of the signal, and learning would not start.

    Args:
        fan_in: Number of inputs of the layer.
        published_fan_in: Number of its inputs in the published network, at width 1 and 224 pixels.

    Returns:
        0.01 at the published size, more below.
    """
    return FC_STDDEV * (published_fan_in / fan_in) ** 0.5


def front_end(options: NetworkOptions) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The input and the fixed layers behind it.

    Returns:
        The input, uint8 `(n, image_size, image_size, 3)`, and what the first convolution sees.
    """
    images = keras.Input((options.image_size, options.image_size, 3), dtype="uint8", name="images")
    x = normalize()(images)
    return images, sobel()(x) if options.use_sobel else x


def conv_bn_relu(
    x: keras.KerasTensor,
    channels: int,
    suffix: str,
    seed: int,
    *,
    size: int = 3,
    strides: int = 1,
    padding: str = "same",
) -> keras.KerasTensor:
    """A convolution with bias, He-normal over its fan-out, then batch norm and ReLU.

    Args:
        x: Its input, float `(n, h, w, c)`.
        channels: Its filters.
        suffix: Behind "conv", "bn" and "relu" in the layers' names.
        seed: Initial weights derive from it.
        size: Side of the filters.
        strides: Step between two positions.
        padding: As for `keras.layers.Conv2D`.

    Returns:
        The output of the ReLU.
    """
    initializer = keras.initializers.VarianceScaling(
        scale=2.0,
        mode="fan_out",
        distribution="untruncated_normal",
        seed=derive_seed(seed, f"init conv{suffix}"),
    )
    x = Convolution(
        channels,
        size,
        strides=strides,
        padding=padding,
        kernel_initializer=initializer,
        name=f"conv{suffix}",
    )(x)
    # PyTorch's momentum 0.1 and epsilon 1e-5, which the published networks were trained with.
    x = BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"bn{suffix}")(x)
    return keras.layers.ReLU(name=f"relu{suffix}")(x)


def classifier(
    x: keras.KerasTensor,
    num_clusters: int,
    options: NetworkOptions,
    *,
    published_inputs: int,
    dropout_at_start: bool,
) -> keras.KerasTensor:
    """Two fully connected layers, `fc6` and `fc7`, and the `head`.

    Args:
        x: The last feature maps, float `(n, h, w, c)`.
        num_clusters: Outputs of the head.
        options: Width, dropout, initial weights, batch norm and kind of head.
        published_inputs: Inputs of fc6 in the published network.
        dropout_at_start: Whether the same dropout stands before fc6 too.

    Returns:
        Logits, float `(n, num_clusters)`.

    Reference:
        Caron et al. 2018, section 4.
    """
    seed, dropout = options.seed, options.dropout

    def initializer(x, name, published_fan_in):
        scaled_init = options.scaled_fc_init
        stddev = fc_stddev(x.shape[-1], published_fan_in) if scaled_init else FC_STDDEV
        return keras.initializers.RandomNormal(
            stddev=stddev, seed=derive_seed(seed, f"init {name}")
        )

    def dense(x, name, published_fan_in):
        units = scaled(FULLY_CONNECTED, options.width)
        kernel = initializer(x, name, published_fan_in)
        if not options.fc_norm:
            return Dense(units, kernel_initializer=kernel, name=name)(x)
        x = Dense(units, use_bias=False, kernel_initializer=kernel, name=f"{name}_linear")(x)
        return BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)

    x = keras.layers.Flatten(name="flatten")(x)
    if dropout_at_start:
        x = keras.layers.Dropout(dropout, seed=derive_seed(seed, "dropout5"), name="dropout5")(x)
    x = dense(x, "fc6", published_inputs)
    x = keras.layers.ReLU(name="relu6")(x)
    x = keras.layers.Dropout(dropout, seed=derive_seed(seed, "dropout"), name="dropout")(x)
    x = dense(x, "fc7", FULLY_CONNECTED)
    head = {
        "kernel_initializer": initializer(x, "head", FULLY_CONNECTED),
        "dtype": full_precision(),
        "name": "head",
    }
    if options.temperature is not None:
        return CosineHead(num_clusters, options.temperature, **head)(x)
    return Dense(num_clusters, **head)(keras.layers.ReLU(name="relu7")(x))

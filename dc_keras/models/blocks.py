"""What the published networks share: front-end, convolution with batch norm, classifier.

Layers start as the published ones do: convolutions He-normal over their fan-out, fully connected
layers from N(0, 0.01), batch norm with PyTorch's momentum and epsilon.
"""

import keras

from dc_keras.models.layers import BatchNormalization, Convolution, CosineHead, Dense
from dc_keras.models.options import NetworkOptions
from dc_keras.models.patch_whitening import patches
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
    if options.use_sobel:
        x = sobel()(x)
    if options.whitened_patches:
        x = patches(x, options.whitened_patches)
    return images, x


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
    x = batch_norm(x, f"bn{suffix}")
    return keras.layers.ReLU(name=f"relu{suffix}")(x)


def batch_norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Batch norm with PyTorch's momentum and epsilon, which the published networks had."""
    # Keras's momentum is the part that is kept, PyTorch's 0.1 the part that is new.
    return BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)


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
    units = scaled(FULLY_CONNECTED, options.width)
    x = keras.layers.Flatten(name="flatten")(x)
    if dropout_at_start:
        x = dropout(x, "dropout5", options)
    x = fully_connected(x, units, "fc6", options, published_inputs=published_inputs)
    x = keras.layers.ReLU(name="relu6")(x)
    x = dropout(x, "dropout", options)
    x = fully_connected(x, units, "fc7", options)
    if options.temperature is None:
        x = keras.layers.ReLU(name="relu7")(x)
    return head(x, num_clusters, options)


def dropout(x: keras.KerasTensor, name: str, options: NetworkOptions) -> keras.KerasTensor:
    """A layer of dropout with draws of its own."""
    return keras.layers.Dropout(options.dropout, seed=derive_seed(options.seed, name), name=name)(x)


def fully_connected(
    x: keras.KerasTensor,
    units: int,
    name: str,
    options: NetworkOptions,
    *,
    published_inputs: int = FULLY_CONNECTED,
) -> keras.KerasTensor:
    """A fully connected layer, with batch norm behind it where the options say so.

    Args:
        x: Its input, float `(n, c)`.
        units: Its outputs.
        name: Of the last of its layers.
        options: Initial weights, and whether there is batch norm.
        published_inputs: Inputs of the published layer that it stands for.

    Returns:
        Its output, before any ReLU, float `(n, units)`.
    """
    kernel = _initializer(x, name, published_inputs, options)
    if not options.fc_norm:
        return Dense(units, kernel_initializer=kernel, name=name)(x)
    x = Dense(units, use_bias=False, kernel_initializer=kernel, name=f"{name}_linear")(x)
    return batch_norm(x, name)


def head(x: keras.KerasTensor, num_clusters: int, options: NetworkOptions) -> keras.KerasTensor:
    """The last layer: of cosines where the options have a temperature, else linear.

    Args:
        x: Its input, float `(n, c)`.
        num_clusters: Its outputs.
        options: Its temperature, and how weights start.

    Returns:
        Logits, float `(n, num_clusters)`.
    """
    kind = {
        "kernel_initializer": _initializer(x, "head", FULLY_CONNECTED, options),
        "dtype": full_precision(),
        "name": "head",
    }
    if options.temperature is not None:
        return CosineHead(num_clusters, options.temperature, **kind)(x)
    return Dense(num_clusters, **kind)(x)


def _initializer(
    x: keras.KerasTensor, name: str, published_inputs: int, options: NetworkOptions
) -> keras.initializers.Initializer:
    """What a fully connected layer's weights are drawn from."""
    scaled_init = options.scaled_fc_init
    stddev = fc_stddev(x.shape[-1], published_inputs) if scaled_init else FC_STDDEV
    return keras.initializers.RandomNormal(
        stddev=stddev, seed=derive_seed(options.seed, f"init {name}")
    )

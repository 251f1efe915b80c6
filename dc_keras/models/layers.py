"""What the published networks share: front-end, convolution with batch norm, classifier.

Layers start as the published ones do: convolutions He-normal over their fan-out, fully connected
layers from N(0, 0.01), batch norm with PyTorch's momentum and epsilon.
"""

import keras
import tensorflow as tf

from dc_keras.models import winograd
from dc_keras.models.sobel import full_precision, normalize, sobel
from dc_keras.runtime import computes_in_bfloat16, derive_seed

# Units of fc6 and fc7, and the standard deviation that all fully connected layers start with.
FULLY_CONNECTED = 4096
FC_STDDEV = 0.01
# Side of the largest maps on which matrix products are faster, by type: measured on CPUs. Those
# without 16-bit instructions take ten times as long for bfloat16's filter gradients on any map.
_LARGEST_SMALL_MAP = {"float32": 4, "float64": 4, "bfloat16": 14}
# Channels from which on the gradient of filters is faster as a convolution: measured with AVX2.
_CHANNELS_TO_CONVOLVE = 32


@keras.saving.register_keras_serializable(package="dc_keras")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch norm for `(n, h, w, c)`, computed by TensorFlow's fused operation.

    Keras 3 composes it of many operations, which takes three times as long. Values, gradients and
    running statistics are the same to rounding.
    """

    def call(self, inputs, training=None, mask=None):
        # The operation knows neither float64, which only tests use, nor other shapes.
        if inputs.dtype == "float64" or len(inputs.shape) != 4:
            return super().call(inputs, training=training, mask=mask)
        variables = (self.gamma, self.beta, self.moving_mean, self.moving_variance)
        gamma, beta, moving_mean, moving_variance = (
            tf.cast(variable, tf.float32) for variable in variables
        )
        if not (training and self.trainable):
            return tf.compat.v1.nn.fused_batch_norm(
                inputs,
                gamma,
                beta,
                mean=moving_mean,
                variance=moving_variance,
                epsilon=self.epsilon,
                is_training=False,
            )[0]
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, gamma, beta, epsilon=self.epsilon, is_training=True
        )
        # The operation gives the population's variance, estimated from the batch; Keras keeps the
        # batch's own.
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
        variance *= (count - 1) / count
        self.moving_mean.assign(moving_mean * self.momentum + mean * (1 - self.momentum))
        self.moving_variance.assign(
            moving_variance * self.momentum + variance * (1 - self.momentum)
        )
        return outputs


@keras.saving.register_keras_serializable(package="dc_keras")
class Convolution(keras.layers.Conv2D):
    """Keras's convolution, with faster ways to it and to its gradients on CPUs.

    TensorFlow's own ways to them leave much of a CPU unused, most of all on small maps and without
    AVX-512. The gradients are computed as what they are, convolutions; that of 3x3 filters on small
    maps as nine matrix products. Where channels and images are many, 3x3 convolutions and their
    gradients are computed by Winograd's algorithm. docs/decisions.md has the rates.
    """

    def convolution_op(self, inputs, kernel):
        plain = (
            all(size % 2 for size in self.kernel_size)
            and (self.strides, self.dilation_rate, self.groups) == ((1, 1), (1, 1), 1)
            and self.padding == "same"
            and self.data_format == "channels_last"
        )
        if plain and not tf.config.list_physical_devices("GPU"):
            return _convolve(inputs, _read(kernel))
        return super().convolution_op(inputs, kernel)


def _read(kernel) -> tf.Tensor:
    """A variable in the type of the computation: custom gradients take no variables."""
    return tf.convert_to_tensor(keras.ops.convert_to_tensor(kernel))


@tf.custom_gradient
def _convolve(inputs: tf.Tensor, kernel: tf.Tensor):
    """A convolution without strides, padded to the same size, and its gradients."""

    def gradients(upstream):
        if winograd.saves_time(inputs, kernel, back=True):
            return winograd.gradients(inputs, kernel, upstream)
        # Where an input meets a filter at one place, the output that is as far to the other side
        # gets the product.
        turned = tf.transpose(tf.reverse(kernel, [0, 1]), (0, 1, 3, 2))
        to_inputs = tf.nn.conv2d(upstream, turned, 1, "SAME")
        if kernel.shape[:2] == (3, 3) and max(inputs.shape[1:3]) <= _largest_small_map(inputs):
            return to_inputs, filter_gradient_as_products(inputs, upstream)
        # A convolution takes no filters of no channels, which the images are here.
        images, *_, channels = inputs.shape
        if images and inputs.dtype == tf.float32 and channels >= _CHANNELS_TO_CONVOLVE:
            return to_inputs, filter_gradient_as_convolution(inputs, upstream, kernel.shape[:2])
        to_kernel = tf.raw_ops.Conv2DBackpropFilter(
            input=inputs,
            filter_sizes=kernel.shape,
            out_backprop=upstream,
            strides=(1, 1, 1, 1),
            padding="SAME",
        )
        return to_inputs, to_kernel

    if winograd.saves_time(inputs, kernel, back=False):
        return winograd.convolve(inputs, kernel), gradients
    return tf.nn.conv2d(inputs, kernel, 1, "SAME"), gradients


def filter_gradient_as_convolution(
    inputs: tf.Tensor, upstream: tf.Tensor, kernel_size: tuple[int, int]
) -> tf.Tensor:
    """Gradient of the filters of a convolution without strides that is padded to the same size.

    It is a convolution of the inputs with the gradient of the outputs as filters, whose images are
    channels, and the other way round.

    Args:
        inputs: Float `(n, h, w, c)`.
        upstream: Gradient of the outputs, float `(n, h, w, d)`.
        kernel_size: Odd height and width of the filters.

    Returns:
        Float `(height, width, c, d)`.
    """
    beyond = [(size // 2, size // 2) for size in kernel_size]
    padded = tf.pad(tf.transpose(inputs, (3, 1, 2, 0)), [(0, 0), *beyond, (0, 0)])
    found = tf.nn.conv2d(padded, tf.transpose(upstream, (1, 2, 0, 3)), 1, "VALID")
    return tf.transpose(found, (1, 2, 0, 3))


def _largest_small_map(inputs: tf.Tensor) -> float:
    """Side of the largest maps whose filter gradients are matrix products."""
    if inputs.dtype == tf.bfloat16 and computes_in_bfloat16() is False:
        return float("inf")
    return _LARGEST_SMALL_MAP.get(inputs.dtype.name, 0)


def filter_gradient_as_products(inputs: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """Gradient of the filters of a 3x3 convolution that is padded to the same size.

    Each of the nine places in a filter multiplies the maps by themselves, shifted; where the shift
    leads outside, there is nothing to multiply.

    Args:
        inputs: Float `(n, h, w, c)`.
        upstream: Gradient of the outputs, float `(n, h, w, d)`.

    Returns:
        Float `(3, 3, c, d)`.
    """

    def shifts(size):
        for shift in (-1, 0, 1):
            here, there = max(0, shift), max(0, -shift)
            yield slice(here, size - there), slice(there, size - here)

    channels, filters = inputs.shape[-1], upstream.shape[-1]
    products = [
        tf.matmul(
            tf.reshape(inputs[:, rows, columns], (-1, channels)),
            tf.reshape(upstream[:, rows_out, columns_out], (-1, filters)),
            transpose_a=True,
        )
        for rows, rows_out in shifts(inputs.shape[1])
        for columns, columns_out in shifts(inputs.shape[2])
    ]
    return tf.reshape(tf.stack(products), (3, 3, channels, filters))


@keras.saving.register_keras_serializable(package="dc_keras")
class Dense(keras.layers.Dense):
    """Keras's fully connected layer for `(n, c)`, with a faster gradient of its inputs on CPUs.

    TensorFlow multiplies by a transposed matrix at a third of its usual rate, but not so if the
    matrix stands first.
    """

    def call(self, inputs, training=None):
        outputs = multiply(inputs, _read(self.kernel))
        if self.bias is not None:
            outputs = keras.ops.add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)


def multiply(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """The product of `(n, c)` and `(c, d)`, with the gradients of `Dense`."""
    if tf.config.list_physical_devices("GPU"):
        return tf.matmul(inputs, kernel)
    return _multiply(inputs, kernel)


@tf.custom_gradient
def _multiply(inputs: tf.Tensor, kernel: tf.Tensor):
    def gradients(upstream):
        to_inputs = tf.transpose(tf.matmul(kernel, upstream, transpose_b=True))
        return to_inputs, tf.matmul(inputs, upstream, transpose_a=True)

    return tf.matmul(inputs, kernel), gradients


@keras.saving.register_keras_serializable(package="dc_keras")
class CosineHead(Dense):
    """A head whose logits are cosine similarities of features and rows, over a temperature.

    Length carries no meaning, neither of features nor of rows, so clusters compete on direction
    alone, as they do in k-means on descriptors of unit length. It has no bias.

    Args:
        units: Number of clusters.
        temperature: Divides the similarities.

    Reference:
        The prototypes of Caron et al. 2020, "Unsupervised Learning of Visual Features by
        Contrasting Cluster Assignments", section 3.1 and its DeepCluster-v2; theirs are the
        centroids and not learned.
    """

    def __init__(self, units, temperature=0.1, use_bias=False, **keyword_arguments):
        super().__init__(units, use_bias=use_bias, **keyword_arguments)
        self.temperature = temperature

    def call(self, inputs, training=None):
        kernel = keras.ops.normalize(_read(self.kernel), axis=0)
        return multiply(keras.ops.normalize(inputs), kernel) / self.temperature

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}


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


def front_end(image_size: int, use_sobel: bool):
    """The input and the fixed layers behind it.

    Args:
        image_size: Side of the input in pixels.
        use_sobel: Whether to end in gradients (2 channels) or in normalised colours (3).

    Returns:
        The input, uint8 `(n, image_size, image_size, 3)`, and what the first convolution sees.
    """
    images = keras.Input((image_size, image_size, 3), dtype="uint8", name="images")
    x = normalize()(images)
    return images, sobel()(x) if use_sobel else x


def conv_bn_relu(
    x, channels: int, suffix: str, seed: int, *, size: int = 3, strides: int = 1, padding="same"
):
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
    x,
    num_clusters: int,
    *,
    published_inputs: int,
    width: float,
    dropout: float,
    dropout_at_start: bool,
    scaled_init: bool,
    fc_norm: bool,
    projection: int,
    temperature: float | None,
    seed: int,
):
    """Two fully connected layers, `fc6` and `fc7`, perhaps a projection, and the `head`.

    Args:
        x: The last feature maps, float `(n, h, w, c)`.
        num_clusters: Outputs of the head.
        published_inputs: Inputs of fc6 in the published network.
        width: Multiplies the units of fc6 and fc7.
        dropout: Rate of the dropout between them.
        dropout_at_start: Whether the same dropout stands before fc6 too.
        scaled_init: Whether the layers start from `fc_stddev` instead of 0.01.
        fc_norm: Whether batch norm follows fc6 and fc7. The output of the second is then what is
            called "fc7".
        projection: Outputs of `projection`, two layers behind fc7 that clusters and head see in
            its place, so that fc7 need not give up what they do not ask for; 0 for none.
        temperature: Of a `CosineHead`, which sees fc7 without a ReLU; None for a linear head.
        seed: Initial weights derive from it.

    Returns:
        Logits, float `(n, num_clusters)`.

    Reference:
        Caron et al. 2018, section 4; for the projection, Chen et al. 2020, "A Simple Framework for
        Contrastive Learning of Visual Representations", section 4.2.
    """

    def initializer(x, name, published_fan_in):
        stddev = fc_stddev(x.shape[-1], published_fan_in) if scaled_init else FC_STDDEV
        return keras.initializers.RandomNormal(
            stddev=stddev, seed=derive_seed(seed, f"init {name}")
        )

    def he_normal(name):
        return keras.initializers.HeNormal(seed=derive_seed(seed, f"init {name}"))

    def dense(x, units, name, published_fan_in):
        kernel = initializer(x, name, published_fan_in)
        if not fc_norm:
            return Dense(units, kernel_initializer=kernel, name=name)(x)
        x = Dense(units, use_bias=False, kernel_initializer=kernel, name=f"{name}_linear")(x)
        return BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)

    units = scaled(FULLY_CONNECTED, width)
    x = keras.layers.Flatten(name="flatten")(x)
    if dropout_at_start:
        x = keras.layers.Dropout(dropout, seed=derive_seed(seed, "dropout5"), name="dropout5")(x)
    x = dense(x, units, "fc6", published_inputs)
    x = keras.layers.ReLU(name="relu6")(x)
    x = keras.layers.Dropout(dropout, seed=derive_seed(seed, "dropout"), name="dropout")(x)
    x = dense(x, units, "fc7", FULLY_CONNECTED)
    if projection:
        x = keras.layers.ReLU(name="projection_relu7")(x)
        x = Dense(
            max(1, units // 2),
            use_bias=False,
            kernel_initializer=he_normal("projection_hidden"),
            name="projection_hidden",
        )(x)
        x = BatchNormalization(momentum=0.9, epsilon=1e-5, name="projection_norm")(x)
        x = keras.layers.ReLU(name="projection_relu")(x)
        x = Dense(projection, kernel_initializer=he_normal("projection"), name="projection")(x)
    kernel = initializer(x, "head", FULLY_CONNECTED)
    if temperature is not None:
        return CosineHead(
            num_clusters,
            temperature,
            kernel_initializer=kernel,
            dtype=full_precision(),
            name="head",
        )(x)
    x = keras.layers.ReLU(name="relu7")(x)
    return Dense(num_clusters, kernel_initializer=kernel, dtype=full_precision(), name="head")(x)

"""Keras's layers with what they lack here: speed on CPUs, and a head of cosines."""

import keras
import tensorflow as tf

from dc_keras.models.cpu_gradients import convolve, multiply_on_cpu


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
    gradients are computed by Winograd's algorithm. docs/data/operations.csv has the rates.
    """

    def convolution_op(self, inputs, kernel):
        plain = (
            all(size % 2 for size in self.kernel_size)
            and (self.strides, self.dilation_rate, self.groups) == ((1, 1), (1, 1), 1)
            and self.padding == "same"
            and self.data_format == "channels_last"
        )
        if plain and not tf.config.list_physical_devices("GPU"):
            return convolve(inputs, read_variable(kernel))
        return super().convolution_op(inputs, kernel)


def read_variable(kernel) -> tf.Tensor:
    """A variable in the type of the computation: custom gradients take no variables."""
    return tf.convert_to_tensor(keras.ops.convert_to_tensor(kernel))


@keras.saving.register_keras_serializable(package="dc_keras")
class Dense(keras.layers.Dense):
    """Keras's fully connected layer for `(n, c)`, with a faster gradient of its inputs on CPUs.

    TensorFlow multiplies by a transposed matrix at a third of its usual rate, but not so if the
    matrix stands first.
    """

    def call(self, inputs, training=None):
        outputs = multiply(inputs, read_variable(self.kernel))
        if self.bias is not None:
            outputs = keras.ops.add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)


def multiply(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """The product of `(n, c)` and `(c, d)`, with the gradients of `Dense`."""
    if tf.config.list_physical_devices("GPU"):
        return tf.matmul(inputs, kernel)
    return multiply_on_cpu(inputs, kernel)


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
        kernel = keras.ops.normalize(read_variable(self.kernel), axis=0)
        return multiply(keras.ops.normalize(inputs), kernel) / self.temperature

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}

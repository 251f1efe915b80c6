"""Faster ways to gradients of convolutions and matrix products on CPUs.

TensorFlow's own ways leave much of a CPU unused, most of all on small maps and without AVX-512.
docs/data/operations.csv has the rates.
"""

import tensorflow as tf

from dc_keras.machine import computes_in_bfloat16
from dc_keras.models import winograd

# Side of the largest maps on which matrix products are faster, by type: measured on CPUs. Those
# without 16-bit instructions take ten times as long for bfloat16's filter gradients on any map.
_LARGEST_SMALL_MAP = {"float32": 4, "float64": 4, "bfloat16": 14}
# Channels from which on the gradient of filters is faster as a convolution: measured with AVX2.
_CHANNELS_TO_CONVOLVE = 32


@tf.custom_gradient
def convolve(inputs: tf.Tensor, kernel: tf.Tensor):
    """A convolution without strides that is padded to the same size.

    Args:
        inputs: Float `(n, h, w, c)`.
        kernel: Float `(height, width, c, d)`, of odd height and width.

    Returns:
        Float `(n, h, w, d)`.
    """

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


@tf.custom_gradient
def multiply_on_cpu(inputs: tf.Tensor, kernel: tf.Tensor):
    """The product of `(n, c)` and `(c, d)`."""

    def gradients(upstream):
        to_inputs = tf.transpose(tf.matmul(kernel, upstream, transpose_b=True))
        return to_inputs, tf.matmul(inputs, upstream, transpose_a=True)

    return tf.matmul(inputs, kernel), gradients

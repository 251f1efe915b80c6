"""Gradients of convolutions and products in other ways, against TensorFlow's own."""

import numpy as np
import pytest
import tensorflow as tf

from dc_keras.models import cpu_gradients
from dc_keras.models.cpu_gradients import (
    convolve,
    filter_gradient_as_convolution,
    filter_gradient_as_products,
    multiply_on_cpu,
)
from dc_keras.models.layers import Convolution


@pytest.mark.parametrize("shape", [(3, 1, 1, 2), (5, 2, 2, 3), (4, 4, 3, 5), (2, 1, 6, 4)])
@pytest.mark.parametrize("size", [(3, 3), (5, 1)], ids=str)
def test_filter_gradients_are_tensorflows(rng, shape, size):
    inputs = tf.constant(rng.normal(size=shape))
    kernel = tf.constant(rng.normal(size=(*size, shape[-1], 7)))
    upstream = tf.constant(rng.normal(size=(*shape[:3], 7)))
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        outputs = tf.nn.conv2d(inputs, kernel, 1, "SAME")
    expected = tape.gradient(outputs, kernel, upstream)
    found = [filter_gradient_as_convolution(inputs, upstream, size)]
    if size == (3, 3):
        found.append(filter_gradient_as_products(inputs, upstream))
    for one in found:
        np.testing.assert_allclose(one, expected, atol=1e-12)


@pytest.mark.parametrize("images", [None, 0])
def test_a_batch_without_images_has_gradients_of_zero(images):
    """Whether or not the graph knows that there are none."""
    kernel = tf.ones((3, 3, 32, 32))

    @tf.function(input_signature=[tf.TensorSpec((images, 8, 8, 32))], autograph=False)
    def gradient(inputs):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            outputs = convolve(inputs, kernel)
        return tape.gradient(outputs, kernel)

    assert not gradient(tf.zeros((0, 8, 8, 32))).numpy().any()


def test_filter_gradients_of_16_bit_numbers_without_instructions_for_them(rng, monkeypatch):
    """On large maps too, they are the products, which take no way of their own for these."""
    monkeypatch.setattr(cpu_gradients, "computes_in_bfloat16", lambda: False)
    layer = Convolution(6, 3, padding="same", dtype="mixed_bfloat16")
    inputs = tf.cast(rng.normal(size=(3, 20, 20, 4)), tf.bfloat16)
    upstream = tf.cast(rng.normal(size=(3, 20, 20, 6)), tf.bfloat16)
    with tf.GradientTape() as tape:
        outputs = layer(inputs)
    found = tape.gradient(outputs, layer.kernel, upstream)
    np.testing.assert_array_equal(
        found, tf.cast(filter_gradient_as_products(inputs, upstream), tf.float32)
    )


def test_products_and_their_gradients_are_tensorflows(rng):
    arrays = rng.normal(size=(5, 7)), rng.normal(size=(7, 4)), rng.normal(size=(5, 4))
    inputs, kernel, upstream = map(tf.constant, arrays)
    found = []
    for multiply in (multiply_on_cpu, tf.matmul):
        with tf.GradientTape() as tape:
            tape.watch([inputs, kernel])
            outputs = multiply(inputs, kernel)
        found.append([outputs, *tape.gradient(outputs, [inputs, kernel], upstream)])
    for ours, tensorflows in zip(*found, strict=True):
        np.testing.assert_allclose(ours, tensorflows, atol=1e-12)

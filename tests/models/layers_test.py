"""Layers of our own, against those of Keras and written-out formulas."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dc_keras.models.layers import BatchNormalization, Convolution, CosineHead, Dense


def outputs_and_gradients(layer, inputs, graph):
    """Outputs of a layer, and gradients of the sum of their cubes, of inputs and weights."""

    def compute():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs)
            loss = tf.reduce_sum(outputs**3)
        return [outputs, *tape.gradient(loss, [inputs, *layer.trainable_variables])]

    return tf.function(compute)() if graph else compute()


def assert_same_but_for_rounding(ours, keras_own):
    for one, other in zip(ours, keras_own, strict=True):
        # float32 sums in another order.
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max())


@pytest.mark.parametrize("shape", [(8, 5, 5, 16), (2, 1, 1, 3), (6, 7)])
def test_batch_norm_is_kerass(rng, shape):
    """Outputs, gradients and running statistics, in training and behind it."""
    inputs = tf.constant(rng.normal(1, 3, shape).astype("float32"))
    found = []
    for layer_class in (BatchNormalization, keras.layers.BatchNormalization):
        layer = layer_class(momentum=0.9, epsilon=1e-5)
        layer.build(shape)
        layer.gamma.assign(np.linspace(0.5, 2, shape[-1]))
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
            loss = tf.reduce_sum(outputs**3)
        gradients = tape.gradient(loss, [inputs, *layer.trainable_variables])
        afterwards = layer(inputs, training=False)
        found.append([outputs, *gradients, *layer.variables, afterwards])
    for ours, kerass in zip(*found, strict=True):
        # float32 sums of up to 200 values, in another order.
        scale = max(1.0, np.abs(kerass).max())
        np.testing.assert_allclose(ours, kerass, atol=1e-5 * scale)


def test_frozen_batch_norm_uses_its_running_statistics(rng):
    layer = BatchNormalization(momentum=0.9, epsilon=1e-5)
    inputs = rng.normal(5, 3, (4, 2, 2, 3)).astype("float32")
    layer(inputs, training=True)
    layer.trainable = False
    before = [variable.numpy() for variable in layer.variables]
    np.testing.assert_array_equal(layer(inputs, training=True), layer(inputs, training=False))
    for was, now in zip(before, layer.variables, strict=True):
        np.testing.assert_array_equal(was, now.numpy())


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize(
    ("side", "size", "padding", "strides"),
    [
        (2, 3, "same", 1),
        (4, 3, "same", 1),
        (5, 3, "same", 1),
        (7, 5, "same", 1),
        (3, (1, 5), "same", 1),
        # Keras's own: filters of an even side are not padded alike on both.
        (6, 2, "same", 1),
        (6, 3, "same", 2),
        (6, 3, "valid", 1),
    ],
)
@pytest.mark.parametrize("channels", [4, 32])
def test_convolution_is_kerass(rng, side, size, padding, strides, channels, graph):
    """Outputs and all gradients, on maps small and large, eagerly and in a graph."""
    inputs = tf.constant(rng.normal(size=(3, side, side, channels)).astype("float32"))
    found = []
    for layer_class in (Convolution, keras.layers.Conv2D):
        layer = layer_class(6, size, padding=padding, strides=strides)
        layer.build(inputs.shape)
        layer.kernel.assign(np.random.default_rng(5).normal(size=layer.kernel.shape))
        found.append(outputs_and_gradients(layer, inputs, graph))
    assert_same_but_for_rounding(*found)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("options", [{}, {"use_bias": False}, {"activation": "tanh"}])
def test_dense_is_kerass(rng, options, graph):
    inputs = tf.constant(rng.normal(size=(5, 7)).astype("float32"))
    found = []
    for layer_class in (Dense, keras.layers.Dense):
        layer = layer_class(4, **options)
        layer.build(inputs.shape)
        for number, variable in enumerate(layer.trainable_variables):
            variable.assign(np.random.default_rng(number).normal(size=variable.shape))
        found.append(outputs_and_gradients(layer, inputs, graph))
    assert_same_but_for_rounding(*found)


@pytest.fixture
def cosine_head(rng):
    """A head of three rows, and its kernel."""
    head, kernel = CosineHead(3, temperature=0.2), rng.normal(size=(4, 3))
    head.build((None, 4))
    head.kernel.assign(kernel)
    return head, kernel


def test_cosine_head_by_its_formula(rng, cosine_head):
    head, kernel = cosine_head
    features = rng.normal(size=(5, 4))
    lengths = np.linalg.norm(features, axis=1)[:, None] * np.linalg.norm(kernel, axis=0)
    expected = features @ kernel / lengths / 0.2
    np.testing.assert_allclose(head(features.astype("float32")), expected, atol=1e-5)


def test_lengths_mean_nothing_to_a_cosine_head(rng, cosine_head):
    head, kernel = cosine_head
    features = rng.normal(size=(5, 4)).astype("float32")
    before = head(features)
    head.kernel.assign(kernel * 7)
    np.testing.assert_allclose(head(3 * features), before, atol=1e-5)


def test_a_cosine_head_takes_features_of_zero_length(cosine_head):
    assert np.isfinite(cosine_head[0](np.zeros((1, 4), "float32"))).all()

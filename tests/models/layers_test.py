"""Layers of our own, against those of Keras and written-out formulas."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dc_keras.models import layers
from dc_keras.models.layers import (
    BatchNormalization,
    Convolution,
    CosineHead,
    Dense,
    filter_gradient_as_convolution,
    filter_gradient_as_products,
)
from dc_keras.models.vgg import build_vgg16


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


@pytest.mark.parametrize("images", [None, 0])
def test_a_batch_without_images_has_gradients_of_zero(images):
    """Whether or not the graph knows that there are none."""
    layer = Convolution(32, 3, padding="same")
    layer.build((images, 8, 8, 32))

    @tf.function(input_signature=[tf.TensorSpec((images, 8, 8, 32))], autograph=False)
    def gradient(inputs):
        with tf.GradientTape() as tape:
            outputs = layer(inputs)
        return tape.gradient(outputs, layer.kernel.value)

    assert not gradient(tf.zeros((0, 8, 8, 32))).numpy().any()


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


def test_filter_gradients_of_16_bit_numbers_without_instructions_for_them(rng, monkeypatch):
    """On large maps too, they are the products, which take no way of their own for these."""
    monkeypatch.setattr(layers, "computes_in_bfloat16", lambda: False)
    layer = Convolution(6, 3, padding="same", dtype="mixed_bfloat16")
    inputs = tf.cast(rng.normal(size=(3, 20, 20, 4)), tf.bfloat16)
    upstream = tf.cast(rng.normal(size=(3, 20, 20, 6)), tf.bfloat16)
    with tf.GradientTape() as tape:
        outputs = layer(inputs)
    found = tape.gradient(outputs, layer.kernel, upstream)
    np.testing.assert_array_equal(
        found, tf.cast(filter_gradient_as_products(inputs, upstream), tf.float32)
    )


def test_cosine_head_by_its_formula(rng):
    features, kernel = rng.normal(size=(5, 4)), rng.normal(size=(4, 3))
    head = CosineHead(3, temperature=0.2)
    head.build((None, 4))
    head.kernel.assign(kernel)
    lengths = np.linalg.norm(features, axis=1)[:, None] * np.linalg.norm(kernel, axis=0)
    expected = features @ kernel / lengths / 0.2
    np.testing.assert_allclose(head(features.astype("float32")), expected, atol=1e-5)
    # Neither length counts.
    head.kernel.assign(kernel * 7)
    np.testing.assert_allclose(head(3 * features.astype("float32")), expected, atol=1e-5)
    assert np.isfinite(head(np.zeros((1, 4), "float32"))).all()


def test_classifier_with_batch_norm_and_cosine_head(rng, tmp_path):
    network = build_vgg16(32, 5, width=0.0625, fc_norm=True, temperature=0.1)
    names = [layer.name for layer in network.layers]
    start = names.index("flatten")
    assert names[start:] == [
        *("flatten", "fc6_linear", "fc6", "relu6", "dropout", "fc7_linear", "fc7", "head")
    ]
    images = rng.integers(0, 256, (3, 32, 32, 3), dtype="uint8")
    logits = np.asarray(network(images, training=False))
    assert np.abs(logits).max() <= 10 + 1e-4  # cosines over 0.1
    network.save(tmp_path / "network.keras")
    from dc_keras.models.deepcluster import load_network

    again = load_network(tmp_path / "network.keras")
    np.testing.assert_array_equal(logits, np.asarray(again(images, training=False)))


@pytest.mark.parametrize("temperature", [None, 0.1])
def test_a_projection_behind_fc7(temperature):
    network = build_vgg16(32, 5, width=0.0625, projection=7, temperature=temperature)
    names = [layer.name for layer in network.layers]
    behind = ["projection_relu7", "projection_hidden", "projection_norm", "projection_relu"]
    behind += ["projection", *([] if temperature else ["relu7"]), "head"]
    assert names[names.index("fc7") + 1 :] == behind
    assert network.get_layer("projection_hidden").kernel.shape == (256, 128)
    assert network.get_layer("head").kernel.shape == (7, 5)

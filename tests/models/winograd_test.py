"""Winograd's algorithm against TensorFlow's convolution, in float64 and in float32."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from dc_keras.models import winograd
from dc_keras.models.layers import Convolution


def random_layer(rng, shape, filters, dtype="float64"):
    """Inputs, kernel with outputs of about one, and a gradient of the outputs."""
    kernel = rng.normal(size=(3, 3, shape[3], filters)) / np.sqrt(9 * shape[3])
    arrays = rng.normal(size=shape), kernel, rng.normal(size=(*shape[:3], filters))
    return [tf.constant(array, dtype) for array in arrays]


def by_tensorflow(inputs, kernel, upstream):
    """Outputs and both gradients."""
    with tf.GradientTape() as tape:
        tape.watch([inputs, kernel])
        outputs = tf.nn.conv2d(inputs, kernel, 1, "SAME")
    return [outputs, *tape.gradient(outputs, [inputs, kernel], upstream)]


def by_winograd(inputs, kernel, upstream):
    outputs = winograd.convolve(inputs, kernel)
    return [outputs, *winograd.gradients(inputs, kernel, upstream)]


def largest_differences(layer):
    """In units of the largest number, of outputs and both gradients."""
    return [
        np.abs(ours - other).max() / np.abs(other).max()
        for ours, other in zip(by_winograd(*layer), by_tensorflow(*layer), strict=True)
    ]


@settings(max_examples=30)
@given(
    *(st.integers(1, 3), st.integers(1, 11), st.integers(1, 11)),
    *(st.integers(1, 4), st.integers(1, 4), st.integers(0, 99)),
)
def test_same_as_the_convolution_on_maps_of_any_shape(
    count, height, width, channels, filters, seed
):
    """Sides that are no multiples of a tile end in parts of tiles."""
    layer = random_layer(np.random.default_rng(seed), (count, height, width, channels), filters)
    # Sums of up to 36 numbers in float64, whose terms are up to 100 times as large as the result.
    for difference in largest_differences(layer):
        assert difference < 1e-12


def test_one_dimension_on_paper():
    """Four outputs of a row 1, 2, 3, ... with weights 1, 10, 100 behind each other."""
    row, weights = np.arange(1.0, 7), np.array([1.0, 10, 100])
    points = (winograd._FROM_INPUTS @ row) * (winograd._FROM_WEIGHTS @ weights)
    np.testing.assert_allclose(winograd._TO_OUTPUTS @ points, [321, 432, 543, 654], rtol=1e-12)


@pytest.mark.parametrize("channels", [16, 256])
def test_what_it_costs_in_float32(rng, channels):
    """Up to 1.6e-5 was seen; TensorFlow's own is off by up to 5e-7."""
    layer = random_layer(rng, (8, 8, 8, channels), channels, "float32")
    exact = by_tensorflow(*(tf.cast(array, tf.float64) for array in layer))
    for ours, other in zip(by_winograd(*layer), exact, strict=True):
        assert np.abs(ours.numpy() - other).max() < 3e-5 * np.abs(other).max()


@pytest.mark.parametrize("graph", [False, True])
def test_layers_of_many_channels_are_computed_so(rng, graph, monkeypatch):
    inputs, kernel, upstream = random_layer(rng, (32, 8, 8, 256), 256, "float32")
    layer = Convolution(256, 3, padding="same")
    layer.build(inputs.shape)
    layer.kernel.assign(kernel)
    called = []
    for name in ("convolve", "gradients"):
        original = getattr(winograd, name)

        def noted(*arguments, name=name, original=original):
            called.append(name)
            return original(*arguments)

        monkeypatch.setattr(winograd, name, noted)

    def compute():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs)
        return [outputs, *tape.gradient(outputs, [inputs, layer.kernel], upstream)]

    found = tf.function(compute)() if graph else compute()
    assert called == ["convolve", "gradients"]
    for ours, other in zip(found, by_tensorflow(inputs, kernel, upstream), strict=True):
        assert np.abs(ours - other).max() < 3e-5 * np.abs(other).max()


@pytest.mark.parametrize(
    ("shape", "filters", "forward", "back"),
    [
        ((128, 8, 8, 256), 256, True, True),
        ((128, 4, 4, 512), 512, True, True),
        ((8, 14, 14, 512), 512, True, True),
        # Few channels: there is less to save.
        ((256, 8, 8, 128), 128, False, True),
        ((256, 8, 8, 64), 64, False, False),
        # Few tiles: the kernel's points alone take longer.
        ((1, 14, 14, 512), 512, False, False),
        # All of such a map is its border.
        ((128, 2, 2, 512), 512, False, False),
        # So large that the change to points takes longer.
        ((8, 112, 112, 256), 256, False, False),
        # Nobody knows how many.
        ((None, 8, 8, 256), 256, False, False),
        ((128, None, 8, 256), 256, False, False),
    ],
)
def test_when_it_saves_time(shape, filters, forward, back):
    inputs = tf.TensorSpec(shape)
    kernel = tf.TensorSpec((3, 3, shape[3], filters))
    assert winograd.saves_time(inputs, kernel, back=False) == forward
    assert winograd.saves_time(inputs, kernel, back=True) == back


def test_sixteen_bits_are_too_few():
    inputs = tf.TensorSpec((128, 8, 8, 256), tf.bfloat16)
    assert not winograd.saves_time(inputs, tf.TensorSpec((3, 3, 256, 256)), back=True)
    assert not winograd.saves_time(
        tf.TensorSpec((128, 8, 8, 256)), tf.TensorSpec((5, 5, 256, 256)), back=True
    )

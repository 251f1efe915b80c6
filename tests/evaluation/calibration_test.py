"""Batch norm statistics of a random network: averages on paper, and weights that stay."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dc_keras.evaluation.calibration import calibrate
from dc_keras.models.architectures import build_network
from dc_keras.models.layers import BatchNormalization
from dc_keras.models.options import NetworkOptions


@pytest.fixture
def network():
    return build_network(
        NetworkOptions(image_size=32, width=1 / 64, fc_norm=True, dropout=0.5), num_clusters=5
    )


@pytest.fixture
def batches(rng):
    return [
        tf.constant(rng.integers(0, 256, (size, 32, 32, 3), dtype="uint8")) for size in (8, 6, 7)
    ]


def statistics_of(network):
    layers = [one for one in network.layers if isinstance(one, keras.layers.BatchNormalization)]
    return {id(variable) for one in layers for variable in (one.moving_mean, one.moving_variance)}


def test_statistics_on_paper():
    """One feature with the batches 1, 3 and 4, 8: means 2 and 6, variances 1 and 4."""
    images = keras.Input((1,))
    norm = BatchNormalization(momentum=0.9, name="norm")
    network = keras.Model(images, norm(images))
    calibrate(network, [tf.constant([[1.0], [3.0]]), tf.constant([[4.0], [8.0]])])
    assert norm.moving_mean.numpy().tolist() == [4.0]
    assert norm.moving_variance.numpy().tolist() == [2.5]
    assert norm.momentum == 0.9


def test_weights_stay_bit_for_bit(network, batches):
    before = [variable.numpy() for variable in network.weights]
    calibrate(network, batches)
    statistics = statistics_of(network)
    # 13 convolutions and two fully connected layers.
    assert len(statistics) == 30
    for variable, value in zip(network.weights, before, strict=True):
        assert np.array_equal(variable.numpy(), value) == (id(variable) not in statistics), (
            variable.path
        )


def test_a_layer_sees_what_the_batches_become_before_it(network, batches):
    """The first layer's input does not depend on other statistics: it can be computed apart."""
    calibrate(network, batches)
    maps = keras.Model(network.input, network.get_layer("conv1_1").output)
    outputs = [maps(batch).numpy().astype(np.float64) for batch in batches]
    norm = network.get_layer("bn1_1")
    mean = np.mean([one.mean(axis=(0, 1, 2)) for one in outputs], axis=0)
    variance = np.mean([one.var(axis=(0, 1, 2)) for one in outputs], axis=0)
    # Sums of some thousand float32 numbers.
    np.testing.assert_allclose(norm.moving_mean, mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, variance, rtol=1e-4)


def test_statistics_are_those_of_keras_at_momentum_1_minus_1_over_t(network, batches):
    """Its own running average with falling weights is the plain one, dropout included."""
    other = keras.models.clone_model(network)
    other.set_weights(network.get_weights())
    for one in (network, other):
        one.get_layer("dropout").seed_generator.state.assign([1, 2])
    calibrate(network, batches)
    for number, batch in enumerate(batches, start=1):
        for layer in other.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 1 - 1 / number
        other(batch, training=True)
    for ours, theirs in zip(network.weights, other.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5, err_msg=ours.path)


def test_what_calibration_follows_from_is_repeated(network, batches):
    other = keras.models.clone_model(network)
    other.set_weights(network.get_weights())
    for one in (network, other):
        calibrate(one, batches)
    for ours, theirs in zip(network.weights, other.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_no_batches_are_refused_and_change_nothing(network):
    before = network.get_weights()
    with pytest.raises(ValueError, match="no batches"):
        calibrate(network, [])
    for now, then in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)

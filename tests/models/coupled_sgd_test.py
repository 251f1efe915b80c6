"""The optimizer against PyTorch's rule and Keras's, and against numbers on paper."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dc_keras.models.coupled_sgd import CoupledSGD


def test_coupled_sgd_is_pytorchs_rule(rng):
    weights = rng.normal(size=6).astype("float32")
    gradients = rng.normal(size=(4, 6)).astype("float32")
    variable = keras.Variable(weights)
    optimizer = CoupledSGD(0.1, 0.9, 0.01)
    expected, velocity = weights.astype("float64"), 0.0
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient)], [variable])
        # torch.optim.SGD: d = g + wd * w; buf = mu * buf + d; w = w - lr * buf.
        velocity = 0.9 * velocity + gradient + 0.01 * expected
        expected = expected - 0.1 * velocity
    # float32 rounding over four steps on values of size 1.
    np.testing.assert_allclose(np.asarray(variable), expected, atol=1e-6)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_without_decay_it_is_kerass_rule(rng, momentum, nesterov):
    """Also where the learning rate changes, which PyTorch's momentum would not remember."""
    weights = rng.normal(size=6).astype("float32")
    found = []
    for optimizer_class in (CoupledSGD, keras.optimizers.SGD):
        optimizer = optimizer_class(0.1, momentum, nesterov=nesterov)
        variable = keras.Variable(weights)
        for step, gradient in enumerate(np.random.default_rng(1).normal(size=(4, 6))):
            optimizer.learning_rate = 0.1 / (1 + step)
            optimizer.apply([tf.constant(gradient, tf.float32)], [variable])
        found.append([np.asarray(one) for one in (variable, *optimizer.variables)])
    for ours, kerass in zip(*found, strict=True):
        # float32 rounding over four steps on values of size 1.
        np.testing.assert_allclose(ours, kerass, atol=1e-6)


def test_weight_decay_is_not_keras_decoupled_one():
    coupled, decoupled = keras.Variable([1.0]), keras.Variable([1.0])
    zero = tf.constant([0.0])
    first = CoupledSGD(0.1, 0.9, 0.5)
    second = keras.optimizers.SGD(0.1, 0.9, weight_decay=0.5)
    for _ in range(2):
        first.apply([zero], [coupled])
        second.apply([zero], [decoupled])
    # Coupled: w1 = 1 - .05 = .95; v = .9 * -.05 - .1 * .5 * .95 = -.0925; w2 = .8575.
    assert float(coupled.numpy()[0]) == pytest.approx(0.8575, abs=1e-6)
    # Decoupled: each step multiplies by 1 - .05.
    assert float(decoupled.numpy()[0]) == pytest.approx(0.9025, abs=1e-6)


def test_its_settings_survive_saving():
    copy = CoupledSGD.from_config(CoupledSGD(0.1, 0.9, 0.01).get_config())
    assert (float(copy.learning_rate), copy.momentum, copy.l2) == (pytest.approx(0.1), 0.9, 0.01)

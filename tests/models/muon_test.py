"""The optimizer against numbers on paper, singular value decompositions and Keras's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dc_keras.models.coupled_sgd import CoupledSGD
from dc_keras.models.muon import Muon, even_singular_values, turned


@pytest.mark.parametrize("shape", [(7, 7), (40, 12), (12, 40), (1, 5), (5, 1)])
def test_singular_values_become_even_and_vectors_stay(rng, shape):
    matrix = rng.normal(size=shape).astype("float32")
    found = even_singular_values(tf.constant(matrix)).numpy()
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    values = left.T @ found @ right.T
    # Jordan et al. give 0.7 to 1.2 for what they start from; a square matrix has one near 0.
    assert np.diag(values).max() < 1.25
    assert np.median(np.diag(values)) > 0.65
    # Vectors of singular values that lie close are float32's to mix.
    np.testing.assert_allclose(values, np.diag(np.diag(values)), atol=2e-3)


@pytest.mark.parametrize("shape", [(40, 12), (12, 40)])
def test_they_are_those_of_kerass_iteration(rng, shape):
    matrix = tf.constant(rng.normal(size=shape), tf.float32)
    kerass = keras.optimizers.Muon().zeropower_via_newtonschulz5(matrix, 5)
    # The same polynomials, multiplied in another order.
    np.testing.assert_allclose(even_singular_values(matrix), kerass, atol=2e-3)


def test_a_rare_direction_is_learned_as_fast_as_a_frequent_one():
    gradient = tf.linalg.diag([1.0, 0.1, 0.01])
    found = np.diag(even_singular_values(gradient))
    assert found.min() > 0.65 * found.max()


def test_a_turn_by_a_known_angle():
    # Against a rotation the identity turns by the arctangent of the rate.
    gradient = tf.constant([[0.0, -3.0], [3.0, 0.0]])
    cos, sin = np.cos(np.arctan(0.2)), np.sin(np.arctan(0.2))
    found = turned(tf.eye(2), gradient, 0.2)
    np.testing.assert_allclose(found, [[cos, sin], [-sin, cos]], atol=1e-6)


def test_a_gradient_of_zeros_changes_nothing(rng):
    kernel = tf.constant(rng.normal(size=(3, 3, 2, 4)), tf.float32)
    np.testing.assert_allclose(turned(kernel, tf.zeros_like(kernel), 0.1), kernel, rtol=1e-6)


def test_kernels_keep_their_norm_whatever_the_gradient(rng):
    kernel = keras.Variable(rng.normal(size=(3, 3, 4, 6)).astype("float32"))
    before = float(tf.norm(kernel))
    optimizer = Muon(0.1, 0.9, 1e-2)
    for scale in (1e-6, 1.0, 1e6):
        optimizer.apply([tf.constant(scale * rng.normal(size=(3, 3, 4, 6)), tf.float32)], [kernel])
        assert float(tf.norm(kernel)) == pytest.approx(before, rel=1e-5)


def test_the_momentum_is_nesterovs(rng):
    weights, *gradients = rng.normal(size=(4, 3, 5)).astype("float32")
    kernel, momentum = keras.Variable(weights), np.zeros((3, 5), "float32")
    optimizer, expected = Muon(0.1, 0.9), tf.constant(weights)
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient)], [kernel])
        momentum = 0.9 * momentum + gradient
        expected = turned(expected, tf.constant(gradient + 0.9 * momentum), 0.1)
    np.testing.assert_allclose(np.asarray(kernel), expected, atol=1e-5)


def test_without_momentum_there_is_no_state(rng):
    weights, gradient = rng.normal(size=(2, 3, 5)).astype("float32")
    kernel, optimizer = keras.Variable(weights), Muon(0.1)
    optimizer.apply([tf.constant(gradient)], [kernel])
    expected = turned(tf.constant(weights), tf.constant(gradient), 0.1)
    np.testing.assert_allclose(np.asarray(kernel), expected, atol=1e-6)


def test_vectors_learn_by_sgd(rng):
    weights = rng.normal(size=6).astype("float32")
    found = []
    for optimizer in (Muon(0.1, 0.9, 0.01), CoupledSGD(0.1, 0.9, 0.01)):
        vector = keras.Variable(weights)
        for gradient in np.random.default_rng(1).normal(size=(3, 6)):
            optimizer.apply([tf.constant(gradient, tf.float32)], [vector])
        found.append(np.asarray(vector))
    np.testing.assert_array_equal(*found)


def test_replicas_turn_alike(rng, two_devices):
    weights, gradient = rng.normal(size=(2, 4, 3)).astype("float32")
    strategy = tf.distribute.MirroredStrategy(two_devices)
    with strategy.scope():
        kernel = keras.Variable(weights)
        optimizer = Muon(0.1, 0.9)
        optimizer.build([kernel])

    def step():
        # Gradients of replicas are added up.
        optimizer.apply([tf.constant(gradient) / 2], [kernel])

    tf.function(lambda: strategy.run(step))()
    expected = turned(tf.constant(weights), tf.constant(gradient), 0.1)
    for of_replica in strategy.experimental_local_results(kernel.value):
        np.testing.assert_allclose(of_replica, expected, atol=1e-5)


def test_compiled_by_xla_and_with_a_scaled_loss_it_is_the_same(rng):
    weights, gradient = rng.normal(size=(2, 3, 3, 4, 8)).astype("float32")

    def after_a_step(wrapped, *, xla=False):
        kernel, optimizer = keras.Variable(weights), wrapped(Muon(0.1, 0.9))
        optimizer.build([kernel])

        def step():
            optimizer.apply([optimizer.scale_loss(tf.constant(gradient))], [kernel])

        tf.function(step, jit_compile=xla)()
        return np.asarray(kernel)

    plain = after_a_step(lambda optimizer: optimizer)
    # Fused operations round differently.
    compiled = after_a_step(lambda optimizer: optimizer, xla=True)
    np.testing.assert_allclose(compiled, plain, atol=1e-5)
    scaled = after_a_step(keras.optimizers.LossScaleOptimizer)
    np.testing.assert_allclose(scaled, plain, atol=1e-5)


def test_its_settings_survive_saving():
    copy = Muon.from_config(Muon(0.1, 0.9, 0.01).get_config())
    assert (float(copy.learning_rate), copy.momentum, copy.l2) == (pytest.approx(0.1), 0.9, 0.01)

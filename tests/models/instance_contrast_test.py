"""Telling images from each other by some views: the loss against numbers and a plain loop."""

import math

import numpy as np
import pytest
import tensorflow as tf

from dc_keras.machine import make_strategy
from dc_keras.models.instance_contrast import instance_contrast


def test_two_images_by_hand():
    # Views of an image agree, images are at right angles: softmax over (1 / 0.5, 0, 0).
    features = np.array([[2, 0], [5, 0], [0, 1], [0, 3]], "float32")
    losses = instance_contrast(features, np.array([0, 0, 1, 1]), 0.5)
    np.testing.assert_allclose(losses, [-math.log(math.e**2 / (math.e**2 + 2))] * 4, rtol=1e-6)


def test_images_of_one_cluster_are_not_told_apart():
    features = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], "float32")
    # Only the other view is left to find.
    np.testing.assert_allclose(instance_contrast(features, np.zeros(4, int), 0.1), 0, atol=1e-6)


@pytest.mark.parametrize("views", [2, 3, 4])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_against_a_loop(rng, temperature, views):
    features = rng.normal(size=(12, 5)).astype("float32")
    labels = np.repeat(rng.integers(0, 3, 12 // views), views)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = []
    for row in range(12):
        rivals = [r for r in range(12) if labels[r] != labels[row]]
        of_rivals = sum(math.exp(unit[row] @ unit[r] / temperature) for r in rivals)
        of_others = [
            math.exp(unit[row] @ unit[r] / temperature)
            for r in range(12)
            if r != row and r // views == row // views
        ]
        found = [-math.log(score / (score + of_rivals)) for score in of_others]
        expected.append(sum(found) / (views - 1))
    # Float32 similarities of up to 10.
    np.testing.assert_allclose(
        instance_contrast(features, labels, temperature, views), expected, atol=1e-5
    )


def test_features_of_zero_length_stay_finite():
    assert np.isfinite(instance_contrast(np.zeros((4, 3), "float32"), np.arange(4) // 2, 0.2)).all()


@pytest.mark.parametrize("views", [2, 3])
def test_two_replicas_see_each_others_images(rng, two_devices, views):
    """Losses and gradients of a batch on two replicas are those of the whole batch on one."""
    features = tf.constant(rng.normal(size=(12, 5)).astype("float32"))
    labels = tf.constant(np.repeat(rng.integers(0, 3, 12 // views), views))
    with tf.GradientTape() as tape:
        tape.watch(features)
        whole = instance_contrast(features, labels, 0.2, views)
        mean = tf.reduce_mean(whole)
    expected = tape.gradient(mean, features)

    strategy = make_strategy("mirrored", virtual_devices=2)

    def halves_of(whole):
        return strategy.experimental_distribute_values_from_function(
            lambda context: whole[6 * context.replica_id_in_sync_group :][:6]
        )

    @tf.function
    def on_replica(features, labels):
        with tf.GradientTape() as tape:
            tape.watch(features)
            losses = instance_contrast(features, labels, 0.2, views)
            # As in training: the mean of the batch, of which each replica has a part.
            mean = tf.reduce_mean(losses) / 2
        return losses, tape.gradient(mean, features)

    losses, gradients = (
        np.concatenate(strategy.experimental_local_results(part))
        for part in strategy.run(on_replica, args=(halves_of(features), halves_of(labels)))
    )
    # Sums of float32 in another order.
    np.testing.assert_allclose(losses, whole, rtol=1e-5)
    np.testing.assert_allclose(gradients, expected, rtol=1e-4, atol=1e-7)

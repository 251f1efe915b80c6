"""Features in order and on all replicas, and the part of a network that they come from."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dc_keras.machine import make_strategy
from dc_keras.models.feature_extractor import FEATURES, FeatureExtractor, feature_model
from dc_keras.models.options import NetworkOptions
from dc_keras.models.vgg import build_vgg16


def in_batches(images, batch_size):
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return tf.data.Dataset.from_tensor_slices(images).batch(batch_size).with_options(options)


def numbered_images(n):
    """Images that hold their number."""
    images = np.zeros((n, 2, 2, 3), "uint8")
    images[:, 0, 0, 0] = np.arange(n)
    return images


@pytest.mark.parametrize("strategy", ["one", "mirrored"])
@pytest.mark.parametrize("n", [24, 29, 25], ids=["even", "uneven", "last batch of one"])
def test_row_i_is_image_i(two_devices, strategy, n):
    with make_strategy(strategy, 2).scope():
        inputs = keras.Input((2, 2, 3), dtype="uint8")
        x = keras.layers.Rescaling(1.0)(inputs)
        x = keras.layers.Dropout(0.9)(x)  # must be inactive
        model = keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(x))
        extractor = FeatureExtractor(model)
    batches = list(extractor(in_batches(numbered_images(n), 8)))
    assert [len(batch) for batch in batches] == [8] * (n // 8) + [n % 8] * (n % 8 > 0)
    np.testing.assert_array_equal(np.concatenate(batches)[:, 0], np.arange(n))


@pytest.mark.parametrize("n", [1, 9])
def test_a_replica_without_images_does_no_harm(two_devices, n):
    """The last batch is too small for both replicas of a real network."""
    images = np.random.default_rng(n).integers(0, 256, (n, 32, 32, 3), dtype="uint8")
    rows = []
    for strategy in ("one", "mirrored"):
        with make_strategy(strategy, 2).scope():
            network = build_vgg16(NetworkOptions(image_size=32, width=0.0625), 4)
            extractor = FeatureExtractor(feature_model(network, "relu5_3", "fc7"))
        batches = extractor(in_batches(images, 8))
        rows.append([np.concatenate(parts) for parts in zip(*batches, strict=True)])
    for one, mirrored in zip(*rows, strict=True):
        assert len(one) == n
        # Sums in another order, on features of size 1 and below.
        np.testing.assert_allclose(one, mirrored, atol=1e-5)


def test_compiled_features_are_the_same():
    images = np.random.default_rng(9).integers(0, 256, (11, 32, 32, 3), dtype="uint8")
    network = build_vgg16(NetworkOptions(image_size=32, width=0.0625), 4)
    model = feature_model(network, "relu5_3", "fc7")
    plain, compiled = (
        [np.concatenate(parts) for parts in zip(*found, strict=True)]
        for xla in (False, True)
        for found in [FeatureExtractor(model, xla=xla)(in_batches(images, 8))]
    )
    for one, other in zip(plain, compiled, strict=True):
        # Sums in another order, on features of size 1 and below.
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_several_outputs():
    inputs = keras.Input((2, 2, 3), dtype="uint8")
    x = keras.layers.Rescaling(1.0)(inputs)
    model = keras.Model(inputs, [x, keras.layers.Flatten()(x)])
    maps, flat = next(FeatureExtractor(model)(in_batches(numbered_images(3), 3)))
    assert maps.shape == (3, 2, 2, 3) and flat.shape == (3, 12)


def test_the_side_of_its_images():
    inputs = keras.Input((48, 48, 3), dtype="uint8")
    assert FeatureExtractor(keras.Model(inputs, keras.layers.Flatten()(inputs))).image_size == 48


@pytest.fixture(scope="module")
def network():
    options = NetworkOptions(image_size=32, width=0.0625, dropout=0.5, scaled_fc_init=True)
    return build_vgg16(options, 5)


def test_features_are_before_the_relu(rng, network):
    images = rng.integers(0, 256, (8, 32, 32, 3), dtype="uint8")
    values = np.asarray(feature_model(network, FEATURES)(images, training=False))
    assert values.shape == (8, 256)
    assert (values < 0).mean() > 0.2


def test_features_are_without_dropout(rng, network):
    images = rng.integers(0, 256, (8, 32, 32, 3), dtype="uint8")
    features = feature_model(network, FEATURES)
    np.testing.assert_array_equal(
        features(images, training=False), features(images, training=False)
    )


def test_the_part_of_a_network_shares_its_weights(network):
    inside = {id(variable) for variable in network.variables}
    assert all(id(variable) in inside for variable in feature_model(network, FEATURES).variables)

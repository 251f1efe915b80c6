"""The network for small images: its layers, and images of several sizes."""

import keras
import numpy as np
import pytest

from dc_keras.machine import precision_of_layers
from dc_keras.models.compact import build_compact
from dc_keras.models.deepcluster import at_size
from dc_keras.models.options import NetworkOptions


def build(image_size=32, **options):
    options = {"width": 0.0625, "use_sobel": False, "fc_norm": True, "dropout": 0.0} | options
    return build_compact(NetworkOptions(image_size=image_size, **options), num_clusters=5)


def test_number_of_weights():
    network = build(width=1.0)
    channels = [3, 64, 128, 128, 256, 256, 512, 512]
    pairs = list(zip(channels, channels[1:], strict=False))
    convolutions = [layer for layer in network.layers if layer.name.startswith("conv")]
    assert [layer.count_params() for layer in convolutions] == [9 * i * o + o for i, o in pairs]
    assert network.get_layer("projection_hidden_linear").count_params() == 512 * 1408
    assert network.get_layer("projection_linear").count_params() == 1408 * 352
    assert network.get_layer("head").count_params() == (352 + 1) * 5


def test_order_of_layers():
    names = [layer.name for layer in build(temperature=0.1).layers]
    assert names[:5] == ["images", "normalize", "conv1_1", "bn1_1", "relu1_1"]
    tail = ["relu4_2", "mean", "fc7", "projection_hidden_linear", "projection_hidden"]
    tail += ["projection_relu", "dropout", "projection_linear", "projection", "head"]
    assert names[-len(tail) :] == tail
    assert [name for name in names if name.startswith("pool")] == ["pool1", "pool2", "pool3"]


def test_without_batch_norm_features_are_the_mean(rng):
    network = build(fc_norm=False)
    images = rng.integers(0, 256, (2, 32, 32, 3), dtype="uint8")
    outputs = [network.get_layer(name).output for name in ("relu4_2", "fc7")]
    maps, features = keras.Model(network.input, outputs)(images, training=False)
    np.testing.assert_allclose(features, np.mean(maps, axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_logits_are_float32(precision):
    with precision_of_layers(precision):
        assert build().output.dtype == "float32"


def test_the_same_layers_see_images_of_another_size(rng):
    """Against a network that was built for that size, with the same weights."""
    network, small = build(32), build(24)
    small.set_weights(network.get_weights())
    images = rng.integers(0, 256, (3, 24, 24, 3), dtype="uint8")
    seen = at_size(network, 24)
    np.testing.assert_array_equal(seen(images, training=False), small(images, training=False))
    assert all(a is b for a, b in zip(seen.weights, network.weights, strict=True))
    assert at_size(network, 32) is network


def test_a_network_that_saw_another_size_is_saved_as_it_was(tmp_path, rng):
    network = build(32)
    at_size(network, 24)
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    images = rng.integers(0, 256, (3, 32, 32, 3), dtype="uint8")
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in network.layers]
    np.testing.assert_array_equal(loaded(images, training=False), network(images, training=False))

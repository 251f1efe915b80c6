"""Networks laid open: ours and others' give the features that they give as a whole."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dc_keras.errors import InputError
from dc_keras.exploring.look.open_network import (
    check_layer,
    first_convolution,
    map_shapes,
    open_network,
    sees_gradients,
)
from dc_keras.models.architectures import build_network
from dc_keras.models.feature_extractor import FEATURES, feature_model
from dc_keras.models.given_network import GivenNetwork, features_of
from dc_keras.models.options import NetworkOptions

IMAGES = np.random.default_rng(2).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)


def ours(**options):
    return build_network(NetworkOptions(image_size=32, width=1 / 64, **options), 4)


def others(*before, pixels, side=32):
    """A network of others, as dc-keras cluster --network takes it."""
    layers = [
        keras.Input((side, side, 3)),
        *before,
        keras.layers.Conv2D(5, 3, activation="relu", name="first"),
        keras.layers.MaxPooling2D(2, name="pool"),
        keras.layers.Conv2D(6, 3, name="second"),
        keras.layers.ReLU(name="relu"),
    ]
    network, _ = features_of(keras.Sequential(layers), GivenNetwork(pixels))
    return network


NETWORKS = {
    "paper": lambda: ours(),
    "colours": lambda: ours(use_sobel=False, fc_norm=True, temperature=0.1),
    "others'": lambda: others(pixels="-1..1"),
    "others' with turned colours": lambda: others(pixels="caffe"),
    "others' with a scaling of its own": lambda: others(keras.layers.Rescaling(1 / 99), pixels=""),
    "ours, given": lambda: features_of(ours(), GivenNetwork())[0],
}


@pytest.mark.parametrize("name", NETWORKS)
def test_an_open_network_gives_the_features_of_the_whole_one(name):
    network = NETWORKS[name]()
    shapes = map_shapes(network)
    layer = list(shapes)[0]
    opened = open_network(network, [layer])
    with tf.GradientTape() as tape:
        pixels = opened.normalized(IMAGES)
        tape.watch(pixels)
        maps, features = opened.model(pixels, training=False)
    whole = np.asarray(feature_model(network, FEATURES)(IMAGES, training=False))
    np.testing.assert_allclose(features, whole, rtol=1e-3, atol=1e-5 * np.abs(whole).max())
    assert maps.shape[1:] == shapes[layer] and opened.image_size == 32
    assert np.any(tape.gradient(features, pixels))


def test_layers_with_maps_are_those_from_the_first_convolution_on_without_poolings():
    assert map_shapes(others(pixels="0..1")) == {
        "first": (30, 30, 5),
        "second": (13, 13, 6),
        "relu": (13, 13, 6),
    }
    shapes = map_shapes(ours())
    assert list(shapes)[0] == "conv1_1" and list(shapes)[-1] == "relu5_3"
    assert shapes["relu5_3"] == (2, 2, 8)


def test_before_its_relu_a_map_has_values_below_zero():
    network = ours()
    before, after = (
        np.asarray(opened.model(opened.normalized(IMAGES), training=False)[0])
        for opened in (
            open_network(network, ["relu2_1"], rectified=rectified) for rectified in (False, True)
        )
    )
    assert before.min() < 0
    np.testing.assert_array_equal(np.maximum(before, 0), after)


def test_the_layer_that_is_shown():
    shapes = {"conv1": (8, 8, 2), "conv2": (4, 4, 2)}
    assert check_layer("", shapes) == "conv2" and check_layer("conv1", shapes) == "conv1"
    with pytest.raises(InputError, match=r"--layer=fc7\. Expected one of: conv1, conv2"):
        check_layer("fc7", shapes)


def test_the_first_filters_of_networks_with_and_without_sobel():
    kernel, behind_sobel = first_convolution(ours())
    assert kernel.shape == (3, 3, 2, 1) and behind_sobel
    kernel, behind_sobel = first_convolution(others(pixels="0..1"))
    assert kernel.shape == (3, 3, 3, 5) and not behind_sobel
    assert sees_gradients(features_of(ours(), GivenNetwork())[0])


def test_first_filters_are_told_red_first():
    network = others(pixels="caffe")
    inner = next(layer for layer in network.layers if isinstance(layer, keras.Model))
    blue_first = inner.get_layer("first").get_weights()[0]
    np.testing.assert_array_equal(first_convolution(network)[0], blue_first[:, :, ::-1])


def test_a_network_without_convolutions_is_refused():
    flat = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    network, _ = features_of(flat, GivenNetwork("0..1"))
    with pytest.raises(InputError, match="no convolutions to look at. Received: .*Flatten"):
        map_shapes(network)

"""The architecture and its initialisation, by published numbers."""

import numpy as np
import pytest

from dc_keras.models.options import NetworkOptions
from dc_keras.models.vgg import build_vgg16


@pytest.fixture(scope="module")
def published():
    return build_vgg16(NetworkOptions(image_size=224), 10000)


def test_published_number_of_weights(published):
    def count(prefix):
        layers = [layer for layer in published.layers if layer.name.startswith(prefix)]
        return sum(layer.count_params() for layer in layers)

    # 3x3 convolutions with bias over 2-64-64-128-128-256x3-512x6 channels.
    channels = [2, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    want = sum(9 * i * o + o for i, o in zip(channels, channels[1:], strict=False))
    assert count("conv") == want == 14_714_112
    assert count("fc") == 25088 * 4096 + 4096 + 4096 * 4096 + 4096  # 119.5 million
    assert count("head") == 4096 * 10000 + 10000  # 41 million
    assert count("bn") == 4 * sum(channels[1:])


def test_order_of_layers(published):
    names = [layer.name for layer in published.layers]
    assert names[:6] == ["images", "normalize", "sobel", "conv1_1", "bn1_1", "relu1_1"]
    tail = ["pool5", "flatten", "fc6", "relu6", "dropout", "fc7", "relu7", "head"]
    assert names[-8:] == tail
    assert published.get_layer("pool5").output.shape == (None, 7, 7, 512)


def test_batch_norm_is_pytorchs(published):
    for layer in published.layers:
        if layer.name.startswith("bn"):
            assert (layer.momentum, layer.epsilon) == (0.9, 1e-5)


def test_published_initialisation(published):
    for name, stddev in [
        ("conv1_2", (2 / (9 * 64)) ** 0.5),
        ("conv3_2", (2 / (9 * 256)) ** 0.5),
        ("conv5_3", (2 / (9 * 512)) ** 0.5),
        ("fc7", 0.01),
        ("head", 0.01),
    ]:
        kernel, bias = published.get_layer(name).get_weights()
        # The standard deviation of m normal values has a relative standard error of 1/sqrt(2m).
        tolerance = 5 / (2 * kernel.size) ** 0.5
        assert kernel.std() == pytest.approx(stddev, rel=tolerance), name
        assert abs(kernel.mean()) < 5 * stddev / kernel.size**0.5
        assert not bias.any()
        # A truncated normal would end at two standard deviations.
        assert np.abs(kernel).max() > 3 * stddev


def test_layers_start_from_different_weights(published):
    first, second = (published.get_layer(f"conv5_{i}").get_weights()[0] for i in (1, 2))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.01


def test_scaled_initialisation_keeps_the_published_signal():
    network = build_vgg16(NetworkOptions(image_size=32, width=0.25, scaled_fc_init=True), 10)
    # 0.25 * 512 = 128 inputs: sqrt(25088 / 128) = 14 times 0.01.
    assert network.get_layer("fc6").get_weights()[0].std() == pytest.approx(0.14, rel=0.02)


def test_width_and_colour():
    network = build_vgg16(NetworkOptions(image_size=64, width=0.125, use_sobel=False), 7)
    assert network.get_layer("conv1_1").get_weights()[0].shape == (3, 3, 3, 8)
    assert network.get_layer("fc7").units == 512
    assert network.output_shape == (None, 7)


def test_weights_depend_on_the_seed_alone():
    first, same, other = (
        build_vgg16(NetworkOptions(image_size=32, width=0.0625, seed=seed), 4) for seed in (1, 1, 2)
    )
    for a, b, c in zip(first.weights, same.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a, b)
        if a.path.endswith("kernel"):
            assert not np.array_equal(a, c)

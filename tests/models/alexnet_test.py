"""The architecture and its initialisation, by published numbers."""

import pytest

from dc_keras.models.alexnet import build_alexnet
from dc_keras.models.options import NetworkOptions


@pytest.fixture(scope="module")
def published():
    return build_alexnet(NetworkOptions(image_size=224), 100)


def test_published_number_of_weights(published):
    def count(prefix):
        layers = [layer for layer in published.layers if layer.name.startswith(prefix)]
        return sum(layer.count_params() for layer in layers)

    # 11x11, 5x5 and three 3x3 convolutions with bias, without groups, on 2 channels.
    assert count("conv") == sum(
        size**2 * inputs * outputs + outputs
        for size, inputs, outputs in [
            (11, 2, 96), (5, 96, 256), (3, 256, 384), (3, 384, 384), (3, 384, 256),
        ]
    )  # fmt: skip
    assert count("fc") == 9216 * 4096 + 4096 + 4096 * 4096 + 4096
    assert count("head") == 4096 * 100 + 100
    assert count("bn") == 4 * (96 + 256 + 384 + 384 + 256)


def test_order_of_layers(published):
    assert [layer.name for layer in published.layers] == [
        "images", "normalize", "sobel", "pad1",
        "conv1", "bn1", "relu1", "pool1",
        "conv2", "bn2", "relu2", "pool2",
        "conv3", "bn3", "relu3",
        "conv4", "bn4", "relu4",
        "conv5", "bn5", "relu5", "pool5",
        "flatten", "dropout5", "fc6", "relu6", "dropout", "fc7", "relu7", "head",
    ]  # fmt: skip


def test_sizes_of_maps_are_pytorchs(published):
    # (224 + 4 - 11) / 4 + 1 = 55 and (n - 3) / 2 + 1, rounded down.
    sides = {"conv1": 55, "pool1": 27, "conv2": 27, "pool2": 13, "conv5": 13, "pool5": 6}
    for layer, side in sides.items():
        assert published.get_layer(layer).output.shape[1:3] == (side, side), layer


def test_published_initialisation(published):
    stddevs = {
        "conv1": (2 / (121 * 96)) ** 0.5,
        "conv2": (2 / (25 * 256)) ** 0.5,
        "conv4": (2 / (9 * 384)) ** 0.5,
        "fc6": 0.01,
        "head": 0.01,
    }
    for name, stddev in stddevs.items():
        kernel, bias = published.get_layer(name).get_weights()
        # The standard deviation of m normal values has a relative standard error of 1/sqrt(2m).
        assert kernel.std() == pytest.approx(stddev, rel=5 / (2 * kernel.size) ** 0.5), name
        assert not bias.any()


def test_scaled_initialisation_keeps_the_published_signal():
    network = build_alexnet(NetworkOptions(image_size=64, width=0.25, scaled_fc_init=True), 5)
    # 1x1 maps of 64 channels: sqrt(9216 / 64) = 12 times 0.01.
    assert network.get_layer("fc6").get_weights()[0].shape == (64, 1024)
    assert network.get_layer("fc6").get_weights()[0].std() == pytest.approx(0.12, rel=0.02)


def test_both_dropouts_draw_apart():
    network = build_alexnet(NetworkOptions(image_size=64, width=0.0625, dropout=0.5), 5)
    rates = [network.get_layer(name).rate for name in ("dropout5", "dropout")]
    assert rates == [0.5, 0.5]
    seeds = [network.get_layer(name).seed for name in ("dropout5", "dropout")]
    assert seeds[0] != seeds[1]


def test_the_smallest_image_leaves_one_position():
    network = build_alexnet(NetworkOptions(image_size=63, width=0.0625), 5)
    assert network.get_layer("pool5").output.shape[1:3] == (1, 1)
    with pytest.raises(ValueError, match="MaxPooling2D"):
        build_alexnet(NetworkOptions(image_size=62, width=0.0625), 5)

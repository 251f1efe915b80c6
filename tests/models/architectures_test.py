"""Networks by name."""

import pytest

from dc_keras.config.training import ARCHITECTURES
from dc_keras.models.architectures import LAST_CONV, build_network
from dc_keras.models.options import NetworkOptions


def build(arch):
    return build_network(NetworkOptions(image_size=96, arch=arch, width=0.0625), num_clusters=3)


def test_flags_offer_what_is_there():
    assert set(ARCHITECTURES) == set(LAST_CONV)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_network_that_flags_offer_is_built(arch):
    assert build(arch).output.shape == (None, 3)


@pytest.mark.parametrize(
    ("arch", "side", "channels", "after"),
    [("vgg16", 6, 32, "pool5"), ("alexnet", 5, 16, "pool5"), ("compact", 12, 32, "mean")],
)
def test_the_last_convolution_stands_before_its_pooling(arch, side, channels, after):
    network = build(arch)
    last = network.get_layer(LAST_CONV[arch])
    assert last.output.shape == (None, side, side, channels)
    following = network.layers[network.layers.index(last) + 1]
    assert following.name == after

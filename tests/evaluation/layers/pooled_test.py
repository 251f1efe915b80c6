import keras
import numpy as np
import pytest

from dc_keras.errors import InputError
from dc_keras.evaluation.layers.pooled import (
    GridPooling,
    dimensions,
    layer_names,
    pooled_layers,
)
from dc_keras.evaluation.linear_probe import pooled_conv_features
from dc_keras.models.architectures import build_network
from dc_keras.models.feature_extractor import feature_model
from dc_keras.models.options import NetworkOptions


def network(arch="vgg16", image_size=32, width=1 / 16):
    return build_network(NetworkOptions(image_size=image_size, arch=arch, width=width), 4)


@pytest.mark.parametrize(
    ("arch", "values"),
    [
        # Cells of the published pools by channels at width 1/32.
        (
            "vgg16",
            [144 * 2] * 2 + [64 * 4] * 2 + [36 * 8] * 3 + [16 * 16] * 6 + [128] * 2,
        ),
        ("alexnet", [100 * 3, 36 * 8, 25 * 12, 25 * 12, 36 * 8, 128, 128]),
    ],
)
def test_published_sizes_at_224_pixels(arch, values):
    """At width 1 these are 9216, 8192, 9216, 8192, 8192 and 9600, 9216, 9600, 9600, 9216."""
    found = pooled_layers(network(arch, 224, 1 / 32))
    assert dimensions(found) == values
    widths_of_published = {"vgg16": (9216, 8192), "alexnet": (9600, 9216)}
    assert {32 * value for value in values[:-2]} == set(widths_of_published[arch])


def test_names_of_layers_are_those_of_the_network():
    names = layer_names(network())
    assert len(names) == 15 and names[0] == "relu1_1" and names[12:] == ("relu5_3", "fc6", "fc7")
    with pytest.raises(InputError, match="relu9.*Expected some of: relu1_1"):
        pooled_layers(network(), ["relu9"])
    inputs = keras.Input((8, 8, 3))
    with pytest.raises(InputError, match="not known"):
        layer_names(keras.Model(inputs, keras.layers.Flatten()(inputs)))


@pytest.mark.parametrize(("arch", "size", "width"), [("vgg16", 64, 0.25), ("alexnet", 100, 1.0)])
def test_the_same_as_pooling_outside_of_the_graph(rng, arch, size, width):
    built = network(arch, size, width)
    images = rng.integers(0, 256, (2, size, size, 3), np.uint8)
    # Averages of whole cells, of overlapping ones, maps as they are, and flat layers.
    names = {"vgg16": ("relu1_2", "relu2_1", "relu4_1", "fc7"), "alexnet": ("relu1", "relu5")}
    found = pooled_layers(built, names[arch])(images, training=False)
    outside = feature_model(built, *names[arch])(images, training=False)
    for one, expected in zip(found, outside, strict=True):
        expected = expected.numpy()
        expected = pooled_conv_features(expected) if expected.ndim == 4 else expected
        np.testing.assert_allclose(one, expected, atol=1e-5, rtol=1e-5)


def test_averages_on_paper():
    """Three rows and columns in a grid of two: the middle ones belong to both cells."""
    maps = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    np.testing.assert_allclose(GridPooling(2)(maps)[0, ..., 0], [[2, 3], [5, 6]], rtol=1e-6)

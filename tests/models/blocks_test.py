"""What the published networks share: where it differs from what their own tests look at."""

import numpy as np
import pytest

from dc_keras.models.blocks import fc_stddev, front_end, scaled
from dc_keras.models.options import NetworkOptions
from dc_keras.models.vgg import build_vgg16


@pytest.mark.parametrize(
    ("size", "width", "expected"), [(64, 1.0, 64), (4096, 0.1, 410), (64, 0.0625, 4), (6, 0.05, 1)]
)
def test_channels_at_a_width(size, width, expected):
    assert scaled(size, width) == expected


def test_initial_weights_at_the_published_size_are_the_published_ones():
    assert fc_stddev(25088, 25088) == fc_stddev(4096, 4096) == 0.01


def test_a_quarter_of_the_inputs_need_twice_the_weights():
    assert fc_stddev(1024, 4096) == pytest.approx(0.02)


@pytest.mark.parametrize(("use_sobel", "channels"), [(True, 2), (False, 3)])
def test_what_the_first_convolution_sees(use_sobel, channels):
    images, seen = front_end(NetworkOptions(image_size=64, use_sobel=use_sobel))
    assert (images.shape, images.dtype) == ((None, 64, 64, 3), "uint8")
    assert (seen.shape, seen.dtype) == ((None, 64, 64, channels), "float32")


@pytest.fixture(scope="module")
def with_batch_norm_and_cosine_head():
    return build_vgg16(
        NetworkOptions(image_size=32, width=0.0625, fc_norm=True, temperature=0.1), 5
    )


def test_layers_of_a_classifier_with_batch_norm_and_cosine_head(with_batch_norm_and_cosine_head):
    names = [layer.name for layer in with_batch_norm_and_cosine_head.layers]
    assert names[names.index("flatten") :] == [
        *("flatten", "fc6_linear", "fc6", "relu6", "dropout", "fc7_linear", "fc7", "head")
    ]


def test_logits_of_a_cosine_head_are_cosines(rng, with_batch_norm_and_cosine_head):
    images = rng.integers(0, 256, (3, 32, 32, 3), dtype="uint8")
    logits = np.asarray(with_batch_norm_and_cosine_head(images, training=False))
    assert np.abs(logits).max() <= 10 + 1e-4  # cosines over 0.1

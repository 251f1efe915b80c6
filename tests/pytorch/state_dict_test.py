"""PyTorch's names and layouts, without PyTorch; tests/parity_test.py compares the numbers."""

import itertools

import numpy as np
import pytest

from dc_keras.errors import InputError
from dc_keras.pytorch.state_dict import (
    FRONT_END,
    Architecture,
    infer_architecture,
    load_state_dict,
    to_state_dict,
)

VGG = Architecture("vgg16", 64, 5, 0.0625, use_sobel=True)
ALEXNET = Architecture("alexnet", 96, 5, 0.0625, use_sobel=True)
NORM = ("weight", "bias", "running_mean", "running_var")


def randomised(architecture, rng):
    network = architecture.build()
    for variable in network.weights:
        variable.assign(rng.normal(size=variable.shape).astype("float32"))
    return network


@pytest.fixture
def state(rng):
    return to_state_dict(randomised(ALEXNET, rng))


@pytest.mark.parametrize(
    ("architecture", "convolutions", "dense"),
    [
        (VGG, [0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40], [0, 3]),
        (ALEXNET, [0, 4, 8, 11, 14], [1, 4]),
    ],
)
def test_names_are_the_published_ones(architecture, convolutions, dense):
    expected = [f"sobel.{i}.{kind}" for i in (0, 1) for kind in ("weight", "bias")]
    for i in convolutions:
        expected += [f"features.{i}.{kind}" for kind in ("weight", "bias")]
        expected += [f"features.{i + 1}.{kind}" for kind in NORM]
    for name in (*(f"classifier.{i}" for i in dense), "top_layer"):
        expected += [f"{name}.weight", f"{name}.bias"]
    assert list(to_state_dict(architecture.build())) == expected


@pytest.fixture
def pair(rng):
    """An AlexNet with random weights, and its state_dict."""
    network = randomised(ALEXNET, rng)
    return network, to_state_dict(network)


def test_the_layout_of_convolutions(pair):
    network, state = pair
    kernel = network.get_layer("conv2").kernel.numpy()
    for h, w, i, o in [(0, 1, 2, 3), (4, 2, 5, 15)]:
        assert state["features.4.weight"][o, i, h, w] == kernel[h, w, i, o]


def test_the_layout_of_dense_layers(pair):
    network, state = pair
    assert state["classifier.4.weight"][7, 9] == network.get_layer("fc7").kernel.numpy()[9, 7]


def test_the_layout_of_what_sees_the_flattened_maps(pair):
    """Place (h, w, c) of 2x2 maps of 16 channels is 32 h + 16 w + c here, 4 c + 2 h + w there."""
    network, state = pair
    kernel = network.get_layer("fc6").kernel.numpy()
    for h, w, c in itertools.product(range(2), range(2), range(16)):
        np.testing.assert_array_equal(
            state["classifier.1.weight"][:, 4 * c + 2 * h + w], kernel[32 * h + 16 * w + c]
        )


def test_running_statistics_of_batch_norms(pair):
    network, state = pair
    norm = network.get_layer("bn2")
    np.testing.assert_array_equal(state["features.5.running_mean"], norm.moving_mean)
    np.testing.assert_array_equal(state["features.5.running_var"], norm.moving_variance)


@pytest.mark.parametrize("architecture", [VGG, ALEXNET])
def test_there_and_back_is_the_same_bit_for_bit(rng, architecture):
    network = randomised(architecture, rng)
    other = architecture.build()
    load_state_dict(other, to_state_dict(network))
    for a, b in zip(network.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)


@pytest.mark.parametrize("arch", ["vgg16", "alexnet"])
@pytest.mark.parametrize(
    ("image_size", "clusters", "width", "use_sobel"),
    [(64, 2, 0.0625, True), (96, 17, 0.1, False), (224, 3, 1 / 64, True)],
)
def test_the_architecture_is_read_from_names_and_shapes(
    arch, image_size, clusters, width, use_sobel
):
    architecture = Architecture(arch, image_size, clusters, width, use_sobel)
    network = architecture.build()
    state = to_state_dict(network)
    inferred = infer_architecture(state)
    assert (inferred.arch, inferred.image_size) == (arch, image_size)
    assert (inferred.num_clusters, inferred.use_sobel) == (clusters, use_sobel)
    # 4096 * 0.1 is rounded to 410 units.
    assert inferred.width == pytest.approx(width, abs=1 / 4096)
    load_state_dict(inferred.build(), state)


def test_an_image_size_that_is_given_is_taken(state):
    assert infer_architecture(state, "alexnet", 100).image_size == 100


def test_an_architecture_that_is_named_is_taken(state):
    with pytest.raises(InputError, match=r"features\.3\.weight is missing"):
        infer_architecture(state, "vgg16")


def without(name):
    return lambda state: state.pop(name)


def replaced(name, change):
    return lambda state: state.update({name: change(state[name])})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("features.4.bias"), r"features\.4\.bias is missing"),
        (without("features.15.running_var"), r"features\.15\.running_var is missing"),
        (without("top_layer.weight"), r"top_layer\.weight is missing"),
        (without("sobel.1.bias"), r"sobel\.1\.bias is missing"),
        (lambda state: state.update(extra=np.zeros(1)), "extra is unexpected"),
        (
            replaced("features.0.weight", lambda a: a[..., :3]),
            r"features\.0\.weight has shape \(6, 2, 11, 3\), not \(6, 2, 11, 11\)",
        ),
        (
            replaced("features.5.bias", lambda a: a[:3]),
            r"features\.5\.bias has shape \(3,\), not \(16,\)",
        ),
        (
            replaced("classifier.4.weight", lambda a: a[:7]),
            r"classifier\.4\.weight has shape \(7, 256\), not \(7, 7\)",
        ),
        (
            replaced("classifier.4.weight", np.sum),
            r"classifier\.4\.weight has shape \(\), not \(0, 0\)",
        ),
        (
            replaced("classifier.1.weight", lambda a: a[:, :63]),
            r"classifier\.1\.weight has 63 inputs, not 16 for each place of a square",
        ),
        (
            replaced("top_layer.weight", lambda a: a[:, 0]),
            r"top_layer\.weight has shape \(5,\), not \(any, 256\)",
        ),
        (
            replaced("top_layer.weight", lambda a: a[:0]),
            r"top_layer\.weight has shape \(0, 256\), not \(any, 256\)",
        ),
        (replaced("features.4.weight", lambda a: a * np.nan), r"features\.4\.weight holds NaN"),
        (replaced("sobel.1.weight", lambda a: -a), r"sobel\.1\.weight is not the fixed"),
        (replaced("sobel.0.bias", lambda a: a + 1), r"sobel\.0\.bias is not the fixed"),
        (lambda state: state.clear(), r"features\.0\.weight is missing"),
    ],
)
def test_the_first_thing_that_does_not_fit_is_named(state, damage, message):
    network = ALEXNET.build()
    before = [variable.numpy() for variable in network.weights]
    damage(state)
    with pytest.raises(InputError, match=message):
        infer_architecture(state)
        load_state_dict(network, state)
    for variable, value in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_the_front_end_is_the_published_one():
    assert FRONT_END["sobel.0.weight"].tolist() == [[[[pytest.approx(1 / 3)]]] * 3]
    assert FRONT_END["sobel.1.weight"].tolist() == [
        [[[1, 0, -1], [2, 0, -2], [1, 0, -1]]],
        [[[1, 2, 1], [0, 0, 0], [-1, -2, -1]]],
    ]

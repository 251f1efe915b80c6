"""What is taken of another network's weights: by names and shapes, on arrays."""

import functools

import numpy as np
import pytest

from dc_keras.errors import InputError
from dc_keras.models.architectures import build_network
from dc_keras.models.initial_weights import Kind, assign, kind_of, weights_that_fit
from dc_keras.models.options import NetworkOptions


def network(num_clusters=5, seed=1, **options):
    options = {"image_size": 64, "width": 1 / 64} | options
    return build_network(NetworkOptions(**options, seed=seed), num_clusters)


def shapes_of(network):
    return {variable.path: tuple(variable.shape) for variable in network.weights}


@functools.cache
def wanted(**options):
    """Shapes of a tiny network's weights; networks take long to build."""
    return shapes_of(network(**options))


def arrays_of(network):
    return {variable.path: variable.numpy() for variable in network.weights}


@pytest.fixture(scope="module")
def given():
    """Weights of a tiny VGG16 for images of 64 pixels."""
    return arrays_of(network())


@pytest.mark.parametrize(
    ("arch", "fc_norm"), [("vgg16", False), ("alexnet", True), ("compact", True)]
)
def test_where_all_fits_all_but_the_head_is_taken(arch, fc_norm):
    source = network(arch=arch, fc_norm=fc_norm)
    target = network(7, seed=2, arch=arch, fc_norm=fc_norm, temperature=0.1, dropout=0.0)
    initial = weights_that_fit(shapes_of(target), arrays_of(source))
    assert (initial.new, initial.reason) == (("head",), "")
    head = target.get_layer("head").kernel.numpy()
    assign(target, initial.taken)
    theirs = arrays_of(source)
    for name, array in arrays_of(target).items():
        if not name.startswith("head"):
            np.testing.assert_array_equal(array, theirs[name], err_msg=name)
    np.testing.assert_array_equal(target.get_layer("head").kernel, head)


def test_running_statistics_are_taken(given):
    given = given | {"bn1_1/moving_mean": np.array([7.0], "float32")}
    taken = weights_that_fit(wanted(), given).taken
    assert taken["bn1_1/moving_mean"] == [7.0]


@pytest.mark.parametrize(
    ("options", "new", "reason"),
    [
        (
            {"image_size": 32},
            ("fc6", "fc7", "head"),
            "fc6 was made for another --image_size (fc6/kernel of shape (32, 64) where the "
            "network has (8, 64))",
        ),
        (
            {"fc_norm": True},
            ("fc6_linear", "fc6", "fc7_linear", "fc7", "head"),
            "the weights are of --fc_norm=false",
        ),
        (
            # One channel as well, but 65 units.
            {"width": 65 / 4096},
            ("fc6", "fc7", "head"),
            "fc6/kernel of shape (32, 64) where the network has (32, 65)",
        ),
    ],
    ids=["image size", "fc_norm", "units"],
)
def test_fully_connected_layers_that_do_not_fit_are_new(given, options, new, reason):
    initial = weights_that_fit(wanted(**options), given)
    assert (initial.new, initial.reason) == (new, reason)
    assert all(name.startswith(("conv", "bn")) for name in initial.taken)
    assert len(initial.taken) == 13 * 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": "alexnet"}, r"weights without conv1\..*these are of --arch=vgg16\."),
        (
            {"width": 0.25},
            r"conv1_1/kernel of shape \(3, 3, 2, 1\) where the network has \(3, 3, 2, 16\)\..*"
            r"these are of --width=0\.015625\.",
        ),
        ({"use_sobel": False}, r"\(3, 3, 3, 1\)\. .*these are of --sobel=true\."),
        (
            {"arch": "alexnet", "use_sobel": False, "width": 0.125},
            r"these are of --arch=vgg16 --width=0\.015625 --sobel=true\.",
        ),
    ],
    ids=["arch", "width", "sobel", "all"],
)
def test_convolutions_that_do_not_fit_are_refused_with_their_flags(given, options, message):
    with pytest.raises(InputError, match=message):
        weights_that_fit(wanted(**options), given)


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("conv3_2/kernel", r"weights without conv3_2\. Expected those that train\.py makes"),
        ("conv1_1/kernel", r"not those of a network of this program\. Received: conv1_1, bn1_1, "),
    ],
)
def test_weights_with_gaps_are_refused(given, lost, message):
    rest = {name: array for name, array in given.items() if name != lost}
    with pytest.raises(InputError, match=message):
        weights_that_fit(wanted(), rest)


def test_other_networks_and_none_are_refused():
    with pytest.raises(InputError, match=r"Received: dense\. Expected vgg16, alexnet, compact"):
        weights_that_fit(wanted(), {"dense/kernel": np.zeros((2, 2)), "dense/bias": np.zeros(2)})
    with pytest.raises(InputError, match="Received: no weights"):
        weights_that_fit(wanted(), {})
    with pytest.raises(ValueError, match="Not a network of this program"):
        weights_that_fit({}, {})


@pytest.mark.parametrize("name", ["bn2_1/moving_variance", "fc7/bias"])
def test_weights_that_are_no_numbers_are_refused(given, name):
    given = given | {name: np.full_like(given[name], np.nan)}
    with pytest.raises(InputError, match=f"NaN or infinity in {name}"):
        weights_that_fit(wanted(), given)


def test_nan_in_what_is_not_taken_does_no_harm(given):
    given = given | {"fc7/bias": np.full_like(given["fc7/bias"], np.nan)}
    assert weights_that_fit(wanted(image_size=32), given).reason


def test_the_kind_of_a_network_behind_whitened_patches():
    shapes = wanted(arch="compact", width=0.375, use_sobel=False, fc_norm=True, whitened_patches=3)
    assert kind_of(shapes) == Kind("compact", 0.375, False, True)
    assert not [name for name in shapes if name.startswith("conv1_1")]


def test_filters_of_whitened_patches_are_taken():
    options = {"arch": "compact", "use_sobel": False, "fc_norm": True, "whitened_patches": 3}
    given = arrays_of(network(**options))
    given["patches/kernel"] = np.full_like(given["patches/kernel"], 7)
    taken = weights_that_fit(wanted(seed=2, **options), given).taken
    assert (taken["patches/kernel"] == 7).all()


@pytest.mark.parametrize(
    "kind",
    [
        Kind("vgg16", 1 / 64, True, False),
        Kind("vgg16", 0.07, False, True),
        Kind("alexnet", 1 / 64, True, False),
        Kind("compact", 0.07, False, True),
        Kind("compact", 1 / 16, True, False),
    ],
)
def test_the_kind_of_a_network_is_what_its_flags_were(kind):
    options = {"arch": kind.arch, "use_sobel": kind.sobel, "fc_norm": kind.fc_norm}
    assert kind_of(wanted(width=kind.width, **options)) == kind

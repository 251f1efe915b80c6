"""Networks by others: what they are given, what is taken from them, and what is refused."""

import keras
import numpy as np
import pytest
from keras.applications import imagenet_utils

from dc_keras.errors import InputError
from dc_keras.models.architectures import build_network
from dc_keras.models.feature_extractor import FEATURES, FeatureExtractor, feature_model
from dc_keras.models.given_network import GivenNetwork, features_of, load_given_network
from dc_keras.models.options import NetworkOptions
from dc_keras.models.saved_network import load_network

IMAGES = np.random.default_rng(2).integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)


def sequential(*layers, shape=(8, 8, 3)):
    return keras.Sequential([keras.Input(shape), *layers])


def flatten():
    return sequential(keras.layers.Flatten())


def saved_and_loaded(network, path):
    network.save(path)
    return load_network(path)


@pytest.mark.parametrize(
    ("pixels", "mode"), [("-1..1", "tf"), ("imagenet", "torch"), ("caffe", "caffe")]
)
def test_pixels_are_those_of_keras_applications(tmp_path, pixels, mode):
    network, _ = features_of(flatten(), GivenNetwork(pixels=pixels))
    found = saved_and_loaded(network, tmp_path / "n.keras")(IMAGES)
    expected = imagenet_utils.preprocess_input(
        IMAGES.astype(np.float32), data_format="channels_last", mode=mode
    )
    # The mean is taken away after the scaling, not before.
    np.testing.assert_allclose(found, expected.reshape(3, -1), atol=1e-6)


@pytest.mark.parametrize(("pixels", "scale"), [("0..1", 255), ("0..255", 1)])
def test_pixels_are_scaled_alone(pixels, scale):
    network, told = features_of(flatten(), GivenNetwork(pixels=pixels))
    np.testing.assert_allclose(network(IMAGES), IMAGES.reshape(3, -1) / scale, rtol=1e-6)
    assert told == f"192 values of the last layer, 8 px, pixels {pixels}"


def test_pixels_must_be_told_unless_the_network_tells():
    with pytest.raises(InputError, match="not known what pixels the network expects"):
        features_of(flatten(), GivenNetwork())
    scaling = sequential(keras.layers.Rescaling(1 / 255), keras.layers.Flatten())
    network, told = features_of(scaling, GivenNetwork())
    np.testing.assert_allclose(network(IMAGES), IMAGES.reshape(3, -1) / 255, rtol=1e-6)
    assert told.endswith("pixels 0..255")


def test_maps_become_their_mean():
    network, told = features_of(sequential(keras.layers.ReLU()), GivenNetwork("0..255"))
    np.testing.assert_allclose(network(IMAGES), IMAGES.mean((1, 2)), rtol=1e-5)
    assert told.startswith("3 values, the mean over the 8 x 8 map of the last layer")


@pytest.mark.parametrize("tokens", ["mean", "first"])
def test_tokens_become_their_mean_or_the_first(tmp_path, tokens):
    given = GivenNetwork("0..255", tokens=tokens)
    network, told = features_of(sequential(keras.layers.Reshape((64, 3))), given)
    found = saved_and_loaded(network, tmp_path / "n.keras")(IMAGES)
    parts = IMAGES.reshape(3, 64, 3)
    np.testing.assert_allclose(found, parts.mean(1) if tokens == "mean" else parts[:, 0], rtol=1e-5)
    assert ("first token" in told) == (tokens == "first")


def test_a_layer_in_the_middle(tmp_path):
    images = keras.Input((8, 8, 3))
    middle = keras.layers.Flatten(name="middle")(images)
    classes = keras.Model(images, keras.layers.Dense(2, name="classes")(middle))
    network, told = features_of(classes, GivenNetwork("0..255", layer="middle"))
    np.testing.assert_array_equal(network(IMAGES), IMAGES.reshape(3, -1))
    assert "of layer middle" in told
    with pytest.raises(InputError, match="--layer=fc9. Expected one of: .*middle, classes"):
        features_of(classes, GivenNetwork("0..255", layer="fc9"))


def test_a_network_of_any_size_needs_one():
    any_size = sequential(keras.layers.ReLU(), shape=(None, None, 3))
    with pytest.raises(InputError, match="any size. Received: no --image_size"):
        features_of(any_size, GivenNetwork("0..255"))
    network, _ = features_of(any_size, GivenNetwork("0..255", image_size=8))
    assert network.input_shape == (None, 8, 8, 3)


@pytest.mark.parametrize(("shape", "image_size"), [((8, 8, 3), 16), ((8, 6, 3), 0)])
def test_another_size_than_the_networks_is_refused(shape, image_size):
    with pytest.raises(InputError, match="size of the network's input is another"):
        features_of(
            sequential(keras.layers.Flatten(), shape=shape), GivenNetwork("0..1", image_size)
        )


def test_one_of_ours_gives_its_own_features(tmp_path):
    options = NetworkOptions(image_size=32, width=1 / 64)
    build_network(options, 4).save(tmp_path / "network.keras")
    ours = load_given_network(f"{tmp_path}/network.keras")
    network, told = features_of(ours, GivenNetwork())
    images = np.random.default_rng(3).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    expected = feature_model(ours, FEATURES)(images, training=False)
    found = saved_and_loaded(network, tmp_path / "n.keras")
    np.testing.assert_array_equal(found(images, training=False), expected)
    # What reads features of ours reads these.
    assert feature_model(found, FEATURES).output_shape == (None, 64)
    assert FeatureExtractor(found).image_size == 32 and "layer fc7" in told
    with pytest.raises(InputError, match="The network takes uint8"):
        features_of(ours, GivenNetwork("imagenet"))


def test_inputs_and_outputs_by_name():
    images = keras.Input((8, 8, 3), name="pixels")
    flat = keras.layers.Flatten()(images)
    network, _ = features_of(keras.Model({"pixels": images}, {"x": flat}), GivenNetwork("0..255"))
    np.testing.assert_array_equal(network(IMAGES), IMAGES.reshape(3, -1))
    two = keras.Model(images, [flat, images])
    with pytest.raises(InputError, match="several outputs. Received: 2"):
        features_of(two, GivenNetwork("0..255"))


def refuses(network, path, words):
    network.save(path)
    with pytest.raises(InputError, match=words):
        load_given_network(str(path))


def test_code_is_not_executed(tmp_path):
    network = sequential(keras.layers.Lambda(lambda x: x * 2))
    refuses(network, tmp_path / "n.keras", "cannot be loaded. .*Lambda(?!.*safe_mode)")


def test_what_is_no_network_of_images_is_refused(tmp_path):
    path = tmp_path / "n.keras"
    refuses(sequential(keras.layers.Flatten(), shape=(8, 8, 1)), path, "something else than RGB")
    refuses(sequential(keras.layers.Dense(2), shape=(8,)), path, "something else than RGB")
    path.write_bytes(b"no zip")
    for file, words in ((path, "cannot be loaded"), (tmp_path / "m.keras", "is not there")):
        with pytest.raises(InputError, match=words):
            load_given_network(str(file))
    with pytest.raises(InputError, match="ends in .keras"):
        load_given_network(__file__)


def test_nothing_is_downloaded(tmp_path):
    with pytest.raises(InputError, match="Nothing is downloaded. .*'dinov2_small' is no folder"):
        load_given_network("keras_hub:dinov2_small")


def test_a_backbone_of_keras_hub(tmp_path):
    hub = pytest.importorskip("keras_hub")
    backbone = hub.models.ViTBackbone(
        image_shape=(32, 32, 3), patch_size=16, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=8
    )
    backbone.save_to_preset(f"{tmp_path}/vit")
    given = GivenNetwork("-1..1", tokens="first")
    network, told = features_of(load_given_network(f"keras_hub:{tmp_path}/vit"), given)
    images = np.random.default_rng(3).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    found = saved_and_loaded(network, tmp_path / "n.keras")(images)
    np.testing.assert_allclose(found, backbone(images / 127.5 - 1)[:, 0], atol=1e-5)
    assert told.startswith("8 values, the first token")

"""The exported model: what its signatures answer."""

import numpy as np
import pytest
import tensorflow as tf

from dc_keras.clustering.whitening import fit_whitening
from dc_keras.data.pixels.center_crop import preprocess_for_clustering
from dc_keras.data.pixels.limits import NO_IMAGE
from dc_keras.errors import InputError
from dc_keras.models.feature_extractor import FEATURES, feature_model
from dc_keras.models.options import NetworkOptions
from dc_keras.models.vgg import build_vgg16
from dc_keras.serving.cluster_model import Cells, ClusterModel
from dc_keras.serving.saved_model import archive_of, blank_where, layers_of, write_archive
from fresh_process import parts_loaded_with

NAMES = ("", "Füchse", "b & c", "")


@pytest.fixture(scope="module")
def pixels():
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (10, 40, 50, 3), np.uint8)


@pytest.fixture(scope="module")
def encoded(pixels):
    return [tf.io.encode_png(image).numpy() for image in pixels]


@pytest.fixture(scope="module")
def crops(encoded):
    return tf.stack([preprocess_for_clustering(tf.constant(image), 32) for image in encoded])


@pytest.fixture(scope="module")
def network():
    return build_vgg16(NetworkOptions(image_size=32, width=1 / 16, scaled_fc_init=True), 4)


@pytest.fixture(scope="module")
def model(network, crops):
    features = feature_model(network, FEATURES)
    whitening = fit_whitening(np.asarray(features(crops, training=False)), 5)
    descriptors = whitening.apply(np.asarray(features(crops, training=False)))
    return ClusterModel(features, Cells(whitening, descriptors[:4], 0.9))


@pytest.fixture(scope="module")
def signatures(model, network, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("export") / "1")
    layers = layers_of(network, ["relu1_2", "fc6"])
    write_archive(archive_of(model, names=NAMES, layers=layers), folder)
    return tf.saved_model.load(folder).signatures


def ask(signature, encoded):
    answer = signature(image_bytes=tf.constant(encoded, tf.string, [len(encoded)]))
    return {name: values.numpy() for name, values in answer.items()}


def test_what_is_served_has_the_bits_of_the_model(signatures, model, encoded, crops):
    found = ask(signatures["assign"], encoded)
    nearest = model.compiled("nearest")(crops)
    np.testing.assert_array_equal(found["top_clusters"], nearest.clusters)
    np.testing.assert_array_equal(found["top_distances"], nearest.distances)
    np.testing.assert_array_equal(found["cluster"], nearest.clusters[:, 0])
    np.testing.assert_array_equal(found["distance"], nearest.distances[:, 0])
    np.testing.assert_array_equal(found["margin"], nearest.margins)
    np.testing.assert_array_equal(found["outlier"], nearest.outliers)
    assert [name.decode() for name in found["name"]] == [NAMES[c] for c in found["cluster"]]
    assert found["cluster"][:4].tolist() == [0, 1, 2, 3]
    for signature, output, answer in (
        ("serving_default", "features", "features"),
        ("embedding", "embedding", "embedding"),
    ):
        served = ask(signatures[signature], encoded)[output]
        np.testing.assert_array_equal(served, model.compiled(answer)(crops))


def test_an_image_that_cannot_be_read_has_nothing_and_says_why(signatures, encoded):
    bad = b"no image"
    for name in ("serving_default", "embedding", "assign", "layers"):
        served = ask(signatures[name], [encoded[0], bad, encoded[1]])
        alone = ask(signatures[name], [encoded[0], encoded[2], encoded[1]])
        status = served.pop("status")
        assert status.tolist() == [b"", NO_IMAGE.encode(), b""]
        for output, values in served.items():
            # The same batch with another image in the bad one's place: not a bit differs.
            np.testing.assert_array_equal(values[::2], alone[output][::2])
            blank = {"i": -1, "b": False, "f": 0.0, "O": b""}[values.dtype.kind]
            assert np.all(values[1] == blank)
    assert ask(signatures["assign"], [])["cluster"].shape == (0,)


def test_layers_that_were_asked_for(signatures, network, encoded, crops):
    served = ask(signatures["layers"], encoded)
    expected = feature_model(network, "relu1_2", "fc6")(crops, training=False)
    for name, values in zip(("relu1_2", "fc6"), expected, strict=True):
        # Float32 sums in another order.
        np.testing.assert_allclose(
            served[name], values, atol=1e-5 * np.abs(np.asarray(values)).max()
        )


def test_pixels_are_cropped_as_files_are(signatures, pixels, encoded):
    """The centre of pixels of any size, also in a batch of none."""
    serve = signatures["features_uint8"]
    found = serve(images=tf.constant(pixels))
    expected = ask(signatures["serving_default"], encoded)["features"]
    np.testing.assert_array_equal(found["features"], expected)
    assert (found["status"].numpy() == b"").all()
    nothing = serve(images=tf.zeros((0, 40, 50, 3), tf.uint8))["features"]
    assert nothing.shape == (0, 256)


def test_a_layer_that_is_not_there(network):
    with pytest.raises(InputError, match="conv9. Expected some of: .*conv1_1.*fc7, relu7, head"):
        layers_of(network, ["fc6", "conv9"])


def test_blanks_by_type():
    outputs = {"a": tf.constant([[1, 2], [3, 4]]), "b": tf.constant(["x", "y"])}
    blank = blank_where(tf.constant([True, False]), outputs)
    assert blank["a"].numpy().tolist() == [[-1, -1], [3, 4]]
    assert blank["b"].numpy().tolist() == [b"", b"y"]


def test_nothing_of_the_training_is_loaded():
    loaded = parts_loaded_with("dc_keras.serving.saved_model")
    assert "serving" in loaded and "training" not in loaded

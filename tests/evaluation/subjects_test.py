"""What is judged, and what its features are."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from dc_keras.assembly import build_untrained
from dc_keras.clustering.pseudo_labels import ClusteringOptions
from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.image_source import numbered
from dc_keras.errors import InputError
from dc_keras.evaluation.labelled_images import Split
from dc_keras.evaluation.measures import Protocol, measure
from dc_keras.evaluation.subjects import (
    file_subject,
    network_subject,
    patches_subject,
    pixels_subject,
    run_subject,
    small_crops,
)
from dc_keras.runs.run_directory import RunDirectory
from tiny import tiny


@pytest.fixture
def split(rng):
    """Red, green and blue images with some noise."""

    def coloured(each):
        labels = np.repeat(np.arange(3), each).astype("int32")
        images = rng.integers(0, 40, (3 * each, 8, 8, 3))
        images[np.arange(3 * each), :, :, labels] += 150
        names = numbered("image", 3 * each)
        return ArraySource(images.astype("uint8"), names, labels, ("r", "g", "b"))

    return Split(coloured(10), coloured(4), "by hand")


@pytest.fixture(scope="module")
def network():
    """Feature maps `maps`, their means `fc7`, and logits."""
    images = keras.Input((8, 8, 3), dtype="uint8")
    maps = keras.layers.Rescaling(1 / 255, name="maps")(images)
    means = keras.layers.GlobalAveragePooling2D(name="fc7")(maps)
    return keras.Model(images, keras.layers.Dense(2, name="head")(means))


def figures_of(subject):
    protocol = Protocol(ClusteringOptions(2, pca_dim=4), batch_size=7, seed=31)
    found = dict(measure(subject, protocol, ("knn", "linear"), pathlib.Path()))
    return found["knn"].figures | found["linear"].figures


def test_features_of_layers_are_those_of_the_network_row_by_row(network, split):
    layers = {"conv5": "maps", "fc7": "fc7"}
    train, test = network_subject("", network, split, layers, batch_size=7).features()
    for features, source in ((train, split.train), (test, split.test)):
        maps = source.images.astype("float32") / 255
        assert list(features) == ["conv5", "fc7"]
        np.testing.assert_allclose(features["conv5"], maps.reshape(len(maps), -1), atol=1e-6)
        np.testing.assert_allclose(features["fc7"], maps.mean(axis=(1, 2)), atol=1e-6)


def test_networks_are_told_apart_by_their_weights(network, split):
    def identity(layers):
        return network_subject("", network, split, layers, batch_size=7).identity

    before = identity({"fc7": "fc7"})
    assert identity({"fc7": "fc7"}) == before != identity({"fc7": "maps"})
    head = network.get_layer("head").bias
    head.assign_add([1.0, 0.0])
    assert identity({"fc7": "fc7"}) != before
    head.assign_sub([1.0, 0.0])


@pytest.mark.parametrize(
    "of", [pixels_subject, lambda *arguments: patches_subject(*arguments, seed=31)]
)
def test_what_is_no_network_stands_in_the_place_of_features(split, of):
    figures = figures_of(of(split, 8, 7))
    assert figures["knn_fc7"] == figures["probe_fc7"] == 1
    assert not any("conv5" in name for name in figures)


@pytest.mark.parametrize(("image_size", "side"), [(64, 32), (16, 16)])
def test_crops_for_patches_are_averaged_where_they_are_large(rng, image_size, side):
    images = rng.integers(0, 256, (5, image_size, image_size, 3), np.uint8)
    source = ArraySource(images, numbered("image", 5))
    cells = image_size // side
    means = images.reshape(5, side, cells, side, cells, 3).mean((2, 4))
    found = small_crops(source, image_size, batch_size=2)
    # Rounded to whole grey levels.
    np.testing.assert_allclose(found, means, atol=0.5001)


def test_neighbours_of_pixels_are_sought_from_the_mean_image():
    """From the mean, dark and bright grey are opposite; from black they are parallel.

    All neighbours would then be equally near, and the larger class would win everywhere.
    """
    values = np.array([40] * 3 + [200] * 5)
    images = np.tile(values[:, None, None, None], (1, 8, 8, 3)).astype("uint8")
    labels = (values > 100).astype("int32")
    grey = ArraySource(images, numbered("grey", 8), labels, ("dark", "bright"))
    assert figures_of(pixels_subject(Split(grey, grey, "by hand"), 8, 7))["knn_fc7"] == 1


def test_a_run_is_judged_by_its_newest_network(tmp_path, split):
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    settings = tiny("images", run.path)
    settings.save(run.flags)
    network = build_untrained(settings)
    run.save_weights(network, epoch=1)
    subject = run_subject("", run, split, tf.distribute.get_strategy(), 7)
    assert [str(one) for one in subject.features()[0]] == ["conv5", "fc7"]
    for found, expected in zip(subject.network.weights, network.weights, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_file_of_a_network_that_knows_its_pixels(tmp_path, network, split):
    images = keras.Input((8, 8, 3))
    means = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(images))
    keras.Model(images, means).save(tmp_path / "means.keras")
    subject = file_subject(str(tmp_path / "means.keras"), split, 32, 7)
    expected = split.train.images.mean(axis=(1, 2)) / 255
    np.testing.assert_allclose(subject.features()[0]["fc7"], expected, atol=1e-5)
    assert "means.keras" in subject.told


def test_a_file_of_a_network_that_does_not_is_refused_with_a_remedy(tmp_path, split):
    images = keras.Input((8, 8, 3))
    keras.Model(images, keras.layers.Flatten()(images)).save(tmp_path / "odd.keras")
    with pytest.raises(InputError, match="dc-keras cluster --network"):
        file_subject(str(tmp_path / "odd.keras"), split, 32, 7)

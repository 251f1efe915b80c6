"""One network's figures: which features they are of, and what a good network would have."""

import dataclasses

import keras
import numpy as np
import pytest

from dc_keras.clustering.pseudo_labels import ClusteringOptions
from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.image_source import numbered
from dc_keras.evaluation.labelled_images import Split
from dc_keras.evaluation.measures import (
    Protocol,
    cluster_features,
    extract_layers,
    features_by_layer,
    measure,
    measure_patches,
    measure_pixels,
    small_crops,
)
from dc_keras.models.feature_extractor import FeatureExtractor

PROTOCOL = Protocol(ClusteringOptions(3, pca_dim=4), last_conv="maps", batch_size=7, seed=31)


def coloured(rng, each):
    """Images of three classes: red, green and blue, with some noise."""
    labels = np.repeat(np.arange(3), each)
    images = rng.integers(0, 40, (3 * each, 8, 8, 3))
    images[np.arange(3 * each), :, :, labels] += 150
    names = numbered("image", 3 * each)
    return ArraySource(images.astype("uint8"), names, labels.astype("int32"), ("r", "g", "b"))


@pytest.fixture
def split(rng):
    return Split(coloured(rng, 10), coloured(rng, 4), "by hand")


@pytest.fixture(scope="module")
def network():
    """Feature maps `maps`, their means `fc7`, and logits."""
    images = keras.Input((8, 8, 3), dtype="uint8")
    maps = keras.layers.Rescaling(1 / 255, name="maps")(images)
    means = keras.layers.GlobalAveragePooling2D(name="fc7")(maps)
    return keras.Model(images, keras.layers.Dense(2, name="head")(means))


def test_a_network_that_tells_the_classes_is_perfect(network, split):
    figures = measure(network, split, PROTOCOL)
    for name in ("nmi", "ari", "accuracy", "purity", "knn_conv5", "knn_fc7"):
        assert figures[name] == pytest.approx(1), name
    for layer in ("conv5", "fc7"):
        assert figures[f"probe_{layer}"] == figures[f"probe_{layer}_validation"] == 1


def test_labels_that_mean_nothing_are_not_read_off(network, split):
    rng = np.random.default_rng(0)
    shuffled = ArraySource(
        split.test.images, split.test.names, rng.permutation(split.test.labels), ("r", "g", "b")
    )
    figures = measure(network, dataclasses.replace(split, test=shuffled), PROTOCOL)
    assert figures["knn_fc7"] < 1 and figures["probe_fc7"] < 1


CLUSTERS = {
    f"{name}{of}"
    for name in ("nmi", "nmi_arithmetic", "ari", "accuracy", "purity")
    for of in ("", "_classes", "_classes_sd")
}


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("clusters", CLUSTERS),
        # Of 30 training images.
        ("knn", {"knn_fc7", "knn_fc7_10"}),
        ("linear", {"probe_fc7", "probe_fc7_c", "probe_fc7_validation"}),
        (
            "lowshot",
            {f"lowshot_fc7_{size}{of}" for size in (1, 2, 4, 8) for of in ("", "_sd", "_c")},
        ),
    ],
)
def test_each_task_has_its_figures(network, split, task, names):
    protocol = dataclasses.replace(PROTOCOL, tasks=(task,))
    figures = measure(network, split, protocol, layers=("fc7",))
    assert set(figures) == names
    # Red, green and blue are easily told.
    accuracies = [figures[name] for name in names if not name.endswith(("_sd", "_c"))]
    assert accuracies == pytest.approx([1] * len(accuracies))


def test_the_usual_tasks_are_all_but_one(network, split):
    figures = measure(network, split, PROTOCOL, layers=("fc7",))
    assert figures.keys() >= CLUSTERS | {"knn_fc7", "probe_fc7"}
    assert not any("lowshot" in name for name in figures)


@pytest.mark.parametrize("of", [measure_pixels, measure_patches])
def test_what_is_no_network_stands_in_the_place_of_features(split, of):
    figures = of(split, PROTOCOL, image_size=8)
    assert figures["knn_fc7"] == figures["probe_fc7"] == 1
    assert not any(word in name for name in figures for word in ("pixels", "patches", "conv5"))


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
    protocol = dataclasses.replace(PROTOCOL, clustering=ClusteringOptions(2, pca_dim=4))
    figures = measure_pixels(Split(grey, grey, "by hand"), protocol, image_size=8)
    assert figures["knn_fc7"] == 1


def test_features_of_layers_are_those_of_the_network_row_by_row(network, split):
    train, test = features_by_layer(network, split, PROTOCOL, ("conv5", "fc7"))
    for features, source in ((train, split.train), (test, split.test)):
        maps = source.images.astype("float32") / 255
        assert list(features) == ["conv5", "fc7"]
        np.testing.assert_allclose(features["conv5"], maps.reshape(len(maps), -1), atol=1e-6)
        np.testing.assert_allclose(features["fc7"], maps.mean(axis=(1, 2)), atol=1e-6)


def test_a_single_output_is_a_layer_too(network, split):
    extractor = FeatureExtractor(keras.Model(network.input, network.get_layer("fc7").output))
    (features,) = extract_layers(extractor, split.test, batch_size=5)
    assert features.shape == (12, 3)


def test_features_are_clustered_by_kmeans_whatever_the_training_took(rng):
    features = rng.normal(size=(60, 8)).astype("float32")
    options = ClusteringOptions(5, method="pic", pca_dim=4)
    by_kmeans = dataclasses.replace(options, method="kmeans")
    found = cluster_features(features, options, seed=1)
    np.testing.assert_array_equal(found, cluster_features(features, by_kmeans, seed=1))
    assert len(set(found.tolist())) == 5


def test_there_are_no_more_clusters_than_images(rng):
    features = rng.normal(size=(6, 8)).astype("float32")
    found = cluster_features(features, ClusteringOptions(100, pca_dim=4), seed=1)
    assert sorted(found.tolist()) == list(range(6))

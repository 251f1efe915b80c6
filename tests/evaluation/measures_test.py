"""One network's figures: which features they are of, and what a good network would have."""

import dataclasses
import pathlib

import keras
import numpy as np
import pytest

from dc_keras.clustering.pseudo_labels import ClusteringOptions
from dc_keras.config.evaluation import USUAL_TASKS
from dc_keras.config.training import ARCHITECTURES
from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.image_source import numbered
from dc_keras.evaluation.labelled_images import Split
from dc_keras.evaluation.measured import Measured
from dc_keras.evaluation.measures import Protocol, cluster_features, measure
from dc_keras.evaluation.subjects import layers_of, network_subject
from dc_keras.models.architectures import LAST_CONV, build_network
from dc_keras.models.options import NetworkOptions

LAYERS = {"conv5": "maps", "fc7": "fc7"}
PROTOCOL = Protocol(ClusteringOptions(3, pca_dim=4), batch_size=7, seed=31)


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


def figures_of(network, split, protocol=PROTOCOL, layers=LAYERS, tasks=USUAL_TASKS):
    subject = network_subject("a network", network, split, layers, batch_size=7)
    found = Measured()
    for _, measured in measure(subject, protocol, tasks, pathlib.Path()):
        found |= measured
    return found.figures


def test_a_network_that_tells_the_classes_is_perfect(network, split):
    figures = figures_of(network, split)
    for name in ("nmi", "ari", "accuracy", "purity", "knn_conv5", "knn_fc7"):
        assert figures[name] == pytest.approx(1), name
    for layer in ("conv5", "fc7"):
        assert figures[f"probe_{layer}"] == figures[f"probe_{layer}_validation"] == 1


def test_labels_that_mean_nothing_are_not_read_off(network, split):
    rng = np.random.default_rng(0)
    shuffled = ArraySource(
        split.test.images, split.test.names, rng.permutation(split.test.labels), ("r", "g", "b")
    )
    figures = figures_of(network, dataclasses.replace(split, test=shuffled))
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
        ("knn", {"knn_fc7", "knn_fc7_10", "knn_descriptors"}),
        ("linear", {"probe_fc7", "probe_fc7_c", "probe_fc7_validation"}),
        (
            "lowshot",
            {f"lowshot_fc7_{size}{of}" for size in (1, 2, 4, 8) for of in ("", "_sd", "_c")},
        ),
    ],
)
def test_each_task_has_its_figures(network, split, task, names):
    figures = figures_of(network, split, layers={"fc7": "fc7"}, tasks=(task,))
    assert set(figures) == names
    # Red, green and blue are easily told.
    accuracies = [figures[name] for name in names if not name.endswith(("_sd", "_c"))]
    assert accuracies == pytest.approx([1] * len(accuracies))


def test_the_usual_tasks_are_all_but_one(network, split):
    figures = figures_of(network, split, layers={"fc7": "fc7"})
    assert figures.keys() >= CLUSTERS | {"knn_fc7", "probe_fc7"}
    assert not any("lowshot" in name for name in figures)


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


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_all_layers_of_every_network_of_ours_are_measured(arch, rng, tmp_path):
    """Also of those without fc6."""
    options = NetworkOptions(image_size=64, arch=arch, width=1 / 64, use_sobel=False)
    network = build_network(options, 4)
    labels = np.repeat(np.arange(3), 8).astype("int32")
    pixels = rng.integers(0, 40, (24, 64, 64, 3)).astype("uint8")
    pixels[np.arange(24), :, :, labels] += 150
    source = ArraySource(pixels, numbered("image", 24), labels, ("r", "g", "b"))
    subject = network_subject("", network, Split(source, source, ""), layers_of(arch), 4)
    ((task, measured),) = measure(subject, PROTOCOL, ("layers",), tmp_path)
    names = {name for name in measured.figures if name.startswith("layer_")}
    assert task == "layers"
    assert {f"layer_{LAST_CONV[arch]}", "layer_fc7"} <= names


def test_of_a_network_without_a_head_layers_are_not_known(network, split, tmp_path):
    features = keras.Model(network.input, network.get_layer("fc7").output)
    subject = network_subject("", features, split, {"fc7": "fc7"}, 7)
    assert [
        measured.figures for _, measured in measure(subject, PROTOCOL, ("layers",), tmp_path)
    ] == [{}]

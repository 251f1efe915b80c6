"""RUN/model: what a training leaves for use."""

import csv

import numpy as np
import pytest

from dc_keras.clustering.pseudo_labels import Clusters
from dc_keras.errors import InputError
from dc_keras.models.architectures import build_network
from dc_keras.models.options import NetworkOptions
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.trained_model import is_complete, load_model, save_model, save_network
from turns import whitening

NAMES = ("a.png", 'b, "c".png', "sub/ä.png")


@pytest.fixture(scope="module")
def network():
    return build_network(NetworkOptions(image_size=32, width=0.0625), 4)


@pytest.fixture
def run(tmp_path, network):
    run = RunDirectory(tmp_path / "run")
    clusters = Clusters(np.array([2, 0, 2], "int32"), np.eye(4, 2, dtype="float32"))
    save_model(run, network, clusters, whitening(), NAMES, epochs=5)
    return run


def test_the_network_computes_the_same(run, network, rng):
    images = rng.integers(0, 256, (3, 32, 32, 3), dtype="uint8")
    loaded = load_model(run).network
    np.testing.assert_array_equal(loaded(images, training=False), network(images, training=False))


def test_whitening_and_centroids_come_back(run):
    loaded = load_model(run)
    np.testing.assert_array_equal(loaded.centroids, np.eye(4, 2, dtype="float32"))
    np.testing.assert_array_equal(loaded.whitening.projection, whitening().projection)


def test_the_cluster_of_each_image_is_listed_by_its_path(run):
    with open(run.model / "clusters.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["index"], row["path"], row["cluster"]) for row in rows] == [
        ("0", NAMES[0], "2"),
        ("1", NAMES[1], "0"),
        ("2", NAMES[2], "2"),
    ]


def test_a_model_is_complete_for_its_number_of_epochs_alone(run):
    assert is_complete(run, 5)
    assert not is_complete(run, 6)


def test_no_model_yet(tmp_path):
    run = RunDirectory(tmp_path)
    assert not is_complete(run, 0)
    with pytest.raises(InputError, match="no final clusters yet.*go on with: python train.py"):
        load_model(run)


def test_a_network_alone_has_no_clusters(tmp_path, network):
    run = RunDirectory(tmp_path)
    run.model.mkdir()
    save_network(run.model, network)
    with pytest.raises(InputError, match="The run has no clusters.*weights were imported"):
        load_model(run)

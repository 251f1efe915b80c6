"""RUN/model: what a training leaves for use."""

import csv
import subprocess

import numpy as np
import pytest

from dc_keras.errors import InputError
from dc_keras.models.architectures import build_network
from dc_keras.models.options import NetworkOptions
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.trained_model import (
    TrainedModel,
    is_complete,
    load_model,
    save_model,
    save_network,
)
from turns import whitening

NAMES = ("a.png", 'b, "c".png', "sub/ä.png")


@pytest.fixture(scope="module")
def network():
    return build_network(NetworkOptions(image_size=32, width=0.0625), 4)


@pytest.fixture
def run(tmp_path, network):
    run = RunDirectory(tmp_path / "run")
    model = TrainedModel(network, whitening(), np.eye(4, 2, dtype="float32"), 0.25)
    save_model(run, model, np.array([2, 0, 2], "int32"), NAMES, epochs=5)
    return run


def test_the_network_computes_the_same(run, network, rng):
    images = rng.integers(0, 256, (3, 32, 32, 3), dtype="uint8")
    loaded = load_model(run).network
    np.testing.assert_array_equal(loaded(images, training=False), network(images, training=False))


def test_whitening_and_centroids_come_back(run):
    loaded = load_model(run)
    np.testing.assert_array_equal(loaded.centroids, np.eye(4, 2, dtype="float32"))
    np.testing.assert_array_equal(loaded.whitening.projection, whitening().projection)
    assert loaded.outlier_distance == 0.25


@pytest.mark.parametrize("told", [None, '{"epochs": 5}', '{"epochs": 5, "outlier_distance": null}'])
def test_models_of_older_versions_have_no_outlier_distance(run, told):
    (run.model / "SHA256SUMS").unlink()
    path = run.model / "training.json"
    path.unlink() if told is None else path.write_text(told)
    assert load_model(run).outlier_distance is None


@pytest.mark.parametrize("told", ['{"outlier_distance": "far"}', '{"outlier_distance": -1.0}', "["])
def test_a_damaged_outlier_distance_is_told(run, told):
    (run.model / "SHA256SUMS").unlink()
    (run.model / "training.json").write_text(told)
    with pytest.raises(InputError, match="The trained model is damaged"):
        load_model(run)


def test_the_cluster_of_each_image_is_listed_by_its_path(run):
    with open(run.model / "clusters.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["index"], row["path"], row["cluster"]) for row in rows] == [
        ("0", NAMES[0], "2"),
        ("1", NAMES[1], "0"),
        ("2", NAMES[2], "2"),
    ]


FORMULAS = ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1"]


@pytest.mark.parametrize("name", FORMULAS)
def test_the_list_of_clusters_holds_no_formulas(tmp_path, network, name):
    run = RunDirectory(tmp_path)
    model = TrainedModel(network, whitening(), np.eye(4, 2, dtype="float32"))
    save_model(run, model, np.array([0, 1], "int32"), [f"{name}.png", "a=1.png"], epochs=5)
    with open(run.model / "clusters.csv", newline="", encoding="utf-8") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [f"'{name}.png", "a=1.png"]


def test_a_model_is_complete_for_its_number_of_epochs_alone(run):
    assert is_complete(run, 5)
    assert not is_complete(run, 6)


def test_a_model_is_complete_for_the_number_of_clusters_that_was_asked_for(tmp_path, network):
    run = RunDirectory(tmp_path)
    model = TrainedModel(network, whitening(), np.eye(4, 2, dtype="float32"))
    save_model(run, model, np.zeros(2, "int32"), ["a", "b"], epochs=5, final_clusters=4)
    assert is_complete(run, 5, 4)
    assert not is_complete(run, 5) and not is_complete(run, 5, 3)


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


FILES = ("network.keras", "whitening.npz", "centroids.npy")
SUMS = "SHA256SUMS"


def test_checksums_are_those_of_sha256sum(run):
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", SUMS], cwd=run.model, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    listed = {line.split(":")[0] for line in done.stdout.splitlines()}
    assert listed == {path.name for path in run.model.iterdir()} - {SUMS}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["bit", "empty", "missing"])
@pytest.mark.parametrize("with_sums", [True, False])
def test_a_damaged_model_is_told_with_what_writes_it_anew(run, name, damage, with_sums):
    path = run.model / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content if damage == "bit" else b"")
    if not with_sums:
        (run.model / SUMS).unlink()
        if damage == "bit" and name != "network.keras":
            return  # Numbers look like others.
    with pytest.raises(InputError, match="The trained model is damaged.*writ.* anew .*train.py"):
        load_model(run)
    assert not is_complete(run, 5) or not with_sums


def test_a_pickle_in_a_model_of_an_older_version_is_refused(run):
    (run.model / SUMS).unlink()
    np.save(run.model / "centroids.npy", np.array([{}, None]), allow_pickle=True)
    with pytest.raises(InputError, match="model is damaged.*allow_pickle=False"):
        load_model(run)


def test_a_model_of_an_older_version_has_no_checksums(run):
    (run.model / SUMS).unlink()
    assert len(load_model(run).centroids) == 4 and is_complete(run, 5)


@pytest.mark.parametrize("text", ["", "[]", "{}", "5", '{"epochs": "5"}', "\xff"])
@pytest.mark.parametrize("with_sums", [True, False])
def test_a_damaged_training_json_is_none_of_a_complete_model(run, text, with_sums):
    (run.model / "training.json").write_bytes(text.encode("latin-1"))
    if not with_sums:
        (run.model / SUMS).unlink()
    assert not is_complete(run, 5)

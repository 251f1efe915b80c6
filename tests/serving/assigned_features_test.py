"""Features of new images go to the clusters of a run of given features."""

import csv

import numpy as np
import pytest

import textures
from dc_keras.clustering.pseudo_labels import Clusters
from dc_keras.clustering.whitening import fit_whitening
from dc_keras.data.sources.manifest import write_manifest
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError
from dc_keras.runs.given import Given, save_given
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.trained_model import TrainedModel, save_model
from dc_keras.serving.assigned_features import write_clusters_of_features
from dc_keras.serving.assigned_images import write_clusters
from tiny import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("textures")
    textures.write_folders(folder, *textures.textures(2))
    return folder


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """A run of features around four corners, whose clusters are these."""
    run = RunDirectory(tmp_path_factory.mktemp("runs") / "run")
    run.path.mkdir()
    source = open_source(str(folder))
    features = np.eye(8, dtype=np.float32)
    whitening = fit_whitening(features, 7)
    clusters = Clusters(np.arange(8, dtype=np.int32), whitening.apply(features))
    write_manifest(source, run.manifest)
    model = TrainedModel(None, whitening, clusters.centroids, outlier_distance=0.5)
    save_model(run, model, clusters.assignments, source.names, epochs=0, features=[features])
    save_given(run, Given("f.npy", is_network=False, told="8 values"))
    tiny(folder, run.path).save(run.flags)
    return run


def test_features_go_to_the_nearest_clusters(run, folder, tmp_path):
    names = sorted(open_source(str(folder)).names)
    nearest = np.array([3, 3, 0, 7, 5, 1, 2, 6])
    features = np.eye(8, dtype=np.float32)[nearest]
    features[0] = 1 / 8 + 0.001 * features[0] + 0.0009 * features[2]
    np.save(tmp_path / "new.npy", features)
    out = tmp_path / "out.csv"
    given = (f"{tmp_path}/new.npy", "")
    told = write_clusters_of_features(
        str(run.path), given, str(folder), str(out), names=list("abcdefgh")
    )
    assert told == (8, 1, 0)
    with open(out, newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    assert [int(rows[name]["cluster"]) for name in names] == nearest.tolist()
    assert [rows[name]["name"] for name in names] == ["abcdefgh"[k] for k in nearest]
    # Halfway between the clusters 3 and 0, and far from both.
    assert rows[names[0]]["outlier"] == "yes" and rows[names[0]]["cluster_2"] == "0"
    assert all(float(rows[name]["distance"]) < 1e-3 for name in names[1:])


def test_images_without_features_are_left_out(run, folder, tmp_path):
    names = open_source(str(folder)).names
    np.savez(tmp_path / "new.npz", features=np.eye(8)[:3], paths=np.array([*names[:2], "no.png"]))
    told = write_clusters_of_features(
        str(run.path), (f"{tmp_path}/new.npz", ""), str(folder), f"{tmp_path}/out.csv"
    )
    assert told.images == 2


def test_what_does_not_fit_the_run_is_refused(run, folder, tmp_path):
    np.save(tmp_path / "new.npy", np.zeros((8, 5)))
    given, out = (f"{tmp_path}/new.npy", ""), f"{tmp_path}/out.csv"
    with pytest.raises(InputError, match="with 5 values of each image. Expected 8"):
        write_clusters_of_features(str(run.path), given, str(folder), out)
    with pytest.raises(InputError, match="The run has no network.*--embeddings"):
        write_clusters(str(run.path), str(folder), out, max_bad_fraction=0)
    assert not (tmp_path / "out.csv").exists()

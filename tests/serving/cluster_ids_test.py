"""Clusters of new images: those of the nearest centroids, image by image."""

import csv
import os
import shutil

import numpy as np
import pytest

import textures
from dc_keras.clustering.pseudo_labels import Clusters
from dc_keras.clustering.whitening import fit_whitening
from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.image_source import numbered
from dc_keras.errors import InputError
from dc_keras.models.architectures import build_network
from dc_keras.models.feature_extractor import FEATURES, feature_model
from dc_keras.models.options import NetworkOptions
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.trained_model import TrainedModel, save_model
from dc_keras.serving.cluster_ids import assign, write_clusters
from fresh_process import parts_loaded_with
from tiny import tiny


@pytest.fixture(scope="module")
def images():
    return textures.textures(3)


@pytest.fixture(scope="module")
def model(images):
    """A network that is not trained, with the descriptors of five images as centroids."""
    options = NetworkOptions(image_size=32, width=0.0625, scaled_fc_init=True)
    network = build_network(options, 5)
    features = np.asarray(feature_model(network, FEATURES)(images[0], training=False))
    whitening = fit_whitening(features, 4)
    return TrainedModel(network, whitening, whitening.apply(features[[3, 1, 4, 0, 5]]))


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    """A finished run with that model."""
    run = RunDirectory(tmp_path_factory.mktemp("runs") / "run")
    run.path.mkdir()
    tiny("images", run.path).save(run.flags)
    clusters = Clusters(np.zeros(1, "int32"), model.centroids)
    save_model(run, model.network, clusters, model.whitening, ["image"], epochs=1)
    return run


@pytest.fixture
def folder(images, tmp_path):
    """The images in folders by class."""
    textures.write_folders(tmp_path / "images", *images)
    return tmp_path / "images"


def test_each_image_goes_to_its_nearest_centroid(images, model):
    source = ArraySource(images[0], numbered("image", 12))
    found = list(assign(model, source, batch_size=5))
    assert [len(clusters) for clusters, _ in found] == [5, 5, 2]
    clusters, distances = map(np.concatenate, zip(*found, strict=True))
    features = np.asarray(feature_model(model.network, FEATURES)(images[0], training=False))
    descriptors = model.whitening.apply(features)
    expected = np.linalg.norm(descriptors[:, None] - model.centroids, axis=-1)
    np.testing.assert_array_equal(clusters, expected.argmin(1))
    assert clusters[[3, 1, 4, 0, 5]].tolist() == [0, 1, 2, 3, 4]
    # Faiss computes |x|^2 - 2xc + |c|^2 in float32.
    np.testing.assert_allclose(distances, expected.min(1), atol=2e-3)


def test_the_file_has_a_line_for_each_image(images, model, run, folder, tmp_path):
    counts = write_clusters(
        str(run.path), str(folder), str(tmp_path / "out.csv"), max_bad_fraction=0, batch_size=5
    )
    assert counts == (12, 0)
    source = ArraySource(images[0], numbered("image", 12))
    (clusters, _), *_ = assign(model, source, batch_size=12)
    with open(tmp_path / "out.csv", newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    for index, label in enumerate(images[1]):
        row = rows.pop(f"{textures.CLASSES[label][0]}/{index:05d}.png")
        assert int(row["cluster"]) == clusters[index]
        assert 0 <= float(row["distance"]) < 2.01
    assert not rows


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_gives_the_same_lines_as_its_folder(run, folder, tmp_path, kind):
    archive = shutil.make_archive(str(tmp_path / "images"), kind, folder)
    for data_dir, out in ((str(folder), "of_folder.csv"), (archive, "of_archive.csv")):
        write_clusters(
            str(run.path), data_dir, str(tmp_path / out), max_bad_fraction=0, batch_size=5
        )
    assert (tmp_path / "of_archive.csv").read_text() == (tmp_path / "of_folder.csv").read_text()


def test_the_file_holds_no_formulas(run, folder, tmp_path):
    next(folder.rglob("*.png")).rename(folder / "=1+1.png")
    out = tmp_path / "out.csv"
    write_clusters(str(run.path), str(folder), str(out), max_bad_fraction=0, batch_size=5)
    lines = out.read_text().splitlines()
    assert len(lines) == 13 and sum(line.startswith("'=1+1.png,") for line in lines) == 1
    assert not any(line.startswith("=") for line in lines)


def test_what_cannot_be_read_is_left_out(run, folder, tmp_path):
    (folder / "fine" / "broken.png").write_text("no picture")
    counts = write_clusters(
        str(run.path), str(folder), str(tmp_path / "out.csv"), max_bad_fraction=0.5, batch_size=5
    )
    assert counts == (12, 1)
    assert "broken" not in (tmp_path / "out.csv").read_text()


def test_what_is_passed_over_is_told(run, folder, tmp_path, capsys):
    (folder / "fine" / "clip.mp4").write_text("no picture")
    write_clusters(
        str(run.path), str(folder), str(tmp_path / "out.csv"), max_bad_fraction=0, batch_size=5
    )
    assert capsys.readouterr().out == "Passed over: 1 video file ('fine/clip.mp4')\n"


def test_a_folder_that_is_missing_for_the_output_is_told_first(tmp_path):
    with pytest.raises(InputError, match="The output's folder is missing"):
        write_clusters(
            "no/run", "no/images", f"{tmp_path}/no/out.csv", max_bad_fraction=0, batch_size=5
        )


@pytest.mark.parametrize("kind", ["device", "pipe", "folder"])
def test_an_output_that_is_no_file_is_told_first(tmp_path, kind):
    out = tmp_path / "out"
    {"device": lambda: out.symlink_to("/dev/null"), "pipe": lambda: os.mkfifo(out)}.get(
        kind, out.mkdir
    )()
    with pytest.raises(InputError, match=f"The output is a {kind}"):
        write_clusters("no/run", "no/images", str(out), max_bad_fraction=0, batch_size=5)


def test_a_run_that_is_not_finished_is_refused(folder, tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    tiny("images", run.path).save(run.flags)
    with pytest.raises(InputError, match="no final clusters yet"):
        write_clusters(
            str(run.path), str(folder), f"{tmp_path}/out.csv", max_bad_fraction=0, batch_size=5
        )
    assert not (tmp_path / "out.csv").exists()


def test_nothing_of_the_training_is_loaded():
    loaded = parts_loaded_with("dc_keras.serving.cluster_ids")
    assert "serving" in loaded and "training" not in loaded

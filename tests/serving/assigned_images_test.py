"""Clusters of new images: those of the nearest centroids, image by image."""

import csv
import os
import shutil

import numpy as np
import pytest

import textures
from dc_keras.clustering.whitening import fit_whitening
from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.image_source import numbered
from dc_keras.errors import InputError
from dc_keras.models.architectures import build_network
from dc_keras.models.feature_extractor import FEATURES, feature_model
from dc_keras.models.options import NetworkOptions
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.trained_model import TrainedModel, save_model
from dc_keras.serving import assigned_images
from dc_keras.serving.assigned_images import assign, rows, write_clusters
from dc_keras.serving.cluster_model import NearestClusters
from dc_keras.serving.run_model import model_of_run
from fresh_process import parts_loaded_with
from tiny import tiny


@pytest.fixture(scope="module")
def images():
    return textures.textures(3)


@pytest.fixture(scope="module")
def trained(images):
    """A network that is not trained, with the descriptors of five images as centroids."""
    options = NetworkOptions(image_size=32, width=0.0625, scaled_fc_init=True)
    network = build_network(options, 5)
    features = np.asarray(feature_model(network, FEATURES)(images[0], training=False))
    whitening = fit_whitening(features, 4)
    return TrainedModel(network, whitening, whitening.apply(features[[3, 1, 4, 0, 5]]), 0.5)


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    """A finished run with that model."""
    run = RunDirectory(tmp_path_factory.mktemp("runs") / "run")
    run.path.mkdir()
    tiny("images", run.path).save(run.flags)
    save_model(run, trained, np.zeros(1, "int32"), ["image"], epochs=1)
    return run


@pytest.fixture(scope="module")
def model(run):
    return model_of_run(run)


@pytest.fixture
def folder(images, tmp_path):
    """The images in folders by class."""
    textures.write_folders(tmp_path / "images", *images)
    return tmp_path / "images"


def read(path):
    """The rows of the file by path."""
    with open(path, newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def test_each_image_goes_to_its_nearest_centroid(images, trained, model, monkeypatch):
    monkeypatch.setattr(assigned_images, "BATCH", 5)
    source = ArraySource(images[0], numbered("image", 12))
    found = list(assign(model, source))
    assert [len(nearest.margins) for nearest in found] == [5, 5, 2]
    clusters = np.concatenate([nearest.clusters for nearest in found])
    distances = np.concatenate([nearest.distances for nearest in found])
    features = np.asarray(feature_model(trained.network, FEATURES)(images[0], training=False))
    descriptors = trained.whitening.apply(features)
    expected = np.linalg.norm(descriptors[:, None] - trained.centroids, axis=-1)
    np.testing.assert_array_equal(clusters[:, 0], expected.argmin(1))
    assert clusters[[3, 1, 4, 0, 5], 0].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(distances, np.sort(expected, 1)[:, :3], atol=1e-4)


def test_the_file_has_a_line_for_each_image(images, model, run, folder, tmp_path):
    out = tmp_path / "out.csv"
    told = write_clusters(str(run.path), str(folder), str(out), max_bad_fraction=0)
    (nearest,) = assign(model, ArraySource(images[0], numbered("image", 12)))
    assert told == (12, nearest.outliers.sum(), 0)
    assert 0 < told.outliers < 12
    found = read(out)
    for index, label in enumerate(images[1]):
        row = found.pop(f"{textures.CLASSES[label][0]}/{index:05d}.png")
        # Each number as it is, to the bit; its blocks have the images in another order.
        assert [int(row[name]) for name in ("cluster", "cluster_2", "cluster_3")] == list(
            nearest.clusters[index]
        )
        for place, name in enumerate(("distance", "distance_2", "distance_3")):
            assert float(row[name]) == pytest.approx(nearest.distances[index, place], abs=1e-5)
        assert float(row["margin"]) == pytest.approx(
            float(row["distance_2"]) - float(row["distance"]), abs=1e-6
        )
        assert row["outlier"] == ("yes" if float(row["distance"]) > 0.5 else "no")
        assert "name" not in row
    assert not found


def test_clusters_are_named_where_they_have_names(run, folder, tmp_path):
    names = ("a", "=b", "", "d", "e")
    out = tmp_path / "out.csv"
    write_clusters(str(run.path), str(folder), str(out), max_bad_fraction=0, names=names)
    shown = ("a", "'=b", "", "d", "e")
    assert all(row["name"] == shown[int(row["cluster"])] for row in read(out).values())


def test_numbers_come_back_to_the_bit():
    values = np.float32([[0.1, 1 / 3, 1.9999999]])
    nearest = NearestClusters(np.int32([[4, 0, 2]]), values, values[:, 1], np.array([True]))
    ((cluster, distance, margin, outlier, second, d2, third, d3),) = rows(nearest)
    assert (cluster, second, third, outlier) == ("4", "0", "2", "yes")
    assert [np.float32(x) for x in (distance, d2, d3)] == values[0].tolist()
    assert np.float32(margin) == values[0, 1]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_gives_the_same_lines_as_its_folder(run, folder, tmp_path, kind):
    archive = shutil.make_archive(str(tmp_path / "images"), kind, folder)
    for data_dir, out in ((str(folder), "of_folder.csv"), (archive, "of_archive.csv")):
        write_clusters(str(run.path), data_dir, str(tmp_path / out), max_bad_fraction=0)
    assert (tmp_path / "of_archive.csv").read_text() == (tmp_path / "of_folder.csv").read_text()


def test_the_file_holds_no_formulas(run, folder, tmp_path):
    next(folder.rglob("*.png")).rename(folder / "=1+1.png")
    out = tmp_path / "out.csv"
    write_clusters(str(run.path), str(folder), str(out), max_bad_fraction=0)
    lines = out.read_text().splitlines()
    assert len(lines) == 13 and sum(line.startswith("'=1+1.png,") for line in lines) == 1
    assert not any(line.startswith("=") for line in lines)


def test_what_cannot_be_read_is_left_out(run, folder, tmp_path):
    (folder / "fine" / "broken.png").write_text("no picture")
    counts = write_clusters(
        str(run.path), str(folder), str(tmp_path / "out.csv"), max_bad_fraction=0.5
    )
    assert (counts.images, counts.unreadable) == (12, 1)
    assert "broken" not in (tmp_path / "out.csv").read_text()


def test_what_is_passed_over_is_told(run, folder, tmp_path, capsys):
    (folder / "fine" / "clip.mp4").write_text("no picture")
    write_clusters(str(run.path), str(folder), str(tmp_path / "out.csv"), max_bad_fraction=0)
    assert capsys.readouterr().out == "Passed over: 1 video file ('fine/clip.mp4')\n"


def test_a_folder_that_is_missing_for_the_output_is_told_first(tmp_path):
    with pytest.raises(InputError, match="The output's folder is missing"):
        write_clusters("no/run", "no/images", f"{tmp_path}/no/out.csv", max_bad_fraction=0)


@pytest.mark.parametrize("kind", ["device", "pipe", "folder"])
def test_an_output_that_is_no_file_is_told_first(tmp_path, kind):
    out = tmp_path / "out"
    {"device": lambda: out.symlink_to("/dev/null"), "pipe": lambda: os.mkfifo(out)}.get(
        kind, out.mkdir
    )()
    with pytest.raises(InputError, match=f"The output is a {kind}"):
        write_clusters("no/run", "no/images", str(out), max_bad_fraction=0)


def test_a_run_that_is_not_finished_is_refused(folder, tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    tiny("images", run.path).save(run.flags)
    with pytest.raises(InputError, match="no final clusters yet"):
        write_clusters(str(run.path), str(folder), f"{tmp_path}/out.csv", max_bad_fraction=0)
    assert not (tmp_path / "out.csv").exists()


def test_nothing_of_the_training_is_loaded():
    loaded = parts_loaded_with("dc_keras.serving.assigned_images")
    assert "serving" in loaded and "training" not in loaded

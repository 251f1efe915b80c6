"""The sheets of a run: what is on them, and runs that they cannot be made of."""

import shutil

import keras
import numpy as np
import pytest

import textures
from dc_keras.config import ClusterConfig
from dc_keras.errors import InputError
from dc_keras.exploring.look.run_sheets import LookOptions, look_sheets
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.training.given_features import cluster
from finished_run import finished_run

QUICK = LookOptions(layer="relu2_2", filters=3, clusters=2, max_images=20, batch_size=8)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of the published network on 24 textures, one of which is gone."""
    place = tmp_path_factory.mktemp("looked_at")
    textures.write_folders(place / "images", *textures.textures(6))
    finished_run(place / "run", place / "images")
    next((place / "images").rglob("*.png")).unlink()
    return RunDirectory(place / "run")


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def sheets(run):
    before = files_of(run.path)
    made = look_sheets(run, QUICK)
    assert files_of(run.path) == before  # nothing is written
    return made


def test_sheets_say_what_they_show(sheets):
    assert [sheet.name for sheet in sheets] == ["first_layer", "filters_relu2_2", "clusters"]
    first, filters, clusters = sheets
    assert "third is what both make of grey pixels" in first.note
    assert "the 9 of 20 images" in filters.note and "filters, evenly spaced" in filters.note
    assert clusters.title == "What the network sees in 2 of 3 clusters"
    assert "by gradients (relu3_3, 8 x 8 cells)" in clusters.note


def test_pictures_for_filters_that_see_gradients_are_grey(sheets):
    # The first picture, away from the frames on the images beside it.
    drawn = sheets[1].picture[:190, :190].astype(int)
    assert np.ptp(drawn, axis=2).max() == 0 and drawn.std() > 5


def test_what_cannot_be_looked_at(run, tmp_path):
    with pytest.raises(InputError, match="--layer=fc7. Expected one of: conv1_1"):
        look_sheets(run, LookOptions(layer="fc7"))
    copy = RunDirectory(tmp_path / "run")
    shutil.copytree(run.path, copy.path)
    shutil.rmtree(copy.model)
    with pytest.raises(InputError, match="no final clusters yet"):
        look_sheets(copy)


def clustered(run, place, *flags):
    """A run of dc-keras cluster on the images of another."""
    given = [f"--data_dir={run.path.parent}/images", f"--run_dir={place}/run", *flags]
    config = ClusterConfig.from_arguments([*given, "--num_clusters=2"])
    config.validate()
    return cluster(config)


def test_a_run_of_features_has_no_network_to_look_at(run, tmp_path, rng):
    np.save(tmp_path / "f.npy", rng.normal(size=(23, 5)).astype(np.float32))
    given = clustered(run, tmp_path, f"--embeddings={tmp_path}/f.npy")
    with pytest.raises(InputError, match="no network: the features of its images were given"):
        look_sheets(given)


def test_the_network_of_others_is_looked_at_in_colours(run, tmp_path):
    pixels = keras.Input((16, 16, 3))
    maps = keras.layers.Conv2D(4, 3, activation="relu", name="seen")(pixels)
    keras.Model(pixels, maps).save(tmp_path / "n.keras")
    given = clustered(run, tmp_path, f"--network={tmp_path}/n.keras", "--pixels=-1..1")
    first, filters, clusters = look_sheets(given, LookOptions(filters=2, clusters=2))
    assert first.title == "The 4 filters of the first layer" and "two inputs" not in first.note
    assert filters.title == "What filters of seen look for"
    assert np.ptp(filters.picture[:190, :190].astype(int), axis=2).max() > 5
    assert "by gradients (seen, 14 x 14 cells)" in clusters.note

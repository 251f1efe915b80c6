"""Which images networks are judged on, and how they are split."""

import dataclasses

import numpy as np
import pytest

import textures
from dc_keras.data.sources.manifest import write_manifest
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError
from dc_keras.evaluation.labelled_images import SplitOptions, open_labelled_images
from dc_keras.runs.run_directory import RunDirectory


@pytest.fixture
def folder(tmp_path):
    """Ten images of each of four classes."""
    textures.write_folders(tmp_path / "images", *textures.textures(10))
    return tmp_path / "images"


@pytest.fixture
def options(folder):
    """A fifth of each class is tested on."""
    return SplitOptions(
        data_dir=str(folder),
        test_dir="",
        test_fraction=0.2,
        max_images=1000,
        max_bad_fraction=0.0,
        seed=31,
    )


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path / "run")


def test_a_part_of_each_class_is_tested_on(options, run):
    split = open_labelled_images(options, run, "")
    assert np.bincount(split.train.labels).tolist() == [8] * 4
    assert np.bincount(split.test.labels).tolist() == [2] * 4
    assert not set(split.train.names) & set(split.test.names)
    assert "random 20% of each class" in split.description


def test_the_seed_alone_splits(options, run):
    first, same, other = (
        open_labelled_images(dataclasses.replace(options, seed=seed), run, "").test.names
        for seed in (1, 1, 2)
    )
    assert first == same != other


def test_other_images_to_test_on(options, run, tmp_path):
    textures.write_folders(tmp_path / "other", *textures.textures(3, seed=5))
    options = dataclasses.replace(options, test_dir=str(tmp_path / "other"))
    split = open_labelled_images(options, run, "")
    assert (len(split.train), len(split.test)) == (40, 12)
    assert split.description == f"tested on {tmp_path / 'other'}"


def test_other_images_of_other_classes_are_refused(options, run, tmp_path):
    names = ["fine", "grain", "ridge", "wood"]
    textures.write_folders(tmp_path / "other", *textures.textures(3), names)
    options = dataclasses.replace(options, test_dir=str(tmp_path / "other"))
    with pytest.raises(InputError, match="classes of the test images differ.*wood.*weave"):
        open_labelled_images(options, run, "")


def test_the_images_of_the_run_are_those_of_its_manifest(options, run, folder):
    run.path.mkdir()
    write_manifest(open_source(str(folder)).select(np.arange(0, 40, 2)), run.manifest)
    split = open_labelled_images(dataclasses.replace(options, data_dir=""), run, str(folder))
    assert len(split.train) + len(split.test) == 20


def test_imported_weights_have_no_images_of_their_own(options, run):
    with pytest.raises(InputError, match="no images of its own.*--data_dir"):
        open_labelled_images(dataclasses.replace(options, data_dir=""), run, "")


def test_at_most_so_many_images_drawn_at_random(options, run):
    options = dataclasses.replace(options, max_images=30)
    split = open_labelled_images(options, run, "")
    names = [*split.train.names, *split.test.names]
    assert len(names) == len(set(names)) == 30
    other = open_labelled_images(dataclasses.replace(options, seed=1), run, "")
    assert {*other.train.names, *other.test.names} != set(names)


def test_images_that_cannot_be_read_are_left_out(options, run, folder):
    (folder / "fine" / "broken.png").write_text("no picture")
    split = open_labelled_images(dataclasses.replace(options, max_bad_fraction=0.5), run, "")
    assert len(split.train) + len(split.test) == 40


@pytest.mark.parametrize("which", ["data_dir", "test_dir"])
def test_images_without_labels_are_refused(options, run, tmp_path, which):
    np.savez(tmp_path / "images.npz", images=textures.textures(4)[0])
    options = dataclasses.replace(options, **{which: f"{tmp_path}/images.npz"})
    with pytest.raises(InputError, match="no labels to compare with. Received: .*images.npz"):
        open_labelled_images(options, run, "")


def test_a_class_of_a_single_image_cannot_be_split(options, run, folder):
    for path in sorted((folder / "fine").iterdir())[1:]:
        path.unlink()
    with pytest.raises(InputError, match="A class has a single image.*Give a --test_dir"):
        open_labelled_images(options, run, "")

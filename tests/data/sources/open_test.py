"""What a data set is called, and what is told where there is none."""

import os

import numpy as np
import pytest

from data_sets import write_image
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError


def test_class_folders_give_labels_in_sorted_order(tmp_path):
    for name in ["b/2.png", "b/1.jpg", "a/deep/x.PNG", "a/y.webp", "c d/é, \n.bmp"]:
        write_image(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    source = open_source(str(tmp_path))
    assert source.names == ("b/1.jpg", "b/2.png", "a/deep/x.PNG", "a/y.webp", "c d/é, \n.bmp")
    assert source.class_names == ("a", "b", "c d")
    assert source.labels.tolist() == [1, 1, 0, 0, 2]
    assert source.labels.dtype == np.int32


@pytest.mark.parametrize("names", [["1.png", "2.JPEG"], ["1.png", "class/2.png"]])
def test_an_image_outside_the_class_folders_means_no_labels(tmp_path, names):
    for name in names:
        write_image(tmp_path / name)
    source = open_source(str(tmp_path))
    assert source.names == tuple(names)
    assert source.labels is None
    assert source.class_names is None


@pytest.mark.parametrize("name", ["nowhere", "nowhere/train-*-of-*", "nowhere.npz"])
def test_what_is_missing_on_another_file_system_is_an_input_error(tmp_path, name):
    with pytest.raises(InputError, match="not there|cannot be read"):
        open_source(f"ram://{tmp_path}/{name}")


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere", "not there.*nowhere"), ("nowhere.npz", "cannot be read.*nowhere")],
)
def test_what_is_not_there_is_an_input_error(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        open_source(str(tmp_path / name))


@pytest.mark.parametrize(("name", "message"), [("", "no images"), ("notes.md", "is a file")])
def test_what_holds_no_images_is_an_input_error(tmp_path, name, message):
    (tmp_path / "notes.md").write_text("no image")
    with pytest.raises(InputError, match=message):
        open_source(str(tmp_path / name))


@pytest.mark.parametrize("name", ["pipe.npz", "pipe.csv", "pipe", "train-00000-of-00001"])
def test_a_pipe_is_refused_before_it_is_opened(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="pipe, device or socket"):
        open_source(str(tmp_path / name))

"""Arrays and lists of paths as data sets, and what is said of anything else."""

import os
import pathlib

import numpy as np
import pytest

from dc_keras.data.sources.given_images import absolute_paths, as_images, data_set_of
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError


@pytest.mark.parametrize("shape", [(5, 8, 9, 3), (5, 8, 9, 1), (5, 8, 9)])
def test_an_array_is_a_data_set_whose_name_its_content_tells(tmp_path, rng, shape):
    images = rng.integers(0, 256, shape, dtype="uint8")
    path = data_set_of(images, tmp_path)
    source = open_source(path)
    np.testing.assert_array_equal(source.images, images.reshape(5, 8, 9, -1))
    assert data_set_of(images[::1], tmp_path) == path and len(os.listdir(tmp_path)) == 1
    assert data_set_of(images + 1, tmp_path) != path


def test_images_of_one_size_may_be_a_list(rng):
    images = list(rng.integers(0, 256, (3, 4, 5, 3), dtype="uint8"))
    np.testing.assert_array_equal(as_images(images), np.stack(images))


def test_paths_become_a_list_of_absolute_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["b.png", tmp_path / "a b.png", "bytes\udcff.png"]
    path = data_set_of(names, tmp_path)
    written = pathlib.Path(path).read_bytes().decode("utf-8", "surrogateescape").splitlines()
    assert written == [f"{tmp_path}/b.png", f"{tmp_path}/a b.png", f"{tmp_path}/bytes\udcff.png"]


def test_a_path_is_a_data_set_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert data_set_of("~/images", tmp_path) == "/home/me/images"
    assert data_set_of("sklearn:digits", tmp_path) == "sklearn:digits"


@pytest.mark.parametrize("path", ["a\nb.png", "a.png ", "a\u2028b.png", "a\0.png"])
def test_paths_that_no_list_can_hold(path):
    with pytest.raises(InputError, match="cannot stand in a list"):
        absolute_paths([path])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (None, "These are no images. Received: a NoneType"),
        ([], "no images. Received: a list"),
        (object(), "a object"),
        (3, "a int"),
        (np.zeros((2, 4, 4, 3)), "another type. Received: float64.*255 \\* images"),
        (np.zeros((2, 4, 4, 4), "uint8"), "another shape. Received: uint8 .2, 4, 4, 4."),
        (np.zeros((2, 10), "uint8"), "another shape. Received: uint8 .2, 10."),
        (np.zeros((0, 4, 4, 3), "uint8"), "another shape"),
        (np.array(["a", None], object), "another shape"),
        ([np.zeros((4, 4, 3), "uint8"), np.zeros((5, 4, 3), "uint8")], "have different sizes"),
        (["a.png", 3], "have different sizes|another shape|another type"),
    ],
)
def test_what_is_no_images(tmp_path, images, message):
    with pytest.raises(InputError, match=message):
        data_set_of(images, tmp_path)
    assert not os.listdir(tmp_path)

"""What TensorBoard's projector reads."""

import re

import numpy as np
import tensorflow as tf

from dc_keras.data.sources.open import open_source
from dc_keras.training.projector import PROJECTED_IMAGES, sample, thumbnails_of, write_projector


def read_config(folder):
    """The values of the file by name; of names that stand there twice, both."""
    found = {}
    text = (folder / "projector_config.pbtxt").read_text()
    for name, value in re.findall(r'(\w+): "?([^"\n]+)', text):
        found.setdefault(name, []).append(value)
    return found


def test_files_fit_each_other_whatever_images_are_called(tmp_path):
    descriptors = np.array([[0.5, -0.25], [1, 0], [0, 1]], "float32")
    thumbnails = np.stack([np.full((4, 4, 3), value, "uint8") for value in (10, 20, 30)])
    names = ["a\tb\nc.png", '"quoted".png', "cut\udcff.png"]
    write_projector(tmp_path, descriptors, thumbnails, {"path": names, "cluster": [3, 1, 2]})
    config = read_config(tmp_path)
    np.testing.assert_array_equal(np.loadtxt(tmp_path / config["tensor_path"][0]), descriptors)
    lines = (tmp_path / config["metadata_path"][0]).read_text().splitlines()
    assert lines == ["path\tcluster", "a b c.png\t3", '"quoted".png\t1', "cut?.png\t2"]
    sheet = tf.io.decode_png((tmp_path / config["image_path"][0]).read_bytes()).numpy()
    assert config["single_image_dim"] == ["4", "4"] and sheet.shape == (8, 8, 3)
    assert sheet[::4, ::4, 0].tolist() == [[10, 20], [30, 255]]


def test_no_more_images_than_the_page_takes():
    drawn = sample(10 * PROJECTED_IMAGES, np.random.default_rng(0))
    assert len(np.unique(drawn)) == PROJECTED_IMAGES and (np.diff(drawn) > 0).all()
    assert sample(3, np.random.default_rng(0)).tolist() == [0, 1, 2]


def test_thumbnails_are_the_centre_crops():
    source = open_source("sklearn:digits")
    small = thumbnails_of(source, np.array([5, 2, 9]), image_size=96, batch_size=2)
    assert small.shape == (3, 48, 48, 3)
    again = thumbnails_of(source, np.array([2]), image_size=96, batch_size=1)
    np.testing.assert_array_equal(again[0], small[1])

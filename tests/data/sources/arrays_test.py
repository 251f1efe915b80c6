"""Arrays of images: .npz files, the digits, and what is wrong with them."""

import os
import pathlib
import weakref

import numpy as np
import pytest
import tensorflow as tf

from data_sets import loaded
from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.image_source import numbered
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError

IMAGES = np.zeros((2, 5, 4, 3), np.uint8)


def test_digits():
    from sklearn.datasets import load_digits

    digits = load_digits()
    source = open_source("sklearn:digits")
    assert len(source) == 1797
    assert source.names[17] == "digits/000017"
    assert source.class_names == tuple("0123456789")
    assert source.labels.tolist() == digits.target.tolist()
    image = source.load(tf.constant(17)).numpy()
    assert image.shape == (8, 8, 3)
    # Level 16 is white: within half a grey level of value * 255 / 16.
    assert np.abs(image - digits.images[17][..., None] * 255 / 16).max() <= 0.5


@pytest.mark.parametrize("channels", [1, 3])
def test_npz(tmp_path, channels):
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 4, channels), np.uint8)
    np.savez(tmp_path / "set.npz", images=images, labels=np.array([7, -1, 7]))
    source = open_source(str(tmp_path / "set.npz"))
    assert source.names == ("set/000000", "set/000001", "set/000002")
    assert source.class_names == ("-1", "7")
    assert source.labels.tolist() == [1, 0, 1]
    assert source.labels.dtype == np.int32
    np.testing.assert_array_equal(loaded(source), np.broadcast_to(images, (3, 5, 4, 3)))
    chosen = source.select(np.array([2, 1]))
    assert chosen.names == ("set/000002", "set/000001")
    assert chosen.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(loaded(chosen), np.broadcast_to(images[[2, 1]], (2, 5, 4, 3)))


def test_npz_without_labels(tmp_path):
    np.savez(tmp_path / "set.npz", images=np.zeros((2, 5, 4, 3), np.uint8))
    source = open_source(str(tmp_path / "set.npz"))
    assert source.labels is None
    assert source.class_names is None


def test_an_npz_on_another_file_system(tmp_path):
    np.savez(tmp_path / "set.npz", images=IMAGES + 7, labels=np.array([1, 0]))
    path = f"ram://{tmp_path}/set.npz"
    tf.io.gfile.makedirs(f"ram://{tmp_path}")
    tf.io.gfile.copy(str(tmp_path / "set.npz"), path)
    source = open_source(path)
    assert source.names == ("set/000000", "set/000001")
    assert source.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(loaded(source), IMAGES + 7)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": IMAGES}, "no array `images`.*pictures"),
        ({"images": IMAGES.astype(np.float32)}, r"float32 \(2, 5, 4, 3\)"),
        ({"images": IMAGES[..., 0]}, r"uint8 \(2, 5, 4\)"),
        ({"images": IMAGES[..., :2]}, r"uint8 \(2, 5, 4, 2\)"),
        ({"images": IMAGES[:0]}, r"uint8 \(0, 5, 4, 3\)"),
        ({"images": IMAGES, "labels": np.zeros(3, int)}, r"`labels`.*int64 \(3,\) for 2 images"),
        ({"images": IMAGES, "labels": np.zeros(2)}, r"`labels`.*float64 \(2,\)"),
        ({"images": np.array([{}, {}], object)}, "cannot be read"),
    ],
)
def test_wrong_arrays_are_input_errors(tmp_path, arrays, message):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(InputError, match=message):
        open_source(str(tmp_path / "set.npz"))


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 and nothing else"])
def test_a_file_that_is_no_npz_is_an_input_error(tmp_path, content):
    (tmp_path / "set.npz").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        open_source(str(tmp_path / "set.npz"))


def test_an_npy_file_named_npz_is_an_input_error(tmp_path):
    np.save(tmp_path / "set.npy", IMAGES)
    os.rename(tmp_path / "set.npy", tmp_path / "set.npz")
    with pytest.raises(InputError, match="cannot be read"):
        open_source(str(tmp_path / "set.npz"))


@pytest.mark.parametrize("place", [0.3, 0.6])
def test_a_damaged_npz_is_an_input_error(tmp_path, place, rng):
    images = rng.integers(0, 256, (4, 16, 16, 3), np.uint8)
    np.savez_compressed(tmp_path / "set.npz", images=images)
    content = bytearray((tmp_path / "set.npz").read_bytes())
    at = int(place * len(content))
    content[at : at + 50] = bytes(50)
    (tmp_path / "set.npz").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        open_source(str(tmp_path / "set.npz"))


def test_an_array_is_held_once_however_many_sources_there_are():
    images = np.ones((1000, 128, 256, 3), np.uint8)
    gone = weakref.ref(images)
    source = ArraySource(images, numbered("image", 1000))
    del images
    assert gone() is None
    before = _resident_bytes()
    parts = [source.select(np.arange(0, 1000, step)) for step in (1, 2, 3)]
    parts = [part.select(np.arange(len(part))[::-1]) for part in parts]
    assert _resident_bytes() - before < source.images.nbytes / 2
    assert [len(part) for part in parts] == [1000, 500, 334]


def test_a_selection_of_a_selection():
    images = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1)
    source = ArraySource(images, list("abcde")).select(np.array([4, 2, 0])).select(np.array([2, 0]))
    assert source.names == ("a", "e") and source.images.ravel().tolist() == [0, 4]
    assert [image[0, 0, 0] for image in loaded(source)] == [0, 4]


def _resident_bytes():
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")

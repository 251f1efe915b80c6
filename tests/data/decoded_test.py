"""Images that are decoded once and held in memory."""

import numpy as np
import pytest
import tensorflow as tf

from data_sets import loaded
from dc_keras.data import decoded
from dc_keras.data.decoded import decode_into_memory
from dc_keras.data.preprocessing import decode
from dc_keras.data.sources import ArraySource, open_source
from dc_keras.errors import InputError


@pytest.fixture
def folder(tmp_path, rng):
    """Pictures of several sizes in two classes, one of them a grey JPEG."""
    for i in range(7):
        path = tmp_path / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (5 + i, 9 - i, 3), np.uint8)
        path.write_bytes(tf.io.encode_png(pixels).numpy())
    gray = rng.integers(0, 256, (20, 30, 1), np.uint8)
    (tmp_path / "a" / "7.jpg").write_bytes(tf.io.encode_jpeg(gray).numpy())
    return open_source(str(tmp_path))


def in_memory(source, mode="auto"):
    return decode_into_memory(source, mode, seed=1, progress=False)


def test_it_holds_the_pixels_that_decoding_gives(folder):
    held, told = in_memory(folder)
    assert told.startswith("decoded into memory once") and held is not folder
    assert held.names == folder.names and held.class_names == folder.class_names
    np.testing.assert_array_equal(held.labels, folder.labels)
    for file, pixels in zip(loaded(folder), loaded(held), strict=True):
        np.testing.assert_array_equal(pixels, decode(tf.constant(file)))


def test_some_of_the_images(folder):
    held, _ = in_memory(folder)
    keep = np.array([6, 0, 3])
    some = held.select(keep)
    assert some.names == tuple(folder.names[i] for i in keep)
    np.testing.assert_array_equal(some.labels, folder.labels[keep])
    whole = loaded(held)
    for position, pixels in zip(keep, loaded(some), strict=True):
        np.testing.assert_array_equal(pixels, whole[position])


def test_off_and_arrays_stay_as_they_are(folder):
    assert in_memory(folder, "off")[0] is folder
    array = ArraySource(np.zeros((2, 4, 4, 3), np.uint8), ["a", "b"])
    assert in_memory(array, "ram")[0] is array


@pytest.mark.parametrize(
    ("free", "auto", "ram"), [(100_000, True, True), (9000, False, True), (5000, False, False)]
)
def test_only_what_fits_is_held(folder, monkeypatch, free, auto, ram):
    """The decoded images take 2,724 bytes: 7 of (5 + i) x (9 - i) pixels and one of 600."""
    assert sum(len(pixels.ravel()) for pixels in loaded(in_memory(folder, "ram")[0])) == 2724
    monkeypatch.setattr(decoded, "_free_memory", lambda: free)
    assert (in_memory(folder)[0] is not folder) == auto
    if ram:
        assert in_memory(folder, "ram")[0] is not folder
    else:
        with pytest.raises(InputError, match="--cache=ram for .* use --cache=auto"):
            in_memory(folder, "ram")


def test_a_file_that_has_gone_meanwhile_is_left_to_the_run(folder, tmp_path):
    (tmp_path / folder.names[2]).unlink()
    held, told = in_memory(folder)
    assert held is folder and told == "read from their files each time"


def test_free_memory_is_that_of_this_machine():
    assert 2**27 < decoded._free_memory() < 2**50

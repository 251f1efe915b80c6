"""Images that are decoded once and held in memory or in a file."""

import errno
import os
import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from data_sets import loaded
from dc_keras.data.pixels.decoding import decode
from dc_keras.data.sources import decoded
from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.decoded import hold_decoded
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError
from repository import REPOSITORY


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


@pytest.fixture
def hold(tmp_path_factory):
    """A function to decode with; its attribute `folder` is for the file."""

    def held(source, mode="auto"):
        return hold_decoded(source, mode, held.folder, seed=1, progress=False)

    held.folder = tmp_path_factory.mktemp("run")
    return held


@pytest.mark.parametrize(("mode", "place"), [("auto", "memory"), ("disk", "a file")])
def test_it_holds_the_pixels_that_decoding_gives(folder, hold, mode, place):
    held, told = hold(folder, mode)
    assert told.startswith(f"decoded into {place} once") and held is not folder
    assert held.names == folder.names and held.class_names == folder.class_names
    np.testing.assert_array_equal(held.labels, folder.labels)
    for file, pixels in zip(loaded(folder), loaded(held), strict=True):
        np.testing.assert_array_equal(pixels, decode(tf.constant(file)))


@pytest.mark.parametrize("mode", ["ram", "disk"])
def test_some_of_the_images(folder, hold, mode):
    held, _ = hold(folder, mode)
    keep = np.array([6, 0, 3])
    some = held.select(keep)
    assert some.names == tuple(folder.names[i] for i in keep)
    np.testing.assert_array_equal(some.labels, folder.labels[keep])
    whole = loaded(held)
    for position, pixels in zip(keep, loaded(some), strict=True):
        np.testing.assert_array_equal(pixels, whole[position])


def test_off_and_arrays_stay_as_they_are(folder, hold):
    assert hold(folder, "off")[0] is folder
    array = ArraySource(np.zeros((2, 4, 4, 3), np.uint8), ["a", "b"])
    assert hold(array, "ram")[0] is array


@pytest.mark.parametrize(
    ("free", "auto", "ram"), [(100_000, True, True), (9000, False, True), (5000, False, False)]
)
def test_only_what_fits_is_held(folder, hold, monkeypatch, free, auto, ram):
    """The decoded images take 2,724 bytes: 7 of (5 + i) x (9 - i) pixels and one of 600."""
    assert sum(len(pixels.ravel()) for pixels in loaded(hold(folder, "ram")[0])) == 2724
    monkeypatch.setattr(decoded, "_free_memory", lambda: free)
    assert (hold(folder)[0] is not folder) == auto
    if ram:
        assert hold(folder, "ram")[0] is not folder
    else:
        with pytest.raises(InputError, match="--cache=ram for .* use --cache=auto or --cache=disk"):
            hold(folder, "ram")


def test_a_file_that_has_gone_meanwhile_is_left_to_the_run(folder, hold, tmp_path):
    (tmp_path / folder.names[2]).unlink()
    held, told = hold(folder)
    assert held is folder and told == "read from their files each time"


@pytest.mark.parametrize(("free", "fits"), [(6000, True), (5000, False)])
def test_the_file_takes_at_most_half_of_the_free_disk(folder, hold, monkeypatch, free, fits):
    """The images take 2,724 bytes, as above."""
    usage = types.SimpleNamespace(free=free)
    monkeypatch.setattr(decoded.shutil, "disk_usage", lambda path: usage)
    held, told = hold(folder, "disk")
    assert (held is not folder) == fits
    assert "on the disk free" in told


def test_a_disk_that_becomes_full_meanwhile(folder, hold, monkeypatch):
    monkeypatch.setattr(decoded.os, "fsync", full)
    held, told = hold(folder, "disk")
    assert held is folder
    assert told.startswith("read from their files each time") and "No space left" in told


def full(handle):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def mapped(folder):
    """Files below a folder that are mapped into this process."""
    lines = pathlib.Path("/proc/self/maps").read_text().splitlines()
    return [line for line in lines if str(folder) in line]


def test_the_file_has_no_name_and_goes_with_the_source(folder, hold):
    held, _ = hold(folder, "disk")
    assert list(hold.folder.iterdir()) == []
    (line,) = mapped(hold.folder)
    assert line.endswith("(deleted)")
    del held
    assert mapped(hold.folder) == []


_GROWTH = """
import sys
import numpy as np
import tensorflow as tf
from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.decoded import hold_decoded
from dc_keras.data.sources.open import open_source

def anonymous():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(lines["RssAnon"].split()[0]) // 1024

def most_in(source):
    pipeline = tf.data.Dataset.range(len(source)).map(source.load)
    return max(anonymous() for _ in pipeline)

source = open_source(sys.argv[1])
most_in(source)
if sys.argv[3] == "array":
    source = ArraySource(np.ones((12, 2000, 2000, 3), np.uint8), source.names)
elif sys.argv[3] == "disk":
    source, _ = hold_decoded(source, "disk", sys.argv[2], seed=1, progress=False)
before = anonymous()
print(max(most_in(source), most_in(source), anonymous()) - before)
"""


@pytest.mark.parametrize("kind", ["array", "disk"])
def test_pipelines_do_not_copy_what_is_held(tmp_path, kind):
    """Twelve images of 12 MB, of which a pipeline may hold a few."""
    image = tf.io.encode_jpeg(np.zeros((2000, 2000, 3), np.uint8)).numpy()
    for i in range(12):
        (tmp_path / f"{i}.jpg").write_bytes(image)
    done = subprocess.run(
        [sys.executable, "-c", _GROWTH, tmp_path, tmp_path, kind],
        cwd=REPOSITORY,
        # Large blocks are given back when they are freed: malloc would keep some for later.
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "MALLOC_MMAP_THRESHOLD_": "1000000"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 80, "MB"


def test_free_memory_is_that_of_this_machine():
    assert 2**27 < decoded._free_memory() < 2**50

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
from dc_keras.memory import FreeMemory
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
    monkeypatch.setattr(decoded, "free_memory", lambda: FreeMemory(free, "free"))
    assert (hold(folder)[0] is not folder) == auto
    if ram:
        assert hold(folder, "ram")[0] is not folder
    else:
        with pytest.raises(InputError, match="--cache=ram for .* use --cache=auto or --cache=disk"):
            hold(folder, "ram")


def test_what_is_taken_is_said_before(folder, hold):
    said = []
    hold_decoded(folder, "ram", hold.folder, seed=1, progress=False, say=said.append)
    (text,) = said
    assert text.startswith("Decoding all images once, into memory: 2.7e-06 GB decoded, ")


@pytest.mark.parametrize("mode", ["auto", "ram", "disk"])
def test_images_that_turn_out_to_be_larger_than_half_of_what_is_free(
    folder, hold, monkeypatch, mode
):
    """They were taken for 600 bytes, which is a quarter of 2,400, and are 2,724."""
    free = FreeMemory(2400, "free")
    monkeypatch.setattr(decoded, "decoded_sizes", lambda source, seed: [600 / len(source)])
    monkeypatch.setattr(decoded, "free_memory", lambda: free)
    monkeypatch.setattr(decoded, "_free_for_a_file", lambda folder: free)
    if mode == "ram":
        with pytest.raises(InputError, match="do not fit into memory"):
            hold(folder, mode)
        return
    held, told = hold(folder, mode)
    assert held is folder and told.endswith("which turned out to be more)")


def test_memory_grows_where_images_are_larger_than_they_seemed(folder, hold, monkeypatch):
    expected = loaded(hold(folder, "disk")[0])
    monkeypatch.setattr(decoded, "decoded_sizes", lambda source, seed: [0.25])
    monkeypatch.setattr(decoded.mmap, "PAGESIZE", 1)
    for pixels, same in zip(loaded(hold(folder)[0]), expected, strict=True):
        np.testing.assert_array_equal(pixels, same)


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


_PEAK = """
import resource, sys, threading, time
import numpy as np
import tensorflow as tf
from dc_keras.data.sources.decoded import hold_decoded
from dc_keras.data.sources.open import open_source

source = open_source(sys.argv[1])
# What decoding itself keeps, such as threads and their memory.
hold_decoded(source.select(np.arange(4)), "ram", ".", seed=1, progress=False)

def held():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(lines["RssAnon"].split()[0]) * 1024

before, peak = held(), 0
def watch():
    global peak
    while True:
        peak = max(peak, held())
        time.sleep(0.005)
threading.Thread(target=watch, daemon=True).start()
result, told = hold_decoded(source, "ram", ".", seed=1, progress=False)
time.sleep(0.05)
print((peak - before) / sum(result.load(tf.constant(i)).shape.num_elements() for i in range(30)))
"""


def write_photographs(folder, count, side):
    image = tf.io.encode_jpeg(np.zeros((side, side, 3), np.uint8)).numpy()
    for i in range(count):
        (folder / f"{i:02d}.jpg").write_bytes(image)


def run_in_a_process(code, *arguments):
    """What code prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=REPOSITORY,
        # Large blocks are given back when they are freed: malloc would keep some for later.
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "MALLOC_MMAP_THRESHOLD_": "1000000"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_is_one_copy_of_what_is_held(tmp_path):
    """Thirty images of 12 MB, and beside them the few that are being decoded."""
    write_photographs(tmp_path, 30, 2000)
    times = float(run_in_a_process(_PEAK, tmp_path).splitlines()[-1])
    assert 0.9 < times < 1.4


_UNDER_A_LIMIT = """
import resource, sys
import numpy as np
from dc_keras.data.sources.decoded import hold_decoded
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError

def hold(source, mode):
    held, told = hold_decoded(source, mode, sys.argv[1], seed=1, progress=False)
    return held is not source, told

source = open_source(sys.argv[1])
# Threads and their memory come with the first ones.
assert hold(source.select(np.arange(4)), "ram")[0]
lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
limit = int(lines["VmSize"].split()[0]) * 1024 + 600_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(*hold(source.select(np.arange(4)), "auto"))
print(*hold(source, "auto"))
print(*hold(source, "disk"))
try:
    hold(source, "ram")
except InputError as error:
    print(error)
"""


def test_what_does_not_fit_under_a_limit_of_the_process_is_not_held(tmp_path):
    """Thirty images of 12 MB, where `ulimit -v` leaves 600 MB."""
    write_photographs(tmp_path, 30, 2000)
    few, auto, disk, ram = run_in_a_process(_UNDER_A_LIMIT, tmp_path).splitlines()
    assert few.startswith("True decoded into memory once (0.048 GB decoded, 0.")
    for told in (auto, disk):
        assert told.startswith("False read from their files each time (0.36 GB decoded, 0.")
    for told in (few, auto, disk):
        assert told.endswith("GB left by ulimit -v)")
    assert "The decoded images do not fit into memory" in ram


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
    write_photographs(tmp_path, 12, 2000)
    assert int(run_in_a_process(_GROWTH, tmp_path, tmp_path, kind)) < 80, "MB"

"""Files that mean harm, or that chance made so: bombs, random damage, names, paths, archives."""

import json
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dc_keras.data.pixels.augmentation import Augmentation, augment
from dc_keras.data.pixels.center_crop import preprocess_for_clustering
from dc_keras.data.pixels.decoding import decode
from dc_keras.data.pixels.limits import MAX_PIXELS, TOO_LARGE
from dc_keras.data.pixels.png import PNG
from dc_keras.data.sources import arrays, inspection
from dc_keras.data.sources.manifest import positions_of, read_manifest, write_manifest
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError
from dc_keras.memory import FreeMemory
from dc_keras.serving.image_bytes import damaged, read_if_possible
from encoded_images import RGB, chunk, encode, exif_turned
from repository import REPOSITORY


def png(width, height):
    """A whole and valid PNG of black pixels, one bit each."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return PNG + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def encoded(image_format, **options):
    return encode(Image.fromarray(RGB[:16, :16]), image_format, **options)


def with_bytes(data, position, patch):
    return data[:position] + patch + data[position + len(patch) :]


def jpeg(**options):
    data = encoded("JPEG", **options)
    frame = data.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0")
    return with_bytes(data, frame + 5, struct.pack(">HH", 65000, 65000))


def end_of_gif_header(data):
    return 13 + (3 * 2 ** (data[10] % 8 + 1) if data[10] >= 128 else 0)


def gif(frame):
    data = encoded("GIF")
    assert data[end_of_gif_header(data)] == ord(",")
    position = end_of_gif_header(data) + 5 if frame else 6
    return with_bytes(data, position, struct.pack("<HH", 65000, 65000))


def bmp():
    return with_bytes(encoded("BMP"), 18, struct.pack("<ii", 60000, -60000))


BOMBS = {
    "png": lambda: png(30_000, 20_000),
    "jpeg": jpeg,
    "progressive jpeg": lambda: jpeg(progressive=True),
    "turned jpeg": lambda: jpeg(exif=exif_turned(6)),
    "gif screen": lambda: gif(False),
    "gif frame": lambda: gif(True),
    "bmp": bmp,
    "lossy webp": lambda: with_bytes(
        encoded("WEBP", quality=80), 26, struct.pack("<HH", 16383, 16383)
    ),
    "lossless webp": lambda: with_bytes(encoded("WEBP", lossless=True), 21, b"\xff\xff\xff\x0f"),
    "extended webp": lambda: with_bytes(
        encoded("WEBP", quality=80, exif=exif_turned(6)), 24, b"\xff\x7f\x00\xff\x7f\x00"
    ),
}


@pytest.fixture(scope="module", params=BOMBS)
def bomb(request):
    """A small file that declares huge sizes."""
    content = BOMBS[request.param]()
    assert len(content) < 200_000
    return content


def test_a_bomb_is_refused_before_decoding(bomb):
    read = [
        decode,
        lambda data: preprocess_for_clustering(data, 32),
        lambda data: augment(data, tf.constant([1, 2]), Augmentation(image_size=32)),
    ]
    for function in read:
        with pytest.raises(tf.errors.InvalidArgumentError, match="more pixels than --max_pixels"):
            function(tf.constant(bomb))


def test_a_served_bomb_is_answered(bomb):
    image, status = read_if_possible(tf.constant(bomb), 32)
    assert status.numpy().decode() == damaged(MAX_PIXELS) and not image.numpy().any()


def test_a_bomb_among_the_images_is_found_and_told(tmp_path, bomb):
    (tmp_path / "bomb.jpg").write_bytes(bomb)
    (tmp_path / "good.png").write_bytes(encoded("PNG"))
    source = open_source(str(tmp_path))
    found = inspection.find_unreadable(source, progress=False)
    assert {source.names[i]: why for i, why in found.items()} == {"bomb.jpg": TOO_LARGE}


def test_large_images_within_the_limit_are_read():
    image = decode(tf.constant(png(13_000, 13_000)))
    assert image.shape == (13_000, 13_000, 3)


_ANIMATION = """
import resource, sys
import tensorflow as tf
from dc_keras.data.pixels.decoding import decode
decode(tf.io.read_file(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image = decode(tf.io.read_file(sys.argv[2]))
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(image.shape, grown // 1024)
"""


def test_a_long_animation_is_not_unpacked_for_its_first_frame(tmp_path):
    """800 frames of 2,000 x 2,000 pixels: 3.2 GB, or one of 12 MB."""
    frame = Image.new("L", (2000, 2000))
    frame.save(tmp_path / "one.gif", "GIF")
    one = (tmp_path / "one.gif").read_bytes()
    start = end_of_gif_header(one)
    (tmp_path / "many.gif").write_bytes(one[:start] + 800 * one[start:-1] + b";")
    done = subprocess.run(
        [sys.executable, "-c", _ANIMATION, tmp_path / "one.gif", tmp_path / "many.gif"],
        cwd=REPOSITORY,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    *shape, grown = done.stdout.split()
    assert "".join(shape) == "(2000,2000,3)"
    assert int(grown) < 200, "MB"


@pytest.mark.slow
@pytest.mark.long
def test_random_damage_to_1000_files_never_crashes_or_hangs(tmp_path):
    """In a process of its own, which a crash of a decoder ends; see `fuzz.py`."""
    done = subprocess.run(
        [sys.executable, pathlib.Path(__file__).with_name("fuzz.py"), tmp_path, "1000"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["files"] == 1000
    # Both kinds must have been met: files that survived and files that did not.
    assert seen["readable"] > 50 and seen["unreadable"] > 300
    assert seen["grown_mb"] < 1500


def test_odd_names_stay_what_they_are_on_every_way(tmp_path):
    names = [
        b" ",
        b"a b",
        b"-rf",
        b"new\nline",
        b"\xff\xfe",
        "ä€𝄞".encode(),
        b'"quoted",',
        b"n" * 240,
    ]
    folder = tmp_path / "images"
    folder.mkdir()
    for name in names:
        (folder / os.fsdecode(name + b".png")).write_bytes(encoded("PNG"))
    source = open_source(str(folder))
    assert sorted(source.names) == sorted(os.fsdecode(name + b".png") for name in names)
    assert inspection.find_unreadable(source, progress=False) == {}
    write_manifest(source, tmp_path / "manifest.csv")
    positions, gone = positions_of(read_manifest(tmp_path / "manifest.csv").names, source)
    assert gone == [] and list(positions) == list(range(len(names)))


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "a/../../secret.png"])
def test_a_manifest_cannot_lead_out_of_the_data_folder(tmp_path, name):
    folder = tmp_path / "images"
    folder.mkdir()
    for path in (tmp_path / "secret.png", folder / "inside.png"):
        path.write_bytes(encoded("PNG"))
    source = open_source(str(folder))
    write_manifest(source, tmp_path / "manifest.csv")
    text = (tmp_path / "manifest.csv").read_text().replace("inside.png", name)
    (tmp_path / "manifest.csv").write_text(text)
    # The count and checksum beside it, which would tell, are missing in runs of older versions.
    (tmp_path / "manifest.json").unlink()
    assert positions_of(read_manifest(tmp_path / "manifest.csv").names, source)[1] == [name]


def test_links_in_a_circle_end(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "one.png").write_bytes(encoded("PNG"))
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "self").symlink_to("self")
    assert open_source(str(tmp_path)).names == ("a/b/one.png",)


def write_npz(path, shape, size):
    """An .npz whose array has a header of one shape, and zeros of any size behind it."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("images.npy", "w", force_zip64=True) as images,
    ):
        images.write(member)
        images.write(bytes(size))


def test_an_array_that_declares_more_than_there_is_memory(tmp_path):
    write_npz(tmp_path / "bomb.npz", (3_000_000, 1000, 1000, 3), 1000)
    with pytest.raises(InputError, match="The array file cannot be read.*allocate"):
        open_source(str(tmp_path / "bomb.npz"))


def test_an_array_file_that_inflates_beyond_memory_is_refused_unread(tmp_path, monkeypatch):
    """The memory is said to be small: a file that inflates beyond a real one takes a minute."""
    write_npz(tmp_path / "bomb.npz", (100, 100, 1000, 3), 30_000_000)
    assert (tmp_path / "bomb.npz").stat().st_size < 40_000
    assert len(open_source(str(tmp_path / "bomb.npz"))) == 100
    monkeypatch.setattr(arrays, "free_memory", lambda: FreeMemory(59_999_999, "free"))
    with pytest.raises(InputError, match="take 0.03 GB, twice .* of the 0.06 GB free: use a folde"):
        open_source(str(tmp_path / "bomb.npz"))


class Opened:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_arrays_of_objects_are_never_unpickled(tmp_path):
    images = np.array([Opened(tmp_path / "executed")], object)
    np.savez(tmp_path / "pickled.npz", images=images)
    with pytest.raises(InputError, match="allow_pickle=False"):
        open_source(str(tmp_path / "pickled.npz"))
    assert not (tmp_path / "executed").exists()
    pickle.loads(pickle.dumps(images))[0].close()
    assert (tmp_path / "executed").exists(), "the file would have been harmful"

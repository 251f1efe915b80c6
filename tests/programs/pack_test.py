"""The program that packs and verifies."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data_sets import load_eagerly, write_folder, write_photograph
from dc_keras.config import PackConfig
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError
from encoded_images import FILES, IMAGE, RGB, encode
from repository import REPOSITORY

pytest.importorskip("array_record")


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "dc_keras", "pack", *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )


def test_the_program_packs_and_verifies(tmp_path):
    for i in range(4):
        write_photograph(tmp_path / "files" / "ab"[i % 2] / f"{i}.jpg", 20, 30 + i)
    (tmp_path / "files" / "a" / "broken.jpg").write_text("no image")
    files, packed = tmp_path / "files", tmp_path / "packed"
    done = run(files, packed, "--max_bad_fraction=0.5", "--shard_images=3")
    assert done.returncode == 0, done.stderr
    assert "Packed 4 images (1 unreadable ones left out) into 2 shards" in done.stdout
    source = open_source(str(packed))
    assert source.names == ("a/0.jpg", "b/1.jpg", "a/2.jpg", "b/3.jpg")
    contents = [image.numpy() for image in load_eagerly(source)]
    assert contents == [(files / name).read_bytes() for name in source.names]
    assert run("--verify", packed).stdout == f"All 4 images of {packed} are as they were packed.\n"


def test_the_program_packs_what_pillow_reads_as_png_and_tells_what_it_passes_over(tmp_path):
    files = {"a/1.tif": encode(IMAGE, "TIFF"), "b/2.png": FILES["png"], "b/notes.txt": b"text"}
    folder = write_folder(str(tmp_path / "files"), files)
    done = run(folder, tmp_path / "packed")
    assert done.returncode == 0, done.stderr
    assert "Passed over: 1 text or other file ('b/notes.txt')" in done.stdout
    assert "Read through Pillow: 1 TIFF. " in done.stdout
    first, second = load_eagerly(open_source(str(tmp_path / "packed")))
    np.testing.assert_array_equal(tf.io.decode_png(first), RGB)
    assert second.numpy() == FILES["png"]


def test_the_program_packs_sixteen_bits_as_eight_and_says_so(tmp_path):
    values = np.array([[290, 330, 370]] * 3, np.uint16)
    files = {"1.png": encode(Image.fromarray(values), "PNG"), "2.png": FILES["png"]}
    folder = write_folder(str(tmp_path / "files"), files)
    done = run(folder, tmp_path / "packed")
    assert done.returncode == 0, done.stderr
    told = "16-bit images: values 290 to 370 become black to white, and are packed with 8 bits"
    assert done.stdout.count(told) == 1
    first, second = load_eagerly(open_source(str(tmp_path / "packed")))
    assert tf.io.decode_png(first)[0, :, 0].numpy().tolist() == [0, 128, 255]
    assert second.numpy() == FILES["png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["files"], "OUT must be given"),
        (["packed", "x", "--verify"], "OUT would be ignored"),
        (["files", "x", "--shard_images=0"], "--shard_images"),
        (["files", "x", "--short_side=-1"], "--short_side"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        PackConfig.from_arguments(arguments).validate()


def test_only_packed_folders_are_verified(tmp_path):
    write_photograph(tmp_path / "1.jpg", 8, 8)
    done = run("--verify", tmp_path)
    assert done.returncode == 2
    assert "no packed folder" in done.stderr
    assert "Traceback" not in done.stderr

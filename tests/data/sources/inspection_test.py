"""Finding unreadable files, and what is done about them."""

import csv

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dc_keras.data.pixels.center_crop import preprocess_for_clustering
from dc_keras.data.pixels.decoding import decode
from dc_keras.data.pixels.limits import NO_IMAGE, UNUSUAL_BMP
from dc_keras.data.sources import inspection
from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.folder import FolderSource
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError
from encoded_images import encode
from repository import DATA_SETS


def noisy(kind, height=40, **options):
    """A file of noise, which takes many bytes."""
    image = np.random.default_rng(0).integers(0, 256, (height, 50, 3), np.uint8)
    return encode(Image.fromarray(image), kind, **options)


@pytest.fixture
def folder(tmp_path):
    """Fills a folder and opens it: `folder({name: bytes})`."""

    def fill(files):
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        return open_source(str(tmp_path))

    return fill


def test_readable_files_are_all_passed(folder):
    kinds = ["JPEG", "PNG", "BMP", "GIF", "WEBP"]
    source = folder({f"{kind}.{kind.lower()}": noisy(kind) for kind in kinds})
    assert inspection.find_unreadable(source, progress=False) == {}
    assert inspection.drop_unreadable(source, {}) is source


def test_the_reasons_are_told_apart(folder, tmp_path):
    sixteen_bit = bytearray(noisy("BMP"))
    sixteen_bit[28:30] = b"\x10\0"
    source = folder(
        {
            "0 good.jpg": noisy("JPEG"),
            "1 empty.jpg": b"",
            "2 text.png": b"this is text",
            "3 short.jpg": noisy("JPEG")[:-300],
            "4 short.png": noisy("PNG")[:-300],
            "5 unusual.bmp": bytes(sixteen_bit),
            "6 good.webp": noisy("WEBP"),
        }
    )
    (tmp_path / "7 broken.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "8 locked.jpg").mkdir()
    source = FolderSource(str(tmp_path), [*source.names, "7 broken.jpg", "8 locked.jpg"])
    found = inspection.find_unreadable(source, progress=False)
    assert list(found) == [1, 2, 3, 4, 5, 7, 8]
    assert found[1] == "the file is empty"
    assert found[2] == NO_IMAGE
    assert "cut off" in found[3]
    assert "cut off" in found[4]
    assert found[5] == UNUSUAL_BMP
    assert "leads nowhere" in found[7]
    assert "cannot be read" in found[8]


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_passes_exactly_where_its_full_decoding_does(folder, progressive):
    encoded = noisy("JPEG", progressive=progressive)
    cuts = [*range(0, len(encoded), 37), *range(len(encoded) - 8, len(encoded) + 1)]
    source = folder({f"{cut:06d}.jpg": encoded[:cut] for cut in cuts})
    found = inspection.find_unreadable(source, progress=False)
    for index in range(len(source)):
        try:
            decode(source.load(tf.constant(index)))
            decodes = True
        except tf.errors.InvalidArgumentError:
            decodes = False
        assert decodes == (index not in found), source.names[index]
    assert len(found) >= len(cuts) - 2


def test_arrays_are_not_decoded():
    source = ArraySource(np.zeros((2, 4, 4, 3), np.uint8), ["0", "1"])
    assert inspection.find_unreadable(source) == {}


def test_many_files_are_checked_in_any_order_and_reported_in_theirs(folder):
    good, bad = noisy("JPEG", height=8), b"bad"
    source = folder({f"{i:03d}.jpg": bad if i % 7 == 0 else good for i in range(200)})
    found = inspection.find_unreadable(source, progress=False)
    assert list(found) == list(range(0, 200, 7))


def test_the_progress_bar_ends_at_the_number_of_files(folder, capfd):
    source = folder({"0.jpg": noisy("JPEG"), "1.jpg": b"bad", "2.jpg": noisy("JPEG")})
    inspection.find_unreadable(source)
    assert "3/3" in capfd.readouterr().err
    inspection.find_unreadable(source, progress=False)
    assert capfd.readouterr().err == ""


def test_damaged_files_make_no_lines_without_their_names(folder, capfd):
    good = noisy("JPEG")
    assert inspection.find_unreadable(folder({"0.jpg": good[:300], "1.jpg": good}), progress=False)
    assert capfd.readouterr().err == ""


def named(count):
    labels = np.arange(count, dtype=np.int32) % 2
    return FolderSource("/data", [f"{i:03d}.jpg" for i in range(count)], labels, ("a", "b"))


def test_unreadable_images_are_left_out():
    kept = inspection.drop_unreadable(named(200), {3: "empty", 100: "text"}, 0.01)
    expected = [i for i in range(200) if i not in (3, 100)]
    assert kept.names == tuple(f"{i:03d}.jpg" for i in expected)
    assert kept.labels.tolist() == [i % 2 for i in expected]


def test_too_many_are_an_input_error_that_names_the_first_ten():
    unreadable = {i: f"reason {i}" for i in reversed(range(20, 32))}
    with pytest.raises(InputError) as error:
        inspection.drop_unreadable(named(200), unreadable, 0.05)
    message = str(error.value)
    assert "12 of 200 (6.0%)" in message
    assert "at most 5.0%" in message
    assert [i for i in range(200) if f"{i:03d}.jpg: reason {i}" in message] == list(range(20, 30))
    assert "and 2 more" in message


def test_the_limit_itself_is_allowed():
    assert len(inspection.drop_unreadable(named(200), {0: "", 1: ""}, 0.01)) == 198
    with pytest.raises(InputError):
        inspection.drop_unreadable(named(200), {0: "", 1: "", 2: ""}, 0.01)
    with pytest.raises(InputError, match="1 of 200"):
        inspection.drop_unreadable(named(200), {0: ""}, 0)


def test_no_readable_image_is_an_input_error_whatever_the_limit():
    with pytest.raises(InputError, match="2 of 2"):
        inspection.drop_unreadable(named(2), {0: "", 1: ""}, 1)


def test_the_list_of_unreadable_files(tmp_path):
    path = tmp_path / "unreadable.csv"
    inspection.write_unreadable({"002.jpg": "empty", "b\n\udcff.jpg": "damaged, or cut off"}, path)
    inspection.write_unreadable({"003.jpg": "gone", "002.jpg": "gone"}, path)
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["path", "reason"],
        ["002.jpg", "gone"],
        ["b\n\udcff.jpg", "damaged, or cut off"],
        ["003.jpg", "gone"],
    ]


def test_odd_files_of_real_folders():
    odd_files = DATA_SETS / "odd_files"
    if not odd_files.is_dir():
        pytest.skip("needs odd_files in DC_KERAS_DATA_SETS")
    source = open_source(str(odd_files))
    assert len(source) == 17
    found = inspection.find_unreadable(source, progress=False)
    assert [source.names[i] for i in found] == ["empty.jpg", "text.jpg", "truncated.jpg"]
    for index in set(range(17)) - set(found):
        crop = preprocess_for_clustering(source.load(tf.constant(index)), 32)
        assert crop.shape == (32, 32, 3)

"""Which row belongs to which image: a mistake would show as poor features, and nowhere else."""

import os

import numpy as np
import pytest
from PIL import Image

from dc_keras.data.features.feature_files import GivenFeatures
from dc_keras.data.features.image_rows import rows_of_images
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError

# Sources number these by the path within the class, so not in this order.
NAMES = ["a/1.png", "a/3.png", "b/1.png", "b/2.png", "c/0.png"]


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "images", NAMES)


def write(root, names):
    for shade, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (shade, 0, 0)).save(root / name)
    return root


def given(paths=None, number=5, listed_in="list.txt"):
    return GivenFeatures(np.arange(number)[:, None], paths and tuple(paths), listed_in)


def by_name(features, data_dir):
    """The row of each image by its name, and what was told."""
    source = open_source(str(data_dir))
    found = rows_of_images(features, source, str(data_dir))
    assert (np.diff(found.images) > 0).all()
    return {source.names[i]: int(r) for i, r in zip(found.images, found.rows, strict=True)}, (
        found.told
    )


def test_without_paths_rows_are_those_of_the_sorted_paths(folder):
    assert list(open_source(str(folder)).names) != NAMES
    rows, told = by_name(given(), folder)
    assert rows == {name: row for row, name in enumerate(NAMES)}
    assert told[0].startswith("Rows of features are taken for 'a/1.png', 'a/3.png' to 'c/0.png'.")


def test_without_paths_the_rows_of_a_list_are_in_its_order(folder):
    names = NAMES[::-1]
    (folder / "list.txt").write_text("\n".join(names))
    rows, _ = by_name(given(), folder / "list.txt")
    assert rows == {name: row for row, name in enumerate(names)}


def test_without_paths_arrays_keep_their_order(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.zeros((12, 8, 8, 3), np.uint8))
    rows, _ = by_name(given(number=12), tmp_path / "x.npz")
    assert list(rows.values()) == list(range(12))


def test_an_order_that_is_not_certain_is_refused(tmp_path):
    # "-" sorts before "/": as texts a-b/0.png comes first, folder by folder a/0.png.
    write(tmp_path / "images", ["a/0.png", "a-b/0.png"])
    with pytest.raises(InputError, match="The order of the images is not certain"):
        by_name(given(number=2), tmp_path / "images")


def test_without_paths_there_must_be_a_row_for_each_image(folder):
    with pytest.raises(InputError, match="Received: 4 rows in 'list.txt', and 5 images"):
        by_name(given(number=4), folder)


@pytest.mark.parametrize("how", ["below", "dots", "absolute", "from_list", "from_here", "shuffled"])
def test_paths_are_written_in_several_ways(folder, tmp_path, monkeypatch, how):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    start = {
        "dots": "./",
        "absolute": f"{folder}/",
        "from_list": "../images/",
        "from_here": "../images/",
    }.get(how, "")
    listed_in = str(tmp_path / ("lists/list.txt" if how == "from_list" else "list.txt"))
    names = NAMES[::-1] if how == "shuffled" else NAMES
    rows, told = by_name(given([start + name for name in names], listed_in=listed_in), folder)
    assert rows == {name: row for row, name in enumerate(names)}
    assert told == ()


def test_what_is_too_much_or_missing_is_counted_and_named(folder):
    paths = ["no.png", "b/2.png", "a/1.png", "neither.png"]
    rows, told = by_name(given(paths, 4), folder)
    assert rows == {"b/2.png": 1, "a/1.png": 2}
    first = next(name for name in open_source(str(folder)).names if name not in rows)
    assert told == (
        "Features of no image, passed over: 2, the first is 'no.png'",
        f"Images without features, left out: 3, the first is '{first}'",
    )


def test_paths_of_other_images_alone_are_refused(folder):
    with pytest.raises(InputError, match="No path is that of an image"):
        by_name(given(["x.png", "y.png"], 2), folder)


def test_a_path_that_is_listed_twice_is_refused(folder):
    with pytest.raises(InputError, match="1 paths again, the first is './a/1.png'"):
        by_name(given(["a/1.png", "./a/1.png"], 2), folder)


def test_names_that_our_tables_make_harmless_are_found(tmp_path):
    write(tmp_path / "images", ["=1.png", "'2.png"])
    rows, told = by_name(given(["'=1.png", "'2.png"], 2), tmp_path / "images")
    assert (rows, told) == ({"=1.png": 0, "'2.png": 1}, ())


def test_names_need_not_be_utf8(tmp_path):
    name = os.fsdecode(b"\xff.png")
    write(tmp_path / "images", [name, "b.png"])
    rows, _ = by_name(given(["b.png", name], 2), tmp_path / "images")
    assert rows == {"b.png": 0, name: 1}

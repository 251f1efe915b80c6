"""The files of a gallery: what is in them, and what they may replace."""

import base64
import dataclasses
import io
import json
import re

import numpy as np
import pytest
from found import found_images, thumbnails, whole_run
from PIL import Image

from dc_keras.errors import InputError
from dc_keras.exploring.gallery import (
    check_gallery_folder,
    gallery_files,
    gallery_order,
    link_to,
    write_gallery,
)
from dc_keras.exploring.sprite_sheets import CELL, COLUMNS, sprite_sheets


def data_of(files, path):
    """What a script hands to the page."""
    text = re.fullmatch(r'galleryData\("\w+",\d+,(".*")\);\n', files[path].decode("ascii"))
    return json.loads(json.loads(text[1]))


def unpacked(text, kind):
    return np.frombuffer(base64.b64decode(text), kind)


def files_of(found):
    return dict(gallery_files(found, thumbnails(len(found.paths)), whole_run(found)))


@pytest.fixture(scope="module")
def found():
    return found_images([f"a/{i}.png" for i in range(2500)], 300)


@pytest.fixture(scope="module")
def files(found):
    return files_of(found)


def test_each_cell_shows_the_image_of_its_place(found, files):
    order = gallery_order(found.clusters, found.distances, 300)
    sheets = [np.asarray(Image.open(io.BytesIO(files[f"sheets/sheet-{i}.jpg"]))) for i in range(3)]
    assert sheets[2].shape == (-(-(2500 - 2048) // COLUMNS) * CELL, 2048, 3)
    middle = [sheet[CELL // 2 :: CELL, CELL // 2 :: CELL].reshape(-1, 3) for sheet in sheets]
    shown = np.concatenate(middle)[:2500].astype(int)
    # JPEG changes even colours by a few steps; those of other images are 16 steps away.
    assert np.abs(shown - thumbnails(2500)[order.images, 0, 0]).max() < 8


def test_clusters_are_shown_by_size_and_images_by_distance(found, files):
    summary = data_of(files, "data/summary.js")
    sizes = np.bincount(found.clusters, minlength=300)
    assert summary["sizes"] == sorted(sizes.tolist(), reverse=True)
    assert sizes[summary["clusters"]].tolist() == summary["sizes"]
    chunks = [data_of(files, f"data/chunk-{i}.js") for i in range(2)]
    distances = np.concatenate([unpacked(chunk["distances"], "<f4") for chunk in chunks])
    assert (np.diff(distances[: summary["sizes"][0]]) >= 0).all()
    names = chunks[0]["names"] + chunks[1]["names"]
    order = unpacked(data_of(files, "data/order.js"), "<i4")
    assert names == [found.paths[image] for image in order]


def test_nearest_images_are_named_by_their_places(found, files):
    order = unpacked(data_of(files, "data/order.js"), "<i4")
    second = unpacked(data_of(files, "data/chunk-1.js")["nearest"], "<i4").reshape(-1, 10)
    np.testing.assert_array_equal(order[second[7]], found.nearest[order[2048 + 7]])


def test_borderline_images_and_outliers_are_of_the_cluster(found, files):
    summary = data_of(files, "data/summary.js")
    order = unpacked(data_of(files, "data/order.js"), "<i4")
    row = data_of(files, "data/clusters-0.js")[3]
    cluster = summary["clusters"][3]
    margins = found.margins[found.clusters == cluster]
    np.testing.assert_array_equal(found.margins[order[row["borderline"]]], np.sort(margins)[:16])
    assert (found.clusters[order[row["borderline"]]] == cluster).all()
    assert row["outlierCount"] == (found.outliers & (found.clusters == cluster)).sum()
    assert len(data_of(files, "data/clusters-1.js")) == 300 - 256


@pytest.mark.parametrize("n", [1, 2])
def test_few_images_make_a_gallery_as_well(n):
    found = found_images([f"{i}.png" for i in range(n)], 1)
    summary = data_of(files_of(found), "data/summary.js")
    assert (summary["images"], summary["sizes"]) == (n, [n])


def test_labels_are_counted_by_cluster():
    labels = np.array([0, 1, 1, -1], np.int32)
    clusters = np.array([0, 0, 0, 0], np.int32)
    found = found_images("abcd", 2, labels=labels, class_names=("cat", "dog"), clusters=clusters)
    files = files_of(found)
    assert data_of(files, "data/summary.js")["main"] == [[1, 2], [0, 0]]
    assert data_of(files, "data/clusters-0.js")[0]["labels"] == [[1, 2], [0, 1]]


def test_images_keep_the_numbers_of_the_manifest_where_others_are_gone():
    found = found_images("abc", 1)
    run = dataclasses.replace(whole_run(found), rows=np.array([0, 2, 5]), num_rows=6)
    files = dict(gallery_files(found, thumbnails(3), run))
    order = gallery_order(found.clusters, found.distances, 1)
    rows = unpacked(data_of(files, "data/order.js"), "<i4")
    assert rows.tolist() == np.array([0, 2, 5])[order.images].tolist()
    assert data_of(files, "data/summary.js")["rows"] == 6


def test_names_that_are_no_unicode_have_links_of_their_bytes():
    found = found_images(["caf\udce9.png", "cafe\u0301.png"], 1)
    chunk = data_of(files_of(found), "data/chunk-0.js")
    assert set(chunk["names"]) == {"cafe\u0301.png", "caf\\xe9.png"}
    assert list(chunk["links"].values()) == ["caf%E9.png"]


def test_links_are_relative(tmp_path):
    (tmp_path / "pictures #1").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "pictures #1")
    assert link_to(str(tmp_path / "link"), tmp_path / "run/gallery") == "../../pictures%20%231/"
    assert link_to(str(tmp_path), tmp_path / "gallery") == "../"
    assert link_to("", tmp_path) == ""


def test_a_gallery_is_replaced_and_nothing_else(tmp_path, files):
    out = tmp_path / "out"
    write_gallery(out, files.items())
    (out / "sheets/old.jpg").write_bytes(b"")
    write_gallery(out, files.items())
    assert not (out / "sheets/old.jpg").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/photo.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="is no gallery and would be lost"):
        write_gallery(tmp_path / "mine", files.items())
    (tmp_path / "mine/gallery.json").write_text("[1]")
    with pytest.raises(InputError, match="would be lost"):
        check_gallery_folder(tmp_path / "mine")
    assert (tmp_path / "mine/photo.jpg").exists()


def test_a_gallery_that_fails_leaves_the_one_before(tmp_path, files):
    write_gallery(tmp_path / "out", files.items())

    def broken():
        yield "index.html", b""
        raise OSError("disk full")

    with pytest.raises(InputError, match="disk full"):
        write_gallery(tmp_path / "out", broken())
    assert (tmp_path / "out/data/summary.js").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_sheets_are_made_as_they_are_asked_for():
    sheets = sprite_sheets(thumbnails(1), np.zeros(1025, int))
    assert Image.open(io.BytesIO(next(sheets))).size == (2048, 2048)
    assert Image.open(io.BytesIO(next(sheets))).size == (2048, 64)
    assert next(sheets, None) is None

"""Labels by folders, by a file or none, and what is said of classes that look like a mistake."""

import numpy as np
import pytest

from data_sets import flat_pictures, write_image
from dc_keras.data.sources.labels import describe_labels
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError


def write_images(root, names):
    for name in names:
        write_image(root / name)
    return str(root)


def test_none_takes_the_labels_away(tmp_path):
    root = write_images(tmp_path, ["b/1.png", "a/2.png"])
    source = open_source(root, labels="none")
    assert source.names == open_source(root).names == ("b/1.png", "a/2.png")
    assert source.labels is None and source.class_names is None
    assert describe_labels(source, "none") == []


def test_folders_leave_out_what_lies_outside(tmp_path):
    root = write_images(tmp_path, ["preview.png", "b/1.png", "a/2.png"])
    assert open_source(root).labels is None
    source = open_source(root, labels="folders")
    assert source.names == ("b/1.png", "a/2.png")
    assert source.labels.tolist() == [1, 0] and source.class_names == ("a", "b")
    assert source.findings.passed_over == (("preview.png", "image outside of the class folders"),)


def test_folders_are_asked_for_where_there_are_none(tmp_path):
    with pytest.raises(InputError, match="no folders to take labels from.*sklearn:digits"):
        open_source("sklearn:digits", labels="folders")
    root = write_images(tmp_path, ["1.png"])
    with pytest.raises(InputError, match="no images.*1 image outside of the class folders"):
        open_source(root, labels="folders")


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images", ["1.png", "x/2.png", "x/3.png"])


@pytest.mark.parametrize(
    "table",
    [
        "path,label\n1.png,dog\nx/2.png,cat\nx/3.png,dog\n",
        "1.png,dog\r\nx/2.png,cat\r\nx/3.png,dog\r\n",
        # As a run's manifest, with a mark in front, and a line for no image.
        "\ufeffindex,path,label\n0,1.png,dog\n1,x/2.png,cat\n2,x/3.png,dog\n3,4.png,cow\n",
        # From the folder of the file on.
        "path,label\nimages/1.png,dog\nimages/x/2.png,cat\nimages/x/3.png,dog\n",
        "path,label\n{root}/1.png,dog\n{root}/x/2.png,cat\n{root}/x/3.png,dog\n",
    ],
)
def test_labels_of_a_file(images, tmp_path, table):
    (tmp_path / "labels.csv").write_text(table.format(root=images))
    source = open_source(images, labels=str(tmp_path / "labels.csv"))
    assert source.names == ("1.png", "x/2.png", "x/3.png")
    assert source.labels.tolist() == [1, 0, 1] and source.labels.dtype == np.int32
    assert source.class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("path,label\n1.png,dog\n", r"lacks 2 of 3 images, the first is 'x/2.png'"),
        ("path,label\n1.png,dog\nx/2.png,\nx/3.png,cat\n", "lacks 1 of 3 images"),
        ("1.png\n", "has none"),
        ("", "empty"),
        ("path,label\n1.png\n", "row 1 of data"),
        ('path,label\n"1.png', "damaged"),
    ],
)
def test_files_that_do_not_tell_the_labels(images, tmp_path, table, message):
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        open_source(images, labels=str(tmp_path / "labels.csv"))


def test_a_file_that_is_not_there(images):
    with pytest.raises(InputError, match="cannot be read.*nowhere.csv"):
        open_source(images, labels="nowhere.csv")


def test_classes_are_named_with_their_counts(tmp_path):
    root = write_images(tmp_path, ["a/1.png", "a/2.png", "b\n/3.png"])
    (line,) = describe_labels(open_source(root))
    assert line == "Classes, for figures alone: 2: a (2), 'b\\n' (1)"


def test_the_first_ten_classes_are_named(tmp_path):
    root = write_images(tmp_path, [f"c{i:02d}/{i}.png" for i in range(12)])
    (line,) = describe_labels(open_source(root))
    assert line.startswith("Classes, for figures alone: 12: c00 (1), ")
    assert line.endswith(", c09 (1) and 2 more")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["train/a/1.png", "Val/a/2.png", "test/a/3.png"], "look like parts of a data set"),
        (["dataset/a/1.png", "dataset/b/2.png"], "use --data_dir=ROOT/dataset"),
        (["x/images/a/1.png", "x/images/b/2.png"], "use --data_dir=ROOT/x/images;"),
        (["a/1.png", "a/2.png"], "a single class, the sub-folder a. "),
        (["part_0/1.png", "part_1/2.png"], "that images were shared out among"),
        (
            ["preview.png", "a/1.png", "b/2.png"],
            "1 of 3 images lie outside of the sub-folders a, b",
        ),
    ],
)
def test_what_looks_like_a_mistake_is_said(tmp_path, names, said):
    lines = describe_labels(open_source(write_images(tmp_path, names)))
    assert said.replace("ROOT", str(tmp_path)) in lines[-1]


@pytest.mark.parametrize("names", [["a/1.png", "b/2.png"], ["0/1.png", "1/2.png"], ["1.png"]])
def test_what_is_usual_is_not_called_a_mistake(tmp_path, names):
    lines = describe_labels(open_source(write_images(tmp_path, names)))
    assert lines == [] or (len(lines) == 1 and lines[0].startswith("Classes"))


def test_sources_without_labels_have_nothing_to_tell():
    assert describe_labels(flat_pictures(3)) == []

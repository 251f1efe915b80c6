"""Labels of a gallery: what is believed of a file, and what becomes of clusters and images."""

import csv
import json

import numpy as np
import pytest

from dc_keras.errors import InputError
from dc_keras.exploring.gallery_labels import (
    LabelGroup,
    apply_labels,
    check_groups_file,
    read_labels,
    write_groups,
)

RIGHT = {"name": "cats", "clusters": [2, 0], "images": [5], "rejected": False}


@pytest.fixture
def labels(tmp_path):
    """A file of labels with some things changed."""

    def write(*groups, **changes):
        value = {"format": "dc_keras labels", "version": 1, "gallery": "g", "groups": list(groups)}
        path = tmp_path / "labels.json"
        path.write_text(json.dumps(value | changes))
        return path

    return write


def read(path):
    return read_labels(path, gallery="g", num_images=10, num_clusters=4)


def test_a_right_file_is_read(labels):
    expected = LabelGroup("cats", (2, 0), (5,), False)
    assert read(labels(RIGHT, images=10)) == (expected,)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"clusters": [4]}, "clusters has 4, where there are 0 to 3"),
        ({"clusters": [-1]}, "clusters has -1"),
        ({"clusters": [True]}, "clusters has True"),
        ({"clusters": [1.0]}, "clusters has 1.0"),
        ({"clusters": [1, 1]}, "stands there twice"),
        ({"clusters": {"1": 1}}, "clusters is no list"),
        ({"images": [10]}, "images has 10"),
        ({"name": "two\nlines"}, "no line"),
        ({"name": "\ud800"}, "no line"),
        ({"name": "\u202egnp"}, "no line"),
        ({"name": "x" * 201}, "no line"),
        ({"name": None}, "no line"),
        ({"rejected": 1}, "neither true nor false"),
        ({"more": 1}, "should have name"),
    ],
)
def test_wrong_groups_are_refused(labels, changes, told):
    with pytest.raises(InputError, match=told):
        read(labels(RIGHT | changes))


def test_a_cluster_is_in_one_group(labels):
    other = RIGHT | {"images": []}
    with pytest.raises(InputError, match="group 1: clusters has 2, which stands there twice"):
        read(labels(RIGHT, other))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no labels"),
        (b'{"format": "other"}', "no labels"),
        (b'{"format": "dc_keras labels", "version": 2}', "another version"),
        (b'{"format": "dc_keras labels", "version": 1}', "other clusters"),
        (b'{"format": "dc_keras labels", "version": 1, "gallery": "g"}', "no groups"),
        (b"1" * 5000, "no JSON"),
    ],
)
def test_other_files_are_refused(tmp_path, content, told):
    (tmp_path / "labels.json").write_bytes(content)
    with pytest.raises(InputError, match=told):
        read(tmp_path / "labels.json")


def test_what_is_no_file_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "absent", "/dev/zero"):
        with pytest.raises(InputError, match="no such file"):
            read(path)


def test_images_that_were_split_off_leave_their_clusters():
    groups = [
        LabelGroup("cats", (2, 0), (), False),
        LabelGroup("", (), (0, 5), False),
        LabelGroup("", (1,), (), True),
    ]
    clusters = np.array([0, 1, 2, 3, 0, 1])
    found = apply_labels(groups, clusters, 4)
    shown = [found.groups[group] for group in found.of_images]
    assert shown == ["split off 1", "cluster 1", "cats", "cluster 3", "cats", "split off 1"]
    assert found.rejected.tolist() == [False, True, False, False, False, False]
    assert found.cluster_names == ("cats", "rejected", "cats", "")


def test_merged_clusters_without_a_name_are_called_by_the_first():
    found = apply_labels([LabelGroup("", (3, 1), (), False)], np.array([0, 1, 2, 3]), 4)
    assert found.cluster_names == ("", "cluster 3", "", "cluster 3")


def test_the_table_tells_groups_and_runs_no_formula(tmp_path):
    clusters = np.array([0, 1])
    found = apply_labels([LabelGroup("=cmd", (0,), (), True)], clusters, 2)
    path = tmp_path / "groups.csv"
    write_groups(path, ["a.png", "b\udce9.png"], clusters, found)
    with open(path, newline="", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert [row["group"] for row in rows] == ["'=cmd", "cluster 1"]
    assert [row["rejected"] for row in rows] == ["1", "0"]
    check_groups_file(path)
    path.write_text("something else\n")
    with pytest.raises(InputError, match="would be lost"):
        check_groups_file(path)

"""Sorting into folders: nothing is lost or overwritten, and everything can be undone."""

import os
import shutil

import numpy as np
import pytest
from found import found_images

from dc_keras.errors import CannotWriteError, InputError
from dc_keras.exploring import sorted_folders
from dc_keras.exploring.sorted_folders import (
    COPY,
    LINK,
    MOVE,
    check,
    check_output,
    folder_names,
    plan,
    sort_images,
    undo,
    without_missing,
)

NAMES = [
    "a.jpg",
    "A.jpg",
    "one/a.jpg",
    "two/<script>alert(1)</script>.png",
    "two/\"quotes\" & 'more'.png",
    "two/new\nline.png",
    "two/-rf",
    "=1+1.png",
    os.fsdecode(b"two/no\xff utf8.png"),
    "two/e\u0301.png",
    "two/\u00e9.png",
    "two/" + "x" * 251 + ".png",
    "one/" + "x" * 251 + ".png",
]


@pytest.fixture
def root(tmp_path):
    """A folder of files with hostile names, the content of each telling its name."""
    for name in NAMES:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))
    return str(tmp_path / "images")


def places_in(root, **more):
    found = found_images(NAMES, 2, root=root, **more)
    return plan(found)


def one_cluster(**more):
    n = len(NAMES)
    return {
        "clusters": np.zeros(n, np.int32),
        "outliers": np.zeros(n, bool),
        "cluster_names": ("all", ""),
    } | more


def files_below(folder):
    return sorted(
        os.path.relpath(os.path.join(at, name), folder)
        for at, _, names in os.walk(folder)
        for name in names
    )


@pytest.mark.parametrize("action", [LINK, COPY, MOVE])
def test_each_image_arrives_and_comes_back(root, tmp_path, action):
    out = str(tmp_path / "out")
    places = places_in(root, **one_cluster())
    check_output(out)
    check(places, out, action, root)
    sort_images(places, out, action)
    assert len(files_below(out)) == len(NAMES) + 1
    for name, place in zip(NAMES, places, strict=True):
        target = os.path.join(out, place.target)
        assert os.path.islink(target) == (action == LINK)
        with open(target, "rb") as file:
            assert file.read() == os.fsencode(name)
    assert len(files_below(root)) == (0 if action == MOVE else len(NAMES))
    done = undo(out)
    assert (done.count, done.left) == (len(NAMES), ())
    assert files_below(root) == sorted(NAMES)
    assert not os.path.exists(out)


def test_names_that_some_disks_take_for_one_are_told_apart(root):
    targets = [place.target for place in places_in(root, **one_cluster())]
    assert targets[:3] == ["000_all/a.jpg", "000_all/A (2).jpg", "000_all/a (3).jpg"]
    assert targets[9:11] == ["000_all/e\u0301.png", "000_all/\u00e9 (2).png"]
    assert all(len(os.fsencode(target.partition("/")[2])) <= 255 for target in targets)
    assert len(set(targets)) == len(targets)


def test_outliers_go_into_noise(root):
    outliers = np.arange(len(NAMES)) == 3
    places = places_in(root, **one_cluster(outliers=outliers))
    assert [p.target.startswith("noise/") for p in places] == outliers.tolist()


def test_folders_are_ordered_by_size_and_safe_to_make():
    clusters = np.repeat(np.arange(5), [1, 3, 2, 2, 0]).astype(np.int32)
    names = ["../../etc", "", "a/b\n<c>:", "\u6d77" * 60, "empty"]
    found = folder_names(clusters, names)
    assert list(found) == [1, 2, 3, 0]
    assert found[1] == "000_cluster_1"
    assert found[2] == "001_a_b__c__"
    assert found[3] == "002_" + "\u6d77" * 26
    assert found[0] == "003__.._etc"


def test_thousands_of_clusters_have_numbers_of_one_width():
    found = folder_names(np.arange(1200, dtype=np.int32), [""] * 1200)
    assert found[0] == "0000_cluster_0" and found[1199] == "1199_cluster_1199"


@pytest.mark.parametrize("there", ["file", "sorted", "full", "inside"])
def test_outputs_that_would_lose_something_are_refused(root, tmp_path, there):
    out = tmp_path / "out"
    expected = {
        "file": "The output is a file",
        "sorted": "were sorted into this folder before",
        "full": "is not empty",
        "inside": "lies among the images",
    }[there]
    if there == "file":
        out.write_text("mine")
    elif there == "inside":
        out = tmp_path / "images" / "sorted"
    else:
        out.mkdir()
        (out / {"sorted": "sorted.csv", "full": "mine.txt"}[there]).write_text("mine")
    with pytest.raises(InputError, match=expected):
        check_output(str(out))
        check(places_in(root, **one_cluster()), str(out), LINK, root)


def test_missing_images_are_told_and_the_others_sorted(root):
    os.unlink(os.path.join(root, NAMES[2]))
    places, missing = without_missing(places_in(root, **one_cluster()))
    assert missing == [os.path.join(root, NAMES[2])]
    assert len(places) == len(NAMES) - 1


def test_images_that_are_no_files_are_refused():
    with pytest.raises(InputError, match=r"no files that could be sorted.*digits/000000"):
        plan(found_images(["digits/000000"], 1))


class Stopped(BaseException):
    """As a kill: nothing that the program could mend."""


@pytest.mark.parametrize("other_disk", [False, True])
def test_a_move_that_was_cut_off_is_undone(root, tmp_path, monkeypatch, other_disk):
    out = str(tmp_path / "out")
    places = places_in(root, **one_cluster())
    moved = []

    def move(place, target):
        if len(moved) == 5:
            if other_disk:
                # Copied to another disk and not yet removed from this one.
                shutil.copy2(place.source, target)
            raise Stopped
        moved.append(place)
        os.rename(place.source, target)

    monkeypatch.setattr(sorted_folders, "_move", move)
    with pytest.raises(Stopped):
        sort_images(places, out, MOVE)
    monkeypatch.undo()
    assert undo(out).left == ()
    assert files_below(root) == sorted(NAMES)
    assert not os.path.exists(out)


def test_moving_to_another_disk_copies_and_then_removes(root, tmp_path):
    other = "/dev/shm"
    if not os.path.isdir(other) or os.stat(other).st_dev == os.stat(root).st_dev:
        pytest.skip("There is no other disk here.")
    out = os.path.join(other, f"dc_keras_test_{os.getpid()}")
    try:
        places = places_in(root, **one_cluster())
        sort_images(places, out, MOVE)
        assert files_below(root) == [] and len(files_below(out)) == len(NAMES) + 1
        assert undo(out).left == ()
        assert files_below(root) == sorted(NAMES)
    finally:
        shutil.rmtree(out, ignore_errors=True)


def test_what_has_changed_since_is_left_and_told(root, tmp_path):
    out = str(tmp_path / "out")
    places = places_in(root, **one_cluster())
    sort_images(places, out, MOVE)
    with open(places[0].source, "wb") as file:
        file.write(b"another image")
    os.unlink(os.path.join(out, places[1].target))
    done = undo(out)
    assert done.count == len(NAMES) - 2
    assert [why.partition(",")[0] for _, why in done.left] == [
        "another file has taken its old place",
        "is gone",
    ]
    assert os.path.exists(os.path.join(out, places[0].target))
    # Once the way is free, the rest comes back.
    os.unlink(places[0].source)
    assert [path for path, _ in undo(out).left] == [os.path.join(out, places[1].target)]


def test_links_that_are_moved_lead_to_the_same_file_and_come_back_as_they_were(tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    (tmp_path / "far.jpg").write_text("far")
    (root / "link.jpg").symlink_to("../far.jpg")
    found = found_images(["link.jpg"], 1, root=str(root), cluster_names=("",))
    out = str(tmp_path / "deep" / "out")
    places = plan(found)
    sort_images(places, out, MOVE)
    assert (tmp_path / "deep/out" / places[0].target).read_text() == "far"
    assert undo(out).left == ()
    assert os.readlink(root / "link.jpg") == "../far.jpg"


def test_a_failure_in_the_middle_tells_the_way_back(root, tmp_path, monkeypatch):
    out = str(tmp_path / "out")

    def full(place, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sorted_folders, "_copy", full)
    with pytest.raises(CannotWriteError, match=r"0 of 13 images.*sort --undo --out="):
        sort_images(places_in(root, **one_cluster()), out, COPY)


@pytest.mark.parametrize("text", ["", "action,source\n", "link,/a,../../b,0,\n"])
def test_a_journal_of_something_else_is_refused(tmp_path, text):
    header = "action,source,target,cluster,link\n" if text.startswith("link") else ""
    (tmp_path / "sorted.csv").write_text(header + text)
    with pytest.raises(InputError, match="nothing that could be undone"):
        undo(str(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_images_that_may_not_be_moved_are_told_before_any_is(root, tmp_path):
    os.chmod(os.path.join(root, "two"), 0o555)
    with pytest.raises(InputError, match=r"may not be moved.*two"):
        check(places_in(root, **one_cluster()), str(tmp_path / "out"), MOVE, root)

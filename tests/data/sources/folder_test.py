"""Listing folders of image files: order, links, odd names, other file systems."""

import itertools
import os

import numpy as np
import pytest
import tensorflow as tf

from data_sets import loaded, write_folder, write_image
from dc_keras.data.sources.folder import FolderSource
from dc_keras.data.sources.manifest import read_manifest, write_manifest
from dc_keras.data.sources.open import open_source


def test_the_order_of_the_images_does_not_depend_on_their_classes(tmp_path):
    # The same file name with another size, the same size, and the very same content.
    contents = {"1.png": [b"long", b"b", b"c"], "2.png": [b"same", b"same", b"d"]}
    orders = set()
    for classes in itertools.permutations("xyz"):
        root = tmp_path / "".join(classes)
        for name, variants in contents.items():
            for folder, content in zip(classes, variants, strict=True):
                (root / folder).mkdir(parents=True, exist_ok=True)
                (root / folder / name).write_bytes(content)
        source = open_source(str(root))
        assert source.class_names == ("x", "y", "z")
        assert [source.class_names[label] for label in source.labels] == [
            name[0] for name in source.names
        ]
        orders.add(tuple(loaded(source)))
    assert len(orders) == 1


def test_hidden_files_and_folders_are_skipped(tmp_path):
    for name in ["1.png", ".2.png", ".thumbnails/3.png"]:
        write_image(tmp_path / name)
    assert open_source(str(tmp_path)).names == ("1.png",)


def test_links_are_followed_once_and_broken_ones_listed(tmp_path):
    write_image(tmp_path / "elsewhere" / "1.png")
    data = tmp_path / "data"
    data.mkdir()
    (data / "class").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(data)
    (data / "broken.png").symlink_to(tmp_path / "gone.png")
    assert open_source(str(data)).names == ("broken.png", "class/1.png")


def test_a_folder_is_listed_at_its_own_place_and_not_by_links_to_it(tmp_path):
    write_image(tmp_path / "data" / "b" / "1.png")
    write_image(tmp_path / "elsewhere" / "2.png")
    for name, target in {"a": "data/b", "c": "data/b", "d": "elsewhere", "e": "elsewhere"}.items():
        (tmp_path / "data" / name).symlink_to(tmp_path / target)
    assert open_source(str(tmp_path / "data")).names == ("b/1.png", "d/2.png")


def test_folders_that_all_link_to_each_other_are_listed_once(tmp_path):
    # There are more than 20! ways through them.
    names = [f"{i:02d}" for i in range(20)]
    for name in names:
        write_image(tmp_path / name / f"{name}.png")
        for other in names:
            (tmp_path / name / f"to_{other}").symlink_to(tmp_path / other)
    assert open_source(str(tmp_path)).names == tuple(f"{n}/{n}.png" for n in names)


def test_a_name_that_is_no_utf8_is_listed_loaded_and_kept_in_the_manifest(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    try:
        with open(path, "wb") as file:
            file.write(b"content")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    source = open_source(str(tmp_path))
    assert os.fsencode(source.names[0]) == b"caf\xe9.png"
    assert loaded(source) == [b"content"]
    write_manifest(source, tmp_path / "manifest.csv")
    assert read_manifest(tmp_path / "manifest.csv").names == source.names


def test_a_folder_loads_bytes_eagerly_and_in_a_pipeline(tmp_path):
    contents = [bytes([i]) * (i + 1) for i in range(5)]
    for i, content in enumerate(contents):
        (tmp_path / f"{i}.jpg").write_bytes(content)
    source = open_source(str(tmp_path))
    assert [source.load(tf.constant(i)).numpy() for i in range(5)] == contents
    assert loaded(source) == contents


def test_paths_are_no_part_of_the_graph():
    # TensorFlow copies tensors of up to 128 elements into the graph, so more are needed here.
    source = FolderSource("/data", [f"to-look-for-{i}.png" for i in range(1000)])
    graph = tf.function(source.load).get_concrete_function(tf.TensorSpec([], tf.int64)).graph
    assert b"to-look-for" not in graph.as_graph_def().SerializeToString()


def test_selection_of_files(tmp_path):
    for i, name in enumerate(["a/0.png", "b/1.png", "b/2.png"]):
        write_image(tmp_path / name)
        (tmp_path / name).write_bytes(bytes([i]))
    source = open_source(str(tmp_path)).select(np.array([2, 0]))
    assert source.names == ("b/2.png", "a/0.png")
    assert source.labels.tolist() == [1, 0]
    assert source.class_names == ("a", "b")
    assert loaded(source) == [b"\x02", b"\x00"]


CONTENTS = {"a/2.png": b"two", "b/deep/1.JPG": b"one", "a/notes.txt": b"", "b/.hidden.png": b""}


@pytest.mark.parametrize("scheme", ["file://", "ram://"])
def test_a_folder_on_another_file_system(tmp_path, scheme):
    local = open_source(write_folder(str(tmp_path / "local"), CONTENTS))
    source = open_source(write_folder(f"{scheme}{tmp_path}/remote", CONTENTS))
    assert source.names == local.names == ("a/2.png", "b/deep/1.JPG")
    assert source.class_names == ("a", "b")
    assert source.labels.tolist() == [0, 1]
    assert loaded(source) == [b"two", b"one"]


def test_ties_of_names_are_settled_on_another_file_system(tmp_path):
    contents = {"a/1.png": b"longest", "b/1.png": b"c", "c/1.png": b"b"}
    local = open_source(write_folder(str(tmp_path / "local"), contents))
    source = open_source(write_folder(f"ram://{tmp_path}/remote", contents))
    assert loaded(source) == loaded(local)
    assert loaded(source)[-1] == b"longest"

"""Listing folders and arrays, and the manifest."""

import itertools
import os

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from PIL import Image

from data_sets import loaded, write_folder
from dc_keras.data import sources
from dc_keras.errors import InputError


def write_image(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (value, value, value)).save(path, "PNG")


def test_class_folders_give_labels_in_sorted_order(tmp_path):
    for name in ["b/2.png", "b/1.jpg", "a/deep/x.PNG", "a/y.webp", "c d/é, \n.bmp"]:
        write_image(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    source = sources.open_source(str(tmp_path))
    assert source.names == ("b/1.jpg", "b/2.png", "a/deep/x.PNG", "a/y.webp", "c d/é, \n.bmp")
    assert source.class_names == ("a", "b", "c d")
    assert source.labels.tolist() == [1, 1, 0, 0, 2]
    assert source.labels.dtype == np.int32


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
        source = sources.open_source(str(root))
        assert source.class_names == ("x", "y", "z")
        assert [source.class_names[label] for label in source.labels] == [
            name[0] for name in source.names
        ]
        orders.add(tuple(loaded(source)))
    assert len(orders) == 1


@pytest.mark.parametrize("names", [["1.png", "2.JPEG"], ["1.png", "class/2.png"]])
def test_an_image_outside_the_class_folders_means_no_labels(tmp_path, names):
    for name in names:
        write_image(tmp_path / name)
    source = sources.open_source(str(tmp_path))
    assert source.names == tuple(names)
    assert source.labels is None
    assert source.class_names is None


def test_hidden_files_and_folders_are_skipped(tmp_path):
    for name in ["1.png", ".2.png", ".thumbnails/3.png"]:
        write_image(tmp_path / name)
    assert sources.open_source(str(tmp_path)).names == ("1.png",)


def test_links_are_followed_once_and_broken_ones_listed(tmp_path):
    write_image(tmp_path / "elsewhere" / "1.png")
    data = tmp_path / "data"
    data.mkdir()
    (data / "class").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(data)
    (data / "broken.png").symlink_to(tmp_path / "gone.png")
    assert sources.open_source(str(data)).names == ("broken.png", "class/1.png")


def test_a_folder_is_listed_at_its_own_place_and_not_by_links_to_it(tmp_path):
    write_image(tmp_path / "data" / "b" / "1.png")
    write_image(tmp_path / "elsewhere" / "2.png")
    for name, target in {"a": "data/b", "c": "data/b", "d": "elsewhere", "e": "elsewhere"}.items():
        (tmp_path / "data" / name).symlink_to(tmp_path / target)
    assert sources.open_source(str(tmp_path / "data")).names == ("b/1.png", "d/2.png")


def test_folders_that_all_link_to_each_other_are_listed_once(tmp_path):
    # There are more than 20! ways through them.
    names = [f"{i:02d}" for i in range(20)]
    for name in names:
        write_image(tmp_path / name / f"{name}.png")
        for other in names:
            (tmp_path / name / f"to_{other}").symlink_to(tmp_path / other)
    assert sources.open_source(str(tmp_path)).names == tuple(f"{n}/{n}.png" for n in names)


def test_a_name_that_is_no_utf8_is_listed_loaded_and_kept_in_the_manifest(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    try:
        with open(path, "wb") as file:
            file.write(b"content")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    source = sources.open_source(str(tmp_path))
    assert os.fsencode(source.names[0]) == b"caf\xe9.png"
    assert loaded(source) == [b"content"]
    sources.write_manifest(source, tmp_path / "manifest.csv")
    assert sources.read_manifest(tmp_path / "manifest.csv").names == source.names


def test_a_folder_loads_bytes_eagerly_and_in_a_pipeline(tmp_path):
    contents = [bytes([i]) * (i + 1) for i in range(5)]
    for i, content in enumerate(contents):
        (tmp_path / f"{i}.jpg").write_bytes(content)
    source = sources.open_source(str(tmp_path))
    assert [source.load(tf.constant(i)).numpy() for i in range(5)] == contents
    assert loaded(source) == contents


def test_paths_are_no_part_of_the_graph():
    # TensorFlow copies tensors of up to 128 elements into the graph, so more are needed here.
    source = sources.FolderSource("/data", [f"to-look-for-{i}.png" for i in range(1000)])
    graph = tf.function(source.load).get_concrete_function(tf.TensorSpec([], tf.int64)).graph
    assert b"to-look-for" not in graph.as_graph_def().SerializeToString()


CONTENTS = {"a/2.png": b"two", "b/deep/1.JPG": b"one", "a/notes.txt": b"", "b/.hidden.png": b""}


@pytest.mark.parametrize("scheme", ["file://", "ram://"])
def test_a_folder_on_another_file_system(tmp_path, scheme):
    local = sources.open_source(write_folder(str(tmp_path / "local"), CONTENTS))
    source = sources.open_source(write_folder(f"{scheme}{tmp_path}/remote", CONTENTS))
    assert source.names == local.names == ("a/2.png", "b/deep/1.JPG")
    assert source.class_names == ("a", "b")
    assert source.labels.tolist() == [0, 1]
    assert loaded(source) == [b"two", b"one"]


def test_ties_of_names_are_settled_on_another_file_system(tmp_path):
    contents = {"a/1.png": b"longest", "b/1.png": b"c", "c/1.png": b"b"}
    local = sources.open_source(write_folder(str(tmp_path / "local"), contents))
    source = sources.open_source(write_folder(f"ram://{tmp_path}/remote", contents))
    assert loaded(source) == loaded(local)
    assert loaded(source)[-1] == b"longest"


def test_an_npz_on_another_file_system(tmp_path):
    np.savez(tmp_path / "set.npz", images=IMAGES + 7, labels=np.array([1, 0]))
    path = f"ram://{tmp_path}/set.npz"
    tf.io.gfile.makedirs(f"ram://{tmp_path}")
    tf.io.gfile.copy(str(tmp_path / "set.npz"), path)
    source = sources.open_source(path)
    assert source.names == ("set/000000", "set/000001")
    assert source.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(loaded(source), IMAGES + 7)


@pytest.mark.parametrize("name", ["nowhere", "nowhere/train-*-of-*", "nowhere.npz"])
def test_what_is_missing_on_another_file_system_is_an_input_error(tmp_path, name):
    with pytest.raises(InputError, match="not there|cannot be read"):
        sources.open_source(f"ram://{tmp_path}/{name}")


def test_selection_of_files(tmp_path):
    for i, name in enumerate(["a/0.png", "b/1.png", "b/2.png"]):
        write_image(tmp_path / name)
        (tmp_path / name).write_bytes(bytes([i]))
    source = sources.open_source(str(tmp_path)).select(np.array([2, 0]))
    assert source.names == ("b/2.png", "a/0.png")
    assert source.labels.tolist() == [1, 0]
    assert source.class_names == ("a", "b")
    assert loaded(source) == [b"\x02", b"\x00"]


def test_digits():
    from sklearn.datasets import load_digits

    digits = load_digits()
    source = sources.open_source("sklearn:digits")
    assert len(source) == 1797
    assert source.names[17] == "digits/000017"
    assert source.class_names == tuple("0123456789")
    assert source.labels.tolist() == digits.target.tolist()
    image = source.load(tf.constant(17)).numpy()
    assert image.shape == (8, 8, 3)
    # Level 16 is white: within half a grey level of value * 255 / 16.
    assert np.abs(image - digits.images[17][..., None] * 255 / 16).max() <= 0.5


@pytest.mark.parametrize("channels", [1, 3])
def test_npz(tmp_path, channels):
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 4, channels), np.uint8)
    np.savez(tmp_path / "set.npz", images=images, labels=np.array([7, -1, 7]))
    source = sources.open_source(str(tmp_path / "set.npz"))
    assert source.names == ("set/000000", "set/000001", "set/000002")
    assert source.class_names == ("-1", "7")
    assert source.labels.tolist() == [1, 0, 1]
    assert source.labels.dtype == np.int32
    np.testing.assert_array_equal(loaded(source), np.broadcast_to(images, (3, 5, 4, 3)))
    chosen = source.select(np.array([2, 1]))
    assert chosen.names == ("set/000002", "set/000001")
    assert chosen.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(loaded(chosen), np.broadcast_to(images[[2, 1]], (2, 5, 4, 3)))


def test_npz_without_labels(tmp_path):
    np.savez(tmp_path / "set.npz", images=np.zeros((2, 5, 4, 3), np.uint8))
    source = sources.open_source(str(tmp_path / "set.npz"))
    assert source.labels is None
    assert source.class_names is None


IMAGES = np.zeros((2, 5, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": IMAGES}, "no array `images`.*pictures"),
        ({"images": IMAGES.astype(np.float32)}, r"float32 \(2, 5, 4, 3\)"),
        ({"images": IMAGES[..., 0]}, r"uint8 \(2, 5, 4\)"),
        ({"images": IMAGES[..., :2]}, r"uint8 \(2, 5, 4, 2\)"),
        ({"images": IMAGES[:0]}, r"uint8 \(0, 5, 4, 3\)"),
        ({"images": IMAGES, "labels": np.zeros(3, int)}, r"`labels`.*int64 \(3,\) for 2 images"),
        ({"images": IMAGES, "labels": np.zeros(2)}, r"`labels`.*float64 \(2,\)"),
        ({"images": np.array([{}, {}], object)}, "cannot be read"),
    ],
)
def test_wrong_arrays_are_input_errors(tmp_path, arrays, message):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(InputError, match=message):
        sources.open_source(str(tmp_path / "set.npz"))


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 and nothing else"])
def test_a_file_that_is_no_npz_is_an_input_error(tmp_path, content):
    (tmp_path / "set.npz").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        sources.open_source(str(tmp_path / "set.npz"))


def test_an_npy_file_named_npz_is_an_input_error(tmp_path):
    np.save(tmp_path / "set.npy", IMAGES)
    os.rename(tmp_path / "set.npy", tmp_path / "set.npz")
    with pytest.raises(InputError, match="cannot be read"):
        sources.open_source(str(tmp_path / "set.npz"))


@pytest.mark.parametrize("place", [0.3, 0.6])
def test_a_damaged_npz_is_an_input_error(tmp_path, place, rng):
    images = rng.integers(0, 256, (4, 16, 16, 3), np.uint8)
    np.savez_compressed(tmp_path / "set.npz", images=images)
    content = bytearray((tmp_path / "set.npz").read_bytes())
    at = int(place * len(content))
    content[at : at + 50] = bytes(50)
    (tmp_path / "set.npz").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        sources.open_source(str(tmp_path / "set.npz"))


def test_missing_and_empty_folders_are_input_errors(tmp_path):
    with pytest.raises(InputError, match="not there.*nowhere"):
        sources.open_source(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="cannot be read.*nowhere"):
        sources.open_source(str(tmp_path / "nowhere.npz"))
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match="no images"):
        sources.open_source(str(tmp_path))
    with pytest.raises(InputError, match="is a file"):
        sources.open_source(str(tmp_path / "notes.txt"))


# What a Linux file name can be: any bytes but NUL, decoded as os.listdir does.
NAMES = st.binary(min_size=1, max_size=12).filter(lambda b: b"\0" not in b).map(os.fsdecode)


@hypothesis.given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=5))
@hypothesis.settings(max_examples=100, deadline=None)
def test_the_manifest_keeps_every_name(tmp_path_factory, entries):
    path = tmp_path_factory.mktemp("manifest") / "manifest.csv"
    names = [name for name, _ in entries]
    class_names = tuple(sorted({label for _, label in entries}))
    labels = np.array([class_names.index(label) for _, label in entries], np.int32)
    sources.write_manifest(sources.FolderSource("/data", names, labels, class_names), path)
    manifest = sources.read_manifest(path)
    assert manifest.names == tuple(names)
    assert manifest.labels == tuple(label for _, label in entries)


def test_the_manifest_as_text(tmp_path):
    path = tmp_path / "manifest.csv"
    sources.write_manifest(sources.FolderSource("/data", ["a, b.png", "c.png"]), path)
    assert path.read_bytes() == b'index,path,label\r\n0,"a, b.png",\r\n1,c.png,\r\n'


@pytest.mark.parametrize(
    "content",
    ["", "path,index\r\n", "index,path,label\r\n1,a.png,\r\n", 'index,path,label\r\n0,"a.png'],
)
def test_what_is_no_manifest_is_an_input_error(tmp_path, content):
    path = tmp_path / "manifest.csv"
    path.write_text(content)
    with pytest.raises(InputError, match="manifest cannot be read"):
        sources.read_manifest(path)
    with pytest.raises(InputError, match="manifest cannot be read"):
        sources.read_manifest(tmp_path / "gone.csv")

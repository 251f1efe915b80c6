"""Data sets of TensorFlow Datasets, which the tests prepare themselves."""

import os
import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf

from data_sets import loaded
from dc_keras.data.pixels.decoding import decode
from dc_keras.data.sources.inspection import find_unreadable
from dc_keras.data.sources.manifest import positions_of, read_manifest, write_manifest
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError

tfds = pytest.importorskip("tensorflow_datasets")
pytest.importorskip("array_record")


class DcShapes(tfds.core.GeneratorBasedBuilder):
    """Grey squares of several sizes, whose level is their number."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        classes = tfds.features.ClassLabel(names=["round", "square", "none"])
        image = tfds.features.Image(shape=(None, None, 3))
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict({"picture": image, "kind": classes})
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(10), "test": self._generate_examples(3)}

    def _generate_examples(self, count):
        for i in range(count):
            yield i, {"picture": np.full((5 + i, 6, 3), i, np.uint8), "kind": i % 2}


class DcPairs(DcShapes):
    """Two images a record."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        images = {key: tfds.features.Image(shape=(None, None, 3)) for key in ("picture", "other")}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(images))

    def _generate_examples(self, count):
        for i in range(count):
            image = np.zeros((4, 4, 3), np.uint8)
            yield i, {"picture": image, "other": image}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Where data sets are prepared."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "tfds"


def prepare(builder, file_format="array_record", **options):
    config = tfds.download.DownloadConfig(**options)
    builder = builder(data_dir=os.environ["TFDS_DATA_DIR"], file_format=file_format)
    builder.download_and_prepare(download_config=config)


def test_images_labels_and_names_are_those_that_were_prepared():
    prepare(DcShapes)
    source = open_source("tfds:dc_shapes")
    assert len(source) == 10
    assert source.names[3] == "dc_shapes@train/000003"
    assert source.class_names == ("round", "square", "none")
    assert source.labels.dtype == np.int32
    images = [decode(tf.constant(image)).numpy() for image in loaded(source)]
    # The library shuffles by a hash of the key.
    levels = [int(image[0, 0, 0]) for image in images]
    assert sorted(levels) == list(range(10))
    for level, image, label in zip(levels, images, source.labels, strict=True):
        np.testing.assert_array_equal(image, np.full((5 + level, 6, 3), level))
        assert label == level % 2
    assert loaded(source)[4] == source.load(tf.constant(4)).numpy()


def test_all_images_can_be_read():
    prepare(DcShapes)
    assert find_unreadable(open_source("tfds:dc_shapes"), progress=False) == {}


def test_the_order_is_the_same_each_time_and_the_labels_are_read_once(tmp_path):
    prepare(DcShapes)
    first = open_source("tfds:dc_shapes")
    (kept,) = (tmp_path / "cache" / "dc_keras").iterdir()
    written = kept.stat().st_mtime_ns
    second = open_source("tfds:dc_shapes")
    assert kept.stat().st_mtime_ns == written
    assert loaded(first) == loaded(second)
    np.testing.assert_array_equal(first.labels, second.labels)


def test_another_split_version_and_selection():
    prepare(DcShapes)
    source = open_source("tfds:dc_shapes:1.0.0@test")
    assert len(source) == 3
    chosen = source.select(np.array([2, 0])).select(np.array([1]))
    assert chosen.names == source.names[:1]
    assert loaded(chosen) == loaded(source)[:1]
    np.testing.assert_array_equal(chosen.labels, source.labels[:1])


def test_the_manifest_leads_back_to_the_images(tmp_path):
    prepare(DcShapes)
    source = open_source("tfds:dc_shapes")
    write_manifest(source, tmp_path / "manifest.csv")
    names = read_manifest(tmp_path / "manifest.csv").names
    positions, gone = positions_of(names[::-1], source)
    assert gone == []
    np.testing.assert_array_equal(positions, np.arange(10)[::-1])


def shards(home) -> list[pathlib.Path]:
    return sorted(home.rglob("*train*array_record*"))


@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_a_damaged_shard_is_named(home, damage):
    prepare(DcShapes, num_shards=2)
    last = shards(home)[-1]
    content = last.read_bytes()
    if damage == "missing":
        last.unlink()
    else:
        last.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    # Cut where a block ends, a shard gives as many records as before, without content.
    where = "one has no label" if damage == "cut" else last.name
    with pytest.raises(InputError, match=f"missing or damaged.*{where}.*Prepare the data"):
        open_source("tfds:dc_shapes")


def test_what_is_not_there_is_told():
    prepare(DcShapes)
    for name in ("dc_nothing", "dc_shapes@validation", "dc_shapes:2.0.0", "mnist"):
        with pytest.raises(InputError, match=f"'tfds:{name}'.*tfds build .* --file_format=array"):
            open_source(f"tfds:{name}")
    with pytest.raises(InputError, match="has train, test"):
        open_source("tfds:dc_shapes@validation")


def test_a_data_set_in_another_format_is_told():
    prepare(DcShapes, file_format="tfrecord")
    with pytest.raises(InputError, match="tfds build dc_shapes --file_format=array_record"):
        open_source("tfds:dc_shapes")


def test_a_record_must_have_one_image():
    prepare(DcPairs)
    with pytest.raises(InputError, match="not one image a record.*picture"):
        open_source("tfds:dc_pairs")


def test_without_the_library_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(InputError, match="pip install -r requirements-data.txt"):
        open_source("tfds:dc_shapes")

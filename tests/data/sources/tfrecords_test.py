"""TFRecord shards: index, order, damage, file systems."""

import os
import pathlib
import struct

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from tensorboard.summary.writer.record_writer import masked_crc32c

from data_sets import loaded, write_tfrecords
from dc_keras.data.sources import tfrecords
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError

IMAGES = [bytes([i]) * (100 * i + 1) for i in range(10)]
LABELS = [7, 1000, 7, 1, 1, 7, 1000, 1, 7, 1]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dc_keras"


def shards_in(root):
    return sorted(pathlib.Path(root).glob("train-*"))


@pytest.mark.parametrize("where", ["folder", "pattern", "file", "file://", "ram://"])
def test_images_names_and_labels(tmp_path, where):
    prefix = where if "://" in where else ""
    shards = 1 if where == "file" else 3
    root = write_tfrecords(f"{prefix}{tmp_path}/records", IMAGES, LABELS, shards=shards)
    data_dir = root + {"pattern": "/train-*-of-*", "file": "/train-00000-of-00001"}.get(where, "")
    source = open_source(data_dir)
    per_shard = [10] if shards == 1 else [4, 4, 2]
    assert source.names == tuple(
        f"train-{shard:05d}-of-{shards:05d}/{i:06d}"
        for shard, count in enumerate(per_shard)
        for i in range(count)
    )
    assert source.class_names == ("1", "7", "1000")
    assert [int(source.class_names[label]) for label in source.labels] == LABELS
    assert source.labels.dtype == np.int32
    assert loaded(source) == IMAGES
    assert [source.load(tf.constant(i)).numpy() for i in range(10)] == IMAGES


@hypothesis.given(
    images=st.lists(st.binary(max_size=300), min_size=1, max_size=12),
    shards=st.integers(1, 5),
    data=st.data(),
)
@hypothesis.settings(max_examples=20)
def test_any_images_in_any_order(tmp_path_factory, images, shards, data):
    # With more shards than images some are empty.
    root = write_tfrecords(
        str(tmp_path_factory.mktemp("records")), images, [None] * len(images), shards=shards
    )
    source = open_source(root)
    assert source.labels is None
    keep = data.draw(st.lists(st.integers(0, len(images) - 1), min_size=1, max_size=8))
    chosen = source.select(np.array(keep))
    assert chosen.names == tuple(source.names[i] for i in keep)
    assert loaded(chosen) == [images[i] for i in keep]


def test_selection_keeps_labels_and_classes(tmp_path):
    source = open_source(write_tfrecords(str(tmp_path / "r"), IMAGES, LABELS))
    chosen = source.select(np.array([9, 1])).select(np.array([1]))
    assert chosen.labels.tolist() == [2]
    assert chosen.class_names == ("1", "7", "1000")
    assert loaded(chosen) == [IMAGES[1]]


def test_the_order_does_not_depend_on_the_labels(tmp_path):
    first = open_source(write_tfrecords(str(tmp_path / "1"), IMAGES, LABELS))
    second = open_source(write_tfrecords(str(tmp_path / "2"), IMAGES, LABELS[::-1]))
    assert first.names == second.names
    assert loaded(first) == loaded(second)


def test_the_index_is_kept_until_a_shard_changes(tmp_path, cache):
    root = write_tfrecords(str(tmp_path / "r"), IMAGES, LABELS)
    open_source(root)
    (kept,) = cache.iterdir()
    # A damaged record is not noticed when the shard looks unchanged, for it is not read again ...
    shard = shards_in(root)[1]
    status, content = shard.stat(), bytearray(shard.read_bytes())
    content[30] ^= 1
    shard.write_bytes(content)
    os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns))
    source = open_source(root)
    # ... until it is loaded.
    with pytest.raises(tf.errors.DataLossError):
        loaded(source)
    # TensorFlow tells times in whole seconds.
    os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns + 2 * 10**9))
    with pytest.raises(InputError, match=shard.name):
        open_source(root)
    assert list(cache.iterdir()) == [kept]


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_a_damaged_index_is_made_anew(tmp_path, cache, content):
    root = write_tfrecords(str(tmp_path / "r"), IMAGES, LABELS)
    open_source(root)
    (kept,) = cache.iterdir()
    kept.write_bytes(content)
    assert loaded(open_source(root)) == IMAGES
    assert kept.read_bytes() != content


def test_without_a_place_for_the_index_it_is_made_each_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    root = write_tfrecords(str(tmp_path / "r"), IMAGES, LABELS)
    assert loaded(open_source(root)) == IMAGES


@pytest.mark.parametrize("where", ["length", "data", "end"])
def test_a_damaged_or_cut_shard_is_named(tmp_path, where):
    root = write_tfrecords(str(tmp_path / "r"), IMAGES, LABELS)
    shard = shards_in(root)[1]
    content = bytearray(shard.read_bytes())
    if where == "end":
        del content[-7:]
    else:
        content[0 if where == "length" else 200] ^= 255
    shard.write_bytes(content)
    with pytest.raises(InputError, match="shard cannot be read.*train-00001-of-00003"):
        open_source(root)


@pytest.mark.parametrize("length", [1000, 1 << 40, 1 << 62, (1 << 64) - 1])
def test_a_record_that_declares_more_than_there_is_does_not_end_the_process(tmp_path, length):
    """With a good checksum: TensorFlow alone crashes from 1 << 40 on."""
    root = write_tfrecords(str(tmp_path), IMAGES[:1], LABELS[:1], shards=1)
    header = struct.pack("<Q", length)
    with open(shards_in(root)[0], "ab") as file:
        file.write(header + struct.pack("<I", masked_crc32c(header)) + b"data")
    with pytest.raises(InputError, match="shard cannot be read.*first 1 records"):
        open_source(root)


def test_compressed_records_are_named(tmp_path):
    path = tmp_path / "train.tfrecord"
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        writer.write(b"record" * 100)
    with pytest.raises(InputError, match="train.tfrecord.*uncompressed"):
        open_source(str(tmp_path))


def test_records_without_images_are_named(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "train.tfrecord")) as writer:
        writer.write(tf.train.Example().SerializeToString())
    with pytest.raises(InputError, match="train.tfrecord.*image/encoded"):
        open_source(str(tmp_path))


def test_missing_shards_are_counted(tmp_path):
    root = write_tfrecords(str(tmp_path / "r"), IMAGES, LABELS, shards=5)
    for number in (1, 3):
        shards_in(root)[number - (number == 3)].unlink()
    with pytest.raises(InputError, match="3 of 5.*number 1 and 1 others"):
        open_source(root)


def test_train_and_validation_are_not_mixed(tmp_path):
    root = write_tfrecords(str(tmp_path), IMAGES, LABELS)
    write_tfrecords(root, IMAGES[:3], LABELS[:3], stem="validation")
    with pytest.raises(InputError, match="several data sets.*--data_dir=FOLDER/train"):
        open_source(root)
    assert len(open_source(f"{root}/validation-*-of-*")) == 3


def test_labels_in_some_records_alone_are_an_input_error(tmp_path):
    root = write_tfrecords(str(tmp_path), IMAGES, [*LABELS[:4], None, *LABELS[5:]])
    with pytest.raises(InputError, match="1 of 10 without.*train-00001-of-00003/000000"):
        open_source(root)


def test_no_records_are_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no records"):
        open_source(write_tfrecords(str(tmp_path), [], [], shards=2))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train-00000-of-01024", True),
        ("x.tfrecord", True),
        ("x.tfrecords", True),
        ("x-train.tfrecord-00000-of-00008", True),
        ("train-00000-of-00008.tfrecord", True),
        (".train-00000-of-00008", False),
        ("1-of-2.jpg", False),
        ("part-of-it", False),
        ("tfrecord", False),
    ],
)
def test_names_of_shards(name, expected):
    assert tfrecords.is_shard(f"/a/b/{name}") is expected


def test_other_keys_are_named(tmp_path):
    features = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[IMAGES[0]])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[3])),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    with tf.io.TFRecordWriter(str(tmp_path / "x.tfrecord")) as writer:
        writer.write(example.SerializeToString())
    with pytest.raises(
        InputError, match=r"with image \(bytes\), label \(int64\). Expected: `image/en"
    ):
        open_source(str(tmp_path))

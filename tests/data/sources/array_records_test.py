"""Packed folders: what they hold, and what damage is told."""

import hashlib
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from data_sets import loaded, write_packed
from dc_keras.data.sources import array_records
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError

pytest.importorskip("array_record")


FILES = {
    f"{name}/{i}.jpg": bytes([i]) * (200_000 if i == 3 else 10 * i + 1)
    for i, name in enumerate(["b", "a", "b", "c d", "a", "b", "é"])
}


@pytest.fixture
def packed(tmp_path):
    return pathlib.Path(write_packed(tmp_path / "packed", FILES, shard_images=3))


def test_a_packed_folder_is_the_folder(packed):
    folder, source = open_source(f"{packed}-files"), open_source(str(packed))
    assert isinstance(source, array_records.ArrayRecordSource)
    assert source.names == folder.names
    assert source.class_names == folder.class_names
    assert source.labels.tolist() == folder.labels.tolist()
    assert source.labels.dtype == np.int32
    assert loaded(source) == loaded(folder) == [FILES[name] for name in source.names]
    assert source.load(tf.constant(4)).numpy() == FILES[source.names[4]]


def test_three_images_a_shard(packed):
    shards = array_records.read_shards(packed)
    assert [shard.images for shard in shards] == [3, 3, 1]
    assert shards[1].file == "images-00001-of-00003.array_record"
    assert {path.name for path in packed.iterdir()} == {
        "packed.json", "manifest.csv", "manifest.json", "sha256.txt",
        *(shard.file for shard in shards),
    }  # fmt: skip


def test_selection(packed):
    source = open_source(str(packed))
    chosen = source.select(np.array([6, 0, 3])).select(np.array([2, 0]))
    assert chosen.names == (source.names[3], source.names[6])
    assert chosen.labels.tolist() == source.labels[[3, 6]].tolist()
    assert loaded(chosen) == [FILES[name] for name in chosen.names]


def test_without_classes_there_are_no_labels(tmp_path):
    source = open_source(write_packed(tmp_path / "p", {"1.png": b"1", "x/2.png": b"2"}))
    assert source.labels is None
    assert source.class_names is None
    assert source.names == ("1.png", "x/2.png")


def test_checksums_are_those_of_the_files(packed):
    source = open_source(str(packed))
    lines = (packed / "sha256.txt").read_text().split()
    assert lines == [hashlib.sha256(FILES[name]).hexdigest() for name in source.names]
    assert array_records.verify_packed(packed, source) == []


@pytest.fixture
def damaged(packed):
    """A packed folder with one changed byte, in the image "c d/3.jpg" of its second shard."""
    shard = packed / array_records.read_shards(packed)[1].file
    content = bytearray(shard.read_bytes())
    at = content.index(FILES["c d/3.jpg"][:20_000])
    content[at + 5000] ^= 1
    shard.write_bytes(content)
    return open_source(str(packed))


def test_the_image_of_a_changed_byte_is_named(packed, damaged):
    assert array_records.verify_packed(packed, damaged) == ["c d/3.jpg"]


def test_the_image_of_a_changed_byte_is_not_read(damaged):
    index = damaged.names.index("c d/3.jpg")
    assert 3 <= index < 6
    with pytest.raises(tf.errors.DataLossError):
        damaged.load(tf.constant(index))
    with pytest.raises(tf.errors.OpError, match="damaged shard"):
        loaded(damaged)


def test_an_exchanged_image_is_found_by_its_checksum(packed):
    path = packed / "sha256.txt"
    lines = path.read_text().splitlines()
    lines[2], lines[5] = lines[5], lines[2]
    path.write_text("\n".join(lines))
    source = open_source(str(packed))
    assert array_records.verify_packed(packed, source) == [source.names[2], source.names[5]]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "images-00001-of-00003.*is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "images-00001-of-00003.*bytes"),
        (
            lambda path: path.write_bytes(bytes(path.stat().st_size)),
            "damaged.*images-00001-of-00003",
        ),
    ],
)
def test_a_missing_or_cut_shard_is_named(packed, damage, message):
    damage(packed / "images-00001-of-00003.array_record")
    with pytest.raises(InputError, match=message):
        open_source(str(packed))


def test_a_shard_of_another_packing_is_named(packed):
    listed = json.loads((packed / "packed.json").read_text())
    listed["shards"][1]["images"] = 4
    (packed / "packed.json").write_text(json.dumps(listed))
    with pytest.raises(InputError, match="00001-of-00003.*has 3 images; packed were 4"):
        open_source(str(packed))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"shards": []}',
        '{"shards": [{"file": "x"}]}',
        '{"shards": [{"file": "x", "images": "1", "bytes": "1"}]}',
        '{"shards": [{"file": 1, "images": 1, "bytes": 1}]}',
    ],
)
def test_a_damaged_list_of_shards_is_an_input_error(packed, content):
    (packed / "packed.json").write_text(content)
    with pytest.raises(InputError, match=r"damaged.*packed\.json"):
        open_source(str(packed))


@pytest.mark.parametrize("absolute", [True, False])
def test_a_packed_folder_does_not_lead_out_of_itself(packed, absolute):
    """To a shard that is whole, of the right size, and elsewhere."""
    listed = json.loads((packed / "packed.json").read_text())
    shard = listed["shards"][1]
    elsewhere = packed.parent / "elsewhere.array_record"
    (packed / shard["file"]).rename(elsewhere)
    shard["file"] = str(elsewhere) if absolute else "../elsewhere.array_record"
    (packed / "packed.json").write_text(json.dumps(listed))
    with pytest.raises(InputError, match="is no name of a file in this folder"):
        open_source(str(packed))


def test_a_manifest_that_does_not_fit_is_an_input_error(packed):
    text = (packed / "manifest.csv").read_text()
    (packed / "manifest.csv").write_text("\n".join(text.splitlines()[:-1]) + "\n")
    with pytest.raises(InputError, match=r"manifest\.csv.*6 of 7 images"):
        open_source(str(packed))
    (packed / "manifest.csv").unlink()
    with pytest.raises(InputError, match="manifest cannot be read"):
        open_source(str(packed))


def test_a_packed_folder_on_a_remote_file_system_is_refused(tmp_path):
    root = f"ram://{tmp_path}/packed"
    tf.io.gfile.makedirs(root)
    with tf.io.gfile.GFile(f"{root}/packed.json", "w") as file:
        file.write("{}")
    with pytest.raises(InputError, match="local or mounted disk"):
        open_source(root)

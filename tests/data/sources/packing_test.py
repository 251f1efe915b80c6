"""What packing keeps and what it changes."""

import numpy as np
import pytest
import tensorflow as tf

from data_sets import load_eagerly, write_photograph
from dc_keras.data.pixels.center_crop import preprocess_for_clustering
from dc_keras.data.pixels.decoding import decode
from dc_keras.data.sources import array_records
from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.open import open_source
from dc_keras.data.sources.packing import pack
from dc_keras.errors import InputError

pytest.importorskip("array_record")


def test_arrays_keep_their_pixels(tmp_path, rng):
    images = rng.integers(0, 256, (5, 6, 7, 3), np.uint8)
    source = ArraySource(images, list("abcde"), np.array([0, 1, 0, 1, 1], np.int32), ("x", "y"))
    pack(source, str(tmp_path / "packed"), shard_images=2, progress=False)
    packed = open_source(str(tmp_path / "packed"))
    assert packed.names == tuple("abcde")
    assert packed.labels.tolist() == [0, 1, 0, 1, 1]
    np.testing.assert_array_equal([decode(image) for image in load_eagerly(packed)], images)


def test_larger_images_are_reduced_and_others_keep_their_bytes(tmp_path):
    write_photograph(tmp_path / "files" / "large.jpg", 300, 400)
    write_photograph(tmp_path / "files" / "small.jpg", 64, 300)
    source = open_source(str(tmp_path / "files"))
    pack(source, str(tmp_path / "packed"), short_side=64, progress=False)
    packed = open_source(str(tmp_path / "packed"))
    before, after = load_eagerly(source), load_eagerly(packed)
    assert after[1].numpy() == before[1].numpy()
    # 400 * 64 / 300 = 85.3
    assert decode(after[0]).shape == (64, 85, 3)
    # What the clustering sees of it, resized twice and compressed once more, is nearly the same.
    difference = np.abs(
        preprocess_for_clustering(after[0], 56).numpy().astype(int)
        - preprocess_for_clustering(before[0], 56).numpy()
    )
    assert np.median(difference) <= 3
    assert array_records.verify_packed(tmp_path / "packed", packed) == []


def test_what_is_there_is_not_replaced(tmp_path):
    source = ArraySource(np.zeros((1, 2, 2, 3), np.uint8), ["a"])
    (tmp_path / "packed").mkdir()
    with pytest.raises(InputError, match="there already"):
        pack(source, str(tmp_path / "packed"), progress=False)


def test_nothing_is_left_of_a_packing_that_fails(tmp_path):
    write_photograph(tmp_path / "files" / "1.jpg", 20, 20)
    source = open_source(str(tmp_path / "files"))
    (tmp_path / "files" / "1.jpg").unlink()
    with pytest.raises(tf.errors.NotFoundError):
        pack(source, str(tmp_path / "packed"), progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["files"]

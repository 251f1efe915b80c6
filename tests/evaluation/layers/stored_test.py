import shutil

import keras
import numpy as np
import pytest

from dc_keras.data.sources.arrays import ArraySource
from dc_keras.errors import InputError
from dc_keras.evaluation.layers.pooled import pooled_layers
from dc_keras.evaluation.layers.stored import stored_features
from dc_keras.models.architectures import build_network
from dc_keras.models.options import NetworkOptions


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return build_network(NetworkOptions(image_size=32, width=1 / 32), 4)


def source(images):
    return ArraySource(images, [str(number) for number in range(len(images))])


def test_rows_are_images_in_order(tmp_path, rng, network):
    images = rng.integers(0, 256, (11, 32, 32, 3), np.uint8)
    sources = {"train": source(images[:7]), "test": source(images[7:])}
    # In one batch, where the files are made of several.
    whole = pooled_layers(network)(images, training=False)
    with stored_features(network, sources, batch_size=3, folder=tmp_path) as stored:
        assert len(stored.layers) == len(whole) == 15
        for layer, features in zip(stored.layers, whole, strict=True):
            train, test = stored.load("train", layer), stored.load("test", layer)
            assert isinstance(train, np.memmap) and train.dtype == np.float32
            np.testing.assert_allclose(
                np.concatenate([train, test]), features, atol=1e-5, rtol=1e-4
            )
    assert not list(tmp_path.iterdir())


def test_the_folder_goes_by_an_error_too(tmp_path, network):
    sources = {"train": source(np.zeros((2, 32, 32, 3), np.uint8))}
    with (
        pytest.raises(KeyboardInterrupt),
        stored_features(network, sources, ["fc7"], batch_size=2, folder=tmp_path) as stored,
    ):
        assert list(tmp_path.iterdir()) == [stored.folder]
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_disk_without_room_is_refused_before_anything_is_computed(tmp_path, network, monkeypatch):
    # 5 images of 128 values of 4 bytes, beside what stays free, less one byte.
    free = 5 * 128 * 4 + 64 * 2**20 - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(0, 0, free))
    sources = {"train": source(np.zeros((5, 32, 32, 3), np.uint8))}
    with (
        pytest.raises(
            InputError, match="5 images of 128 values.*smaller --max_images, or make room"
        ),
        stored_features(network, sources, ["fc7"], batch_size=2, folder=tmp_path),
    ):
        pass
    assert not list(tmp_path.iterdir())

"""Responses of filters to images, and the images that raise them most."""

import keras
import numpy as np
import pytest

from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.folder import FolderSource
from dc_keras.exploring.look.open_network import OpenNetwork
from dc_keras.exploring.look.responses import live_filters, respond, top_images

IMAGES = np.random.default_rng(3).integers(0, 256, (7, 6, 6, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def network():
    pixels = keras.Input((6, 6, 3))
    maps = keras.layers.Conv2D(4, 2)(pixels)
    model = keras.Model(pixels, [maps, keras.layers.Flatten()(maps)])
    return OpenNetwork(model, np.full(3, 1 / 255, np.float32), np.float32([0, -0.5, -1]))


def test_strongest_values_and_their_places(network):
    rows = np.array([6, 0, 3, 2, 1])
    found = respond(network, ArraySource(IMAGES, [str(i) for i in range(7)]), rows, batch_size=2)
    np.testing.assert_array_equal(found.rows, rows)
    scaled = IMAGES[rows] / 255 + np.array([0, -0.5, -1])
    maps, features = (np.asarray(one) for one in network.model(scaled.astype(np.float32)))
    for image in range(5):
        for filter_ in range(4):
            one = maps[image, :, :, filter_]
            assert found.strongest[image, filter_] == pytest.approx(one.max(), abs=1e-5)
            assert found.places[image, filter_] == one.ravel().argmax()
    np.testing.assert_allclose(found.features, features, atol=1e-5)


def test_images_that_cannot_be_read_are_left_out(network, tmp_path):
    for index, image in enumerate(IMAGES[:3]):
        keras.utils.save_img(tmp_path / f"{index}.png", image, scale=False)
    (tmp_path / "1.png").write_text("no picture")
    source = FolderSource(str(tmp_path), [f"{i}.png" for i in range(3)])
    assert respond(network, source, np.arange(3), batch_size=8).rows.tolist() == [0, 2]
    assert len(respond(network, source, np.array([1]), batch_size=8).rows) == 0


def test_top_images_equal_those_of_a_search_one_by_one(rng):
    strongest = rng.integers(0, 9, (40, 5)).astype(np.float32)  # with many that are equal
    for filter_, found in enumerate(top_images(strongest, 9)):
        left, expected = list(range(40)), []
        for _ in range(9):
            best = left[0]
            for image in left:
                if strongest[image, filter_] > strongest[best, filter_]:
                    best = image
            expected.append(best)
            left.remove(best)
        assert found.tolist() == expected
    assert top_images(strongest[:3], 9).shape == (5, 3)


def test_filters_that_respond_to_nothing_are_not_shown():
    shown, dead = live_filters(np.zeros((5, 3)), 2)
    assert shown.tolist() == [] and dead == 3
    strongest = np.ones((2, 10))
    strongest[:, 0] = 0
    assert live_filters(strongest, 3)[0].tolist() == [1, 5, 9]
    assert live_filters(strongest, 99)[0].tolist() == list(range(1, 10))

"""Centre crops of given images in given order."""

import numpy as np
import pytest
import tensorflow as tf

from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.data.pixels.center_crop import preprocess_for_clustering
from dc_keras.data.sources.arrays import ArraySource


@pytest.fixture
def source(rng):
    images = rng.integers(0, 256, (40, 20, 30, 3), dtype="uint8")
    return ArraySource(images, [str(i) for i in range(40)])


def test_centre_crops_of_the_given_images_in_their_order(source, rng):
    indices = rng.integers(0, 40, 25)
    batches = list(ordered_batches(source, indices, image_size=16, batch_size=10))
    assert [batch.shape for batch in batches] == [(10, 16, 16, 3), (10, 16, 16, 3), (5, 16, 16, 3)]
    assert {batch.dtype for batch in batches} == {tf.uint8}
    for index, crop in zip(indices, np.concatenate(batches), strict=True):
        expected = preprocess_for_clustering(tf.constant(source.images[index]), 16)
        np.testing.assert_array_equal(crop, expected)


def test_no_images_make_no_batches(source):
    batches = ordered_batches(source, np.zeros(0, np.int32), image_size=16, batch_size=10)
    assert list(batches) == []

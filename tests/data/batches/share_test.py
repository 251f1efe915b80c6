"""Shares of batches are, together, the batches."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from dc_keras.data.batches.augmented import augmented_batches
from dc_keras.data.batches.share import WHOLE, Share
from dc_keras.data.pixels.augmentation import Augmentation
from dc_keras.data.sources.arrays import ArraySource


@given(parts=st.integers(1, 8), size=st.integers(1, 8))
def test_parts_of_one_each_are_all_rows_in_order(parts, size):
    rows = [Share(first, 1, parts).rows(parts * size) for first in range(parts)]
    assert [row for start, end in rows for row in range(start, end)] == list(range(parts * size))
    assert WHOLE.rows(parts * size) == (0, parts * size)


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("first_batch", [0, 2])
@pytest.mark.parametrize(
    "shares",
    [
        [Share(0, 1, 2), Share(1, 1, 2)],
        [Share(0, 1, 4), Share(1, 2, 4), Share(3, 1, 4)],
    ],
    ids=["two workers", "three workers with one, two and one replicas"],
)
def test_crops_colours_and_labels_are_those_of_whole_batches(rng, shares, first_batch, views):
    images = rng.integers(0, 256, (40, 16, 16, 3), dtype="uint8")
    source = ArraySource(images, [str(i) for i in range(40)])
    order = (np.arange(40) * 7 % 40).astype(np.int32)
    augmentation = Augmentation(image_size=32, color_jitter=1.0, grayscale=0.2, views=views)

    def batches(share):
        made = augmented_batches(
            source,
            tf.data.Dataset.from_tensor_slices((order, order % 4)),
            tf.constant(31),
            augmentation,
            batch_size=8 * views,
            first_batch=first_batch,
            share=share,
        )
        return list(made.as_numpy_iterator())

    whole = batches(WHOLE)
    assert len(whole) == 5 - first_batch
    parts = [batches(share) for share in shares]
    for step, (crops, labels) in enumerate(whole):
        # Each worker has a batch for each of its replicas, in turn.
        found = [
            part[step * share.count + replica]
            for part, share in zip(parts, shares, strict=True)
            for replica in range(share.count)
        ]
        np.testing.assert_array_equal(np.concatenate([one for one, _ in found]), crops)
        np.testing.assert_array_equal(np.concatenate([one for _, one in found]), labels)


def test_only_images_of_the_share_are_read():
    read = []

    class Noting(ArraySource):
        def load(self, index):
            noted = tf.py_function(lambda i: read.append(int(i)) or i, [index], tf.int32)
            return super().load(tf.ensure_shape(noted, ()))

    source = Noting(np.zeros((8, 4, 4, 3), "uint8"), list("abcdefgh"))
    pairs = tf.data.Dataset.from_tensor_slices(
        (np.arange(8, dtype=np.int32), np.zeros(8, np.int32))
    )
    made = augmented_batches(
        source,
        pairs,
        tf.constant(1),
        Augmentation(image_size=4),
        batch_size=4,
        share=Share(1, 1, 2),
    )
    assert [labels.shape for _, labels in made.as_numpy_iterator()] == [(2,), (2,)]
    assert sorted(read) == [2, 3, 6, 7]

"""Augmented batches of given images: what stands in them, and by which draws."""

import numpy as np
import pytest
import tensorflow as tf

from data_sets import flat_pictures
from dc_keras.data.batches.augmented import augmented_batches
from dc_keras.data.pixels.augmentation import Augmentation
from dc_keras.data.sources.arrays import ArraySource

# 24 of 40 images, in no order.
ORDER = np.arange(24, dtype=np.int32) * 7 % 40
PLAIN = Augmentation(image_size=32)
COLOURS = Augmentation(image_size=32, color_jitter=1.0, grayscale=0.2)
COLOURS_TWICE = Augmentation(image_size=32, color_jitter=1.0, grayscale=0.2, views=2)


@pytest.fixture
def source(rng):
    images = rng.integers(0, 256, (40, 16, 16, 3), dtype="uint8")
    return ArraySource(images, [str(i) for i in range(40)])


def pairs(*more):
    """Each image with a target, and perhaps others."""
    return tf.data.Dataset.from_tensor_slices((ORDER, ORDER % 4, *more))


def batches(source, augmentation=PLAIN, seed=31, **changes):
    arguments = {"batch_size": 8, **changes}
    made = augmented_batches(source, pairs(), tf.constant(seed), augmentation, **arguments)
    return list(made.as_numpy_iterator())


def test_images_come_in_order_with_what_stands_behind_them():
    weights = np.linspace(0, 1, 24, dtype=np.float32)
    found = list(
        augmented_batches(
            flat_pictures(40), pairs(weights), tf.constant(31), PLAIN, batch_size=8
        ).as_numpy_iterator()
    )
    assert [images.shape for images, *_ in found] == 3 * [(8, 32, 32, 3)]
    assert {images.dtype for images, *_ in found} == {np.dtype(np.uint8)}
    images, *targets = (np.concatenate(parts) for parts in zip(*found, strict=True))
    np.testing.assert_array_equal(images[:, 16, 16, 0], ORDER)
    np.testing.assert_array_equal(targets, [ORDER % 4, weights])


def test_views_stand_one_behind_the_other(source):
    twice = batches(source, COLOURS_TWICE)
    drawn = batches(source, COLOURS, batch_size=4)
    assert len(twice) == len(drawn) == 6
    for (crops, labels), (_, once) in zip(twice, drawn, strict=True):
        assert crops.shape == (8, 32, 32, 3)
        np.testing.assert_array_equal(labels, np.repeat(once, 2))
        assert not np.array_equal(crops[0], crops[1])


def test_views_are_of_the_same_image():
    images = np.concatenate([b[0] for b in batches(flat_pictures(40), Augmentation(32, views=2))])
    np.testing.assert_array_equal(images[:, 16, 16, 0], np.repeat(ORDER, 2))


@pytest.mark.parametrize(("drop", "sizes"), [(True, [10, 10]), (False, [10, 10, 4])])
def test_a_last_batch_that_is_not_full(source, drop, sizes):
    found = batches(source, batch_size=10, drop_remainder=drop)
    assert [len(images) for images, _ in found] == sizes


@pytest.mark.parametrize("augmentation", [COLOURS, COLOURS_TWICE], ids=["one view", "two views"])
def test_from_a_later_batch_on_they_are_the_same(source, augmentation):
    whole = batches(source, augmentation)
    rest = batches(source, augmentation, first_batch=2)
    assert len(rest) == len(whole) - 2
    for (images, labels), (expected, wanted) in zip(rest, whole[2:], strict=True):
        np.testing.assert_array_equal(images, expected)
        np.testing.assert_array_equal(labels, wanted)


def test_the_seed_decides(source):
    first, again, other = (
        np.stack([images for images, _ in batches(source, COLOURS, seed=seed)])
        for seed in (31, 31, 32)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any((2, 3, 4)).all()


def test_a_seed_in_a_variable_is_read_when_an_iterator_is_made(source):
    with tf.device("CPU:0"):
        seed = tf.Variable(31, trainable=False)
    dataset = augmented_batches(source, pairs(), seed, PLAIN, batch_size=8)
    for value in (31, 32):
        seed.assign(value)
        for (images, _), (expected, _) in zip(dataset, batches(source, seed=value), strict=True):
            np.testing.assert_array_equal(images, expected)

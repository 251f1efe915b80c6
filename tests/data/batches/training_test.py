"""The batches of an epoch: images of their labels, repeated by epoch and taken up in the middle."""

import numpy as np
import pytest
import tensorflow as tf

from data_sets import flat_pictures
from dc_keras.config.training import SAMPLERS
from dc_keras.data.batches.samplers import make_sampler
from dc_keras.data.batches.training import TrainingBatches
from dc_keras.data.batches.uniform import UniformClusterSampler
from dc_keras.data.pixels.augmentation import Augmentation
from dc_keras.data.sources.arrays import ArraySource
from draws import begin

PLAIN = Augmentation(image_size=32)


def batches_of(sampler, **changes):
    parts = {"source": flat_pictures(40), "augmentation": PLAIN, "steps": 6, "batch_size": 16}
    return TrainingBatches(sampler=sampler, **{**parts, **changes})


def test_batches_hold_the_images_of_their_labels(rng):
    labels = rng.integers(0, 4, 40).astype("int32")
    sampler = UniformClusterSampler(40)
    sampler.set_labels(labels)
    dataset = batches_of(sampler).dataset()
    assert int(dataset.cardinality()) == 6
    for images, drawn in dataset.as_numpy_iterator():
        assert images.shape == (16, 32, 32, 3) and images.dtype == np.uint8
        np.testing.assert_array_equal(labels[images[:, 16, 16, 0]], drawn)


def test_batches_carry_the_weights_of_their_images(rng):
    labels = rng.integers(0, 4, 40).astype("int32")
    sampler = make_sampler("reweight", 40, 96)
    sampler.set_labels(labels)
    sampler.begin_epoch(0, 0)
    expected = 40 / (4 * np.bincount(labels)[labels])
    for images, drawn, weights in batches_of(sampler).dataset().as_numpy_iterator():
        np.testing.assert_array_equal(labels[images[:, 16, 16, 0]], drawn)
        np.testing.assert_allclose(weights, expected[images[:, 16, 16, 0]], rtol=1e-6)


@pytest.mark.parametrize(("views", "draws"), [(1, 96), (2, 48)])
def test_an_image_is_drawn_once_for_all_its_views(views, draws):
    batches = batches_of(UniformClusterSampler(40), augmentation=Augmentation(32, views=views))
    assert batches.draws == draws
    assert [len(images) for images, _ in batches.dataset()] == 6 * [16]


def test_batches_repeat_by_epoch():
    sampler = UniformClusterSampler(40)
    sampler.begin_epoch(1, 2)
    dataset = batches_of(sampler).dataset()
    first, again = ([images for images, _ in dataset.as_numpy_iterator()] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    sampler.begin_epoch(1, 3)
    assert not np.array_equal(again, [images for images, _ in dataset.as_numpy_iterator()])


def test_colours_change_by_epoch_and_batch():
    images = np.full((6, 32, 32, 3), (200, 100, 50), np.uint8)
    sampler = UniformClusterSampler(6)
    dataset = batches_of(
        sampler,
        source=ArraySource(images, list("abcdef")),
        augmentation=Augmentation(image_size=32, color_jitter=1.0, grayscale=0.2),
        steps=3,
        batch_size=4,
    ).dataset()

    def colours(epoch):
        sampler.begin_epoch(31, epoch)
        return np.stack([batch[0][:, 0, 0] for batch in dataset.as_numpy_iterator()])

    first = colours(0)
    assert len(np.unique(first.reshape(-1, 3), axis=0)) > 6  # of 12 images, a fifth unchanged
    assert (first[0] != first[1]).any() and (first != colours(1)).any()
    np.testing.assert_array_equal(first, colours(0))


def test_an_epoch_taken_up_in_its_middle_reads_what_is_left_alone(rng):
    """The same batches as the end of the whole epoch, colours included, and no image beside."""
    read = []

    class Spy(ArraySource):
        def load(self, index):
            index = tf.numpy_function(lambda i: read.append(int(i)) or i, [index], index.dtype)
            return super().load(tf.ensure_shape(index, ()))

    pictures = flat_pictures(40)
    sampler = UniformClusterSampler(40)
    sampler.set_labels(rng.integers(0, 4, 40))
    sampler.begin_epoch(31, 5)
    batches = batches_of(
        sampler,
        source=Spy(pictures.images, pictures.names),
        augmentation=Augmentation(image_size=32, color_jitter=1.0),
    )
    whole = list(batches.dataset().as_numpy_iterator())
    assert len(whole) == 6
    read.clear()
    rest = batches.dataset(4)
    assert len(rest) == 2
    for (images, labels), (expected, wanted) in zip(rest, whole[4:], strict=True):
        np.testing.assert_array_equal(images, expected)
        np.testing.assert_array_equal(labels, wanted)
    assert len(read) == 2 * 16


def test_a_new_iterator_sees_new_labels_alone():
    """Prefetched elements of one epoch never carry labels into the next."""
    sampler = UniformClusterSampler(40)
    dataset = batches_of(sampler).dataset()
    for epoch in range(5):
        sampler.set_labels(np.full(40, epoch, "int32"))
        sampler.begin_epoch(0, epoch)
        for _, labels in dataset:
            assert (labels.numpy() == epoch).all()


def images_of(batches, first_step):
    """Indices of the images that the rest of an epoch reads, in order."""
    views = batches.augmentation.views
    rest = batches.dataset(first_step).as_numpy_iterator()
    return np.concatenate([images[::views, 4, 4, 0] for images, *_ in rest])


@pytest.mark.parametrize(
    ("name", "views", "first_step"),
    [*((name, 1, 2) for name in SAMPLERS), ("uniform", 1, 0), ("natural", 2, 0), ("uniform", 2, 5)],
)
def test_upcoming_images_are_those_that_are_read_next(name, views, first_step, rng):
    sampler = begin(name, rng.integers(0, 4, 40), 96 // views, seed=31, epoch=5)
    batches = batches_of(sampler, augmentation=Augmentation(image_size=8, views=views))
    expected = images_of(batches, first_step)
    assert len(expected) == (6 - first_step) * 16 // views
    for count in (1000, 5):
        np.testing.assert_array_equal(batches.upcoming(first_step, count), expected[:count])


def test_upcoming_images_are_those_of_the_epoch_that_goes_on(rng):
    sampler = begin("uniform", rng.integers(0, 4, 40), 96, seed=31, epoch=5)
    batches = batches_of(sampler, augmentation=Augmentation(image_size=8))
    before = batches.upcoming(1, 1000)
    sampler.begin_epoch(31, 6)
    np.testing.assert_array_equal(batches.upcoming(1, 1000), images_of(batches, 1))
    assert not np.array_equal(batches.upcoming(1, 1000), before)


def test_nothing_is_upcoming_at_the_end_of_an_epoch():
    upcoming = batches_of(UniformClusterSampler(40)).upcoming(6, 1000)
    assert upcoming.shape == (0,) and upcoming.dtype == np.int64

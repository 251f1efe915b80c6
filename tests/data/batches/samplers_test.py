"""What all samplers share: known lengths, labels of their images, and draws by seed and epoch."""

import numpy as np
import pytest

from dc_keras.config.training import SAMPLERS
from dc_keras.data.batches.samplers import make_sampler
from draws import begin, draw, pairs_of

# More than one chunk of any sampler.
LENGTH = 10_000

pytestmark = pytest.mark.parametrize("name", SAMPLERS)


@pytest.fixture
def labels(rng):
    return rng.integers(0, 7, 500)


def test_the_length_is_known_and_right(name, labels):
    sampler = begin(name, labels, LENGTH)
    assert int(sampler.pairs(LENGTH).cardinality()) == LENGTH
    assert len(pairs_of(sampler, LENGTH)[0]) == LENGTH


def test_labels_are_those_of_the_images(name, labels):
    images, drawn, *_ = draw(name, labels, LENGTH)
    np.testing.assert_array_equal(drawn, labels[images])


def test_an_epoch_draws_the_same_after_others_and_without_them(name, labels):
    sampler = begin(name, labels, LENGTH, seed=3, epoch=4)
    first = pairs_of(sampler, LENGTH)
    sampler.begin_epoch(3, 5)
    pairs_of(sampler, LENGTH)
    sampler.begin_epoch(3, 4)
    np.testing.assert_array_equal(first, pairs_of(sampler, LENGTH))
    np.testing.assert_array_equal(first, draw(name, labels, LENGTH, seed=3, epoch=4))


def test_fewer_pairs_are_the_beginning_of_the_epoch(name, labels):
    sampler = begin(name, labels, LENGTH)
    np.testing.assert_array_equal(pairs_of(sampler, LENGTH)[0][:100], pairs_of(sampler, 100)[0])


@pytest.mark.parametrize(("seed", "epoch"), [(3, 5), (4, 4)])
def test_other_epochs_and_seeds_draw_other_images(name, labels, seed, epoch):
    first, other = draw(name, labels, LENGTH, 3, 4), draw(name, labels, LENGTH, seed, epoch)
    assert not np.array_equal(first[0], other[0])


def test_a_new_iterator_sees_new_labels_alone(name):
    sampler = make_sampler(name, 40, 100)
    dataset = sampler.pairs(100).prefetch(2)
    for epoch in range(3):
        sampler.set_labels(np.full(40, epoch, "int32"))
        sampler.begin_epoch(0, epoch)
        assert all((pair[1].numpy() == epoch) for pair in dataset)

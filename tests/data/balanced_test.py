"""Uniform sampling over clusters: its law, its seeds, and labels that change between epochs."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from dc_keras.data.balanced import (
    SqrtClusterSampler,
    UniformClusterSampler,
    make_sampler,
    sqrt_over_clusters,
    training_batches,
    uniform_over_clusters,
)
from dc_keras.data.sources import ArraySource


def draw(labels, num_pairs, seed=0, epoch=0):
    """Pairs of one epoch as two arrays."""
    sampler = UniformClusterSampler(len(labels))
    sampler.set_labels(np.asarray(labels, "int32"))
    sampler.begin_epoch(seed, epoch)
    batches = list(sampler.pairs(num_pairs).batch(4096).as_numpy_iterator())
    return np.concatenate(batches, axis=1)


def chi_square_per_degree(counts, expected):
    """About 1 when counts follow the expected law; above 1.5 is impossible for many cells."""
    return ((counts - expected) ** 2 / expected).sum() / (len(counts) - 1)


def test_proposal_by_hand():
    # Sizes 1, 2 and 5: levels 0, 1 and 2, kept with 1/1, 2/2 and 4/5.
    proposal = uniform_over_clusters(np.array([0, 1, 1, 2, 2, 2, 2, 2]))
    np.testing.assert_allclose(proposal.keep, [1, 1, 1, 0.8, 0.8, 0.8, 0.8, 0.8])
    assert proposal.level_size[:3].tolist() == [1, 2, 5]
    # Weights 1/1, 2/2 and 5/4 of the levels, over 3.25.
    np.testing.assert_allclose(proposal.level_cdf[:3], [1 / 3.25, 2 / 3.25, 1])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=300))
@pytest.mark.parametrize(
    ("propose", "power"), [(uniform_over_clusters, 0.0), (sqrt_over_clusters, 0.5)]
)
def test_the_proposal_has_exactly_its_law(propose, power, labels):
    """Probability to be proposed and kept, worked out for every image, not sampled.

    A cluster of size s has the probability s^power in all, shared by its images.
    """
    labels = np.array(labels)
    proposal = propose(labels)
    assert (proposal.keep > 0.5).all() and (proposal.keep <= 1).all()
    assert sorted(proposal.order) == list(range(len(labels)))
    probability = np.zeros(len(labels))
    level_probability = np.diff(proposal.level_cdf, prepend=0)
    for level in range(32):
        start, size = proposal.level_start[level], proposal.level_size[level]
        images = proposal.order[start : start + size]
        probability[images] = level_probability[level] / max(size, 1) * proposal.keep[images]
    probability /= probability.sum()
    sizes = np.bincount(labels)
    want = sizes[labels] ** (power - 1) / (sizes[sizes > 0] ** power).sum()
    np.testing.assert_allclose(probability, want, rtol=1e-5)


def test_clusters_come_out_uniformly_and_images_within_them_too(rng):
    sizes = np.array([1, 2, 3, 10, 100, 884])
    labels = rng.permutation(np.repeat(np.arange(6), sizes))
    indices, drawn = draw(labels, 60_000)
    np.testing.assert_array_equal(drawn, labels[indices])
    counts = np.bincount(drawn, minlength=6)
    # Independent draws: binomial with p = 1/6, five standard deviations.
    assert np.abs(counts - 10_000).max() < 5 * (60_000 / 6 * 5 / 6) ** 0.5
    largest = np.bincount(indices, minlength=1000)[labels == 5]
    assert chi_square_per_degree(largest, counts[5] / 884) == pytest.approx(1, abs=0.25)


def test_sqrt_draws_clusters_by_the_root_of_their_size(rng):
    sizes = np.array([1, 4, 25, 100, 870])
    labels = rng.permutation(np.repeat(np.arange(5), sizes))
    sampler = SqrtClusterSampler(1000)
    sampler.set_labels(labels)
    indices, drawn = next(sampler.pairs(20_000).batch(20_000).as_numpy_iterator())
    expected = 20_000 * np.sqrt(sizes) / np.sqrt(sizes).sum()
    counts = np.bincount(drawn, minlength=5)
    # Independent draws: five standard deviations of a binomial are below those of a Poisson law.
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()
    largest = np.bincount(indices, minlength=1000)[labels == 4]
    assert chi_square_per_degree(largest, counts[4] / 870) == pytest.approx(1, abs=0.25)


def test_the_default_draws_are_what_they_always_were():
    """Runs that go on with a newer version see the images that they would have seen."""
    labels = np.repeat(np.arange(7), [1, 2, 4, 8, 64, 1024, 4096])
    indices, drawn = draw(labels, 8, seed=3, epoch=4)
    assert indices.tolist() == [5042, 47, 11, 4, 0, 2, 8, 570]
    assert drawn.tolist() == [6, 4, 3, 2, 0, 1, 3, 5]


def test_empty_clusters_are_left_out(rng):
    labels = rng.permutation(np.repeat([0, 3, 7], [5, 50, 500]))
    counts = np.bincount(draw(labels, 9000)[1], minlength=10)
    assert counts[[1, 2, 4, 5, 6, 8, 9]].sum() == 0
    assert np.abs(counts[[0, 3, 7]] - 3000).max() < 5 * (9000 * 2 / 9) ** 0.5


def test_same_law_as_the_built_in_resampling(rng):
    """tf.data's rejection_resample, given the true distribution, and ours against one histogram."""
    labels = rng.permutation(np.repeat(np.arange(5), [20, 40, 80, 160, 700]))
    initial = np.bincount(labels) / len(labels)
    pairs = tf.data.Dataset.from_tensor_slices((np.arange(1000), labels.astype("int32")))
    built_in = (
        pairs.shuffle(1000, seed=1)
        .repeat()
        .rejection_resample(lambda i, y: y, target_dist=[0.2] * 5, initial_dist=initial, seed=2)
        .map(lambda _, pair: pair)
        .take(4000)
        .batch(4000)
    )
    theirs = np.array(next(built_in.as_numpy_iterator()))
    ours = draw(labels, 4000)
    bound = 5 * (4000 * 0.2 * 0.8) ** 0.5
    for _, drawn in (theirs, ours):
        assert np.abs(np.bincount(drawn, minlength=5) - 800).max() < bound
    # Within a cluster both are uniform over images: the 20 of cluster 0, 40 draws each.
    for indices, drawn in (theirs, ours):
        images = np.bincount(indices, minlength=1000)[labels == 0]
        assert chi_square_per_degree(images, (drawn == 0).sum() / 20) < 2.5


@pytest.mark.parametrize("largest", [10_000, 300_000])
def test_one_huge_cluster_does_not_starve_it(largest):
    """The textbook proposal would keep 2 of `largest` + 1 pairs here."""
    labels = np.zeros(largest + 1, "int32")
    labels[17] = 1
    indices, drawn = draw(labels, 5000)
    assert abs((drawn == 1).sum() - 2500) < 5 * 1250**0.5
    assert (indices[drawn == 1] == 17).all()


def test_more_than_half_of_the_proposals_are_kept(rng):
    labels = np.repeat(np.arange(2000), np.maximum(1, rng.lognormal(3, 2, 2000)).astype(int))
    sampler = UniformClusterSampler(len(labels))
    sampler.set_labels(labels)
    kept = np.mean([len(sampler.draw(tf.constant(chunk))[0]) for chunk in range(10)]) / 8192
    assert 0.5 < kept <= 1


def test_length_is_known_and_right():
    sampler = UniformClusterSampler(10)
    pairs = sampler.pairs(123)
    assert int(pairs.cardinality()) == 123 == len(list(pairs))


def test_draws_depend_on_seed_and_epoch_alone(rng):
    labels = rng.integers(0, 7, 500)
    first = draw(labels, 20_000, seed=3, epoch=4)
    np.testing.assert_array_equal(first, draw(labels, 20_000, seed=3, epoch=4))
    assert not np.array_equal(first, draw(labels, 20_000, seed=3, epoch=5))
    assert not np.array_equal(first, draw(labels, 20_000, seed=4, epoch=4))
    # A shorter epoch is the beginning of a longer one: positions have draws of their own.
    np.testing.assert_array_equal(first[:, :100], draw(labels, 100, seed=3, epoch=4))


def test_chunks_differ(rng):
    sampler = UniformClusterSampler(1000)
    first, second = (sampler.draw(tf.constant(c))[0].numpy() for c in (0, 1))
    assert not np.array_equal(first[:100], second[:100])


class Pictures:
    """A source of flat pictures whose colour tells their index."""

    def __init__(self, n):
        self._images = tf.constant(
            np.broadcast_to(np.arange(n, dtype="uint8")[:, None, None, None], (n, 8, 8, 3))
        )

    def load(self, index):
        return self._images[index]


def batches_of(sampler, **changes):
    arguments = {"num_batches": 6, "batch_size": 16, "image_size": 32}
    return training_batches(Pictures(40), sampler, **{**arguments, **changes})


def test_batches_hold_the_images_of_their_labels(rng):
    labels = rng.integers(0, 4, 40).astype("int32")
    sampler = UniformClusterSampler(40)
    sampler.set_labels(labels)
    dataset = batches_of(sampler)
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
    for images, drawn, weights in batches_of(sampler).as_numpy_iterator():
        np.testing.assert_array_equal(labels[images[:, 16, 16, 0]], drawn)
        np.testing.assert_allclose(weights, expected[images[:, 16, 16, 0]], rtol=1e-6)


def test_views_stand_one_behind_the_other():
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype="uint8")
    source = ArraySource(images, [str(i) for i in range(40)])
    sampler = UniformClusterSampler(40)
    sampler.set_labels(np.arange(40, dtype="int32") % 4)

    def batches(**changes):
        arguments = {"num_batches": 3, "batch_size": 8, "image_size": 32, "color_jitter": 1.0}
        return list(training_batches(source, sampler, **{**arguments, **changes}))

    pairs = batches(views=2)
    drawn = batches(batch_size=4)
    assert len(pairs) == 3
    for (crops, labels), (_, once) in zip(pairs, drawn, strict=True):
        assert crops.shape == (8, 32, 32, 3)
        np.testing.assert_array_equal(labels, np.repeat(once, 2))
        assert not np.array_equal(crops[0], crops[1])
    # Taken up in the middle, the rest is the same.
    (rest,) = batches(views=2, first_batch=2)
    np.testing.assert_array_equal(rest[0], pairs[2][0])


def test_batches_repeat_by_epoch():
    sampler = UniformClusterSampler(40)
    sampler.begin_epoch(1, 2)
    dataset = batches_of(sampler)
    first = (
        [labels for _, labels in dataset.as_numpy_iterator()],
        [images for images, _ in dataset.as_numpy_iterator()],
    )
    again = [images for images, _ in dataset.as_numpy_iterator()]
    np.testing.assert_array_equal(first[1], again)
    sampler.begin_epoch(1, 3)
    assert not np.array_equal(again, [images for images, _ in dataset.as_numpy_iterator()])


def test_colours_change_by_epoch_and_batch():
    images = np.full((6, 32, 32, 3), (200, 100, 50), np.uint8)
    sampler = UniformClusterSampler(6)
    dataset = training_batches(
        ArraySource(images, list("abcdef")),
        sampler,
        num_batches=3,
        batch_size=4,
        image_size=32,
        color_jitter=1.0,
        grayscale=0.2,
    )

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

    class Spy(Pictures):
        def load(self, index):
            index = tf.numpy_function(lambda i: read.append(int(i)) or i, [index], index.dtype)
            return super().load(tf.ensure_shape(index, ()))

    sampler = UniformClusterSampler(40)
    sampler.set_labels(rng.integers(0, 4, 40))
    sampler.begin_epoch(31, 5)

    def batches(first):
        dataset = training_batches(
            Spy(40),
            sampler,
            num_batches=6,
            batch_size=16,
            image_size=32,
            color_jitter=1.0,
            first_batch=first,
        )
        assert len(dataset) == 6 - first
        return list(dataset.as_numpy_iterator())

    whole = batches(0)
    read.clear()
    for (images, labels), (expected, wanted) in zip(batches(4), whole[4:], strict=True):
        np.testing.assert_array_equal(images, expected)
        np.testing.assert_array_equal(labels, wanted)
    assert len(read) == 2 * 16


def test_a_new_iterator_sees_new_labels_alone():
    """Prefetched elements of one epoch never carry labels into the next."""
    sampler = UniformClusterSampler(40)
    dataset = batches_of(sampler)
    for epoch in range(5):
        sampler.set_labels(np.full(40, epoch, "int32"))
        sampler.begin_epoch(0, epoch)
        for _, labels in dataset:
            assert (labels.numpy() == epoch).all()

"""Uniform sampling over clusters: its law and its seeds."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from dc_keras.data.batches.uniform import UniformClusterSampler, uniform_over_clusters
from draws import chi_square_per_degree, draw, skewed_labels


def draw_uniformly(labels, num_pairs, seed=0, epoch=0):
    """Pairs of one epoch, integers (2, num_pairs)."""
    return np.stack(draw("uniform", labels, num_pairs, seed, epoch))


def test_proposal_by_hand():
    # Sizes 1, 2 and 5: levels 0, 1 and 2, kept with 1/1, 2/2 and 4/5.
    proposal = uniform_over_clusters(np.array([0, 1, 1, 2, 2, 2, 2, 2]))
    np.testing.assert_allclose(proposal.keep, [1, 1, 1, 0.8, 0.8, 0.8, 0.8, 0.8])
    assert proposal.level_size[:3].tolist() == [1, 2, 5]
    # Weights 1/1, 2/2 and 5/4 of the levels, over 3.25.
    np.testing.assert_allclose(proposal.level_cdf[:3], [1 / 3.25, 2 / 3.25, 1])


@settings(max_examples=100)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=300))
def test_the_proposal_has_exactly_its_law(labels):
    """Probability to be proposed and kept, worked out for every image, not sampled."""
    labels = np.array(labels)
    proposal = uniform_over_clusters(labels)
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
    want = 1 / sizes[labels] / np.count_nonzero(sizes)
    np.testing.assert_allclose(probability, want, rtol=1e-5)


def test_clusters_come_out_uniformly_and_images_within_them_too(rng):
    sizes = np.array([1, 2, 3, 10, 100, 884])
    labels = rng.permutation(np.repeat(np.arange(6), sizes))
    indices, drawn = draw_uniformly(labels, 60_000)
    np.testing.assert_array_equal(drawn, labels[indices])
    counts = np.bincount(drawn, minlength=6)
    # Independent draws: binomial with p = 1/6, five standard deviations.
    assert np.abs(counts - 10_000).max() < 5 * (60_000 / 6 * 5 / 6) ** 0.5
    largest = np.bincount(indices, minlength=1000)[labels == 5]
    assert chi_square_per_degree(largest, counts[5] / 884) == pytest.approx(1, abs=0.25)


def test_the_default_draws_are_what_they_always_were():
    """Runs that go on with a newer version see the images that they would have seen."""
    labels = np.repeat(np.arange(7), [1, 2, 4, 8, 64, 1024, 4096])
    indices, drawn = draw_uniformly(labels, 8, seed=3, epoch=4)
    assert indices.tolist() == [5042, 47, 11, 4, 0, 2, 8, 570]
    assert drawn.tolist() == [6, 4, 3, 2, 0, 1, 3, 5]


def test_empty_clusters_are_left_out(rng):
    labels = rng.permutation(np.repeat([0, 3, 7], [5, 50, 500]))
    counts = np.bincount(draw_uniformly(labels, 9000)[1], minlength=10)
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
    ours = draw_uniformly(labels, 4000)
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
    indices, drawn = draw_uniformly(labels, 5000)
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
    first = draw_uniformly(labels, 20_000, seed=3, epoch=4)
    np.testing.assert_array_equal(first, draw_uniformly(labels, 20_000, seed=3, epoch=4))
    assert not np.array_equal(first, draw_uniformly(labels, 20_000, seed=3, epoch=5))
    assert not np.array_equal(first, draw_uniformly(labels, 20_000, seed=4, epoch=4))
    # A shorter epoch is the beginning of a longer one: positions have draws of their own.
    np.testing.assert_array_equal(first[:, :100], draw_uniformly(labels, 100, seed=3, epoch=4))


def test_chunks_differ(rng):
    sampler = UniformClusterSampler(1000)
    first, second = (sampler.draw(tf.constant(c))[0].numpy() for c in (0, 1))
    assert not np.array_equal(first[:100], second[:100])


def test_draws_do_not_follow_the_sizes_of_clusters(rng):
    """Where the public code's do; see the samplers that list their images."""
    labels = skewed_labels(rng)
    counts = np.bincount(draw_uniformly(labels, 20_000)[1], minlength=100)
    assert abs(np.corrcoef(counts, np.bincount(labels))[0, 1]) < 0.5
    assert counts.min() > 130

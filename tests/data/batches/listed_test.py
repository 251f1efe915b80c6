"""Samplers that list an epoch's images: laws, passes and weights."""

import numpy as np
import pytest
import tensorflow as tf

from dc_keras.data.batches.listed import NaturalSampler, ReleasedSampler, draw_equally
from draws import draw, pairs_of, skewed_labels


@pytest.fixture
def skewed(rng):
    return skewed_labels(rng)


def test_natural_shows_every_image_once_a_pass(rng):
    labels = rng.integers(0, 7, 500)
    indices, _ = draw("natural", labels, 500)
    np.testing.assert_array_equal(np.sort(indices), np.arange(500))
    np.testing.assert_array_equal(np.bincount(labels[indices]), np.bincount(labels))


@pytest.mark.parametrize("length", [200, 333, 700, 1200])
def test_passes_are_cut_into_epochs_without_a_gap(rng, length):
    """Epochs shorter and longer than a pass: each run of n images is a permutation."""
    sampler = NaturalSampler(500, length)
    epochs = []
    for epoch in range(8):
        sampler.begin_epoch(1, epoch)
        epochs.append(pairs_of(sampler, length)[0])
    images = np.concatenate(epochs)
    passes = images[: len(images) // 500 * 500].reshape(-1, 500)
    assert len(passes) >= 3
    for one in passes:
        np.testing.assert_array_equal(np.sort(one), np.arange(500))
    assert not np.array_equal(passes[0], passes[1])


def test_reweighting_has_the_expectation_of_uniform_draws(rng):
    """Exactly, for any losses of images: a pass with weights against the mean over clusters."""
    sizes = [1, 2, 3, 0, 10, 100, 384]
    labels = rng.permutation(np.repeat(np.arange(7), sizes))
    losses = rng.exponential(size=500)
    indices, _, weights = draw("reweight", labels, 500)
    uniform = np.mean([losses[labels == c].mean() for c in range(7) if sizes[c]])
    # Weights are float32.
    assert (weights * losses[indices]).mean() == pytest.approx(uniform, rel=1e-6)
    assert weights.mean() == pytest.approx(1, rel=1e-6)
    # On paper: 500 images, 6 clusters, so n / (k s) = 500 / 6 for the single image.
    assert weights[labels[indices] == 0][0] == pytest.approx(500 / 6)


def test_reweighting_shows_the_images_of_natural(rng):
    labels = rng.integers(0, 7, 500)
    natural, weighted = (draw(name, labels, 800, epoch=2) for name in ("natural", "reweight"))
    np.testing.assert_array_equal(natural, weighted[:2])


def test_draw_equally_by_hand(rng):
    # 10 // 3 + 1 = 4 from each: with replacement from 1 and 4 images, without from 7.
    labels = np.repeat([0, 2, 5], [1, 4, 7])
    for _ in range(20):
        drawn = draw_equally(labels, 10, rng)
        counts = np.bincount(labels[drawn], minlength=6)
        assert len(drawn) == 10
        assert counts[[1, 3, 4]].sum() == 0 and counts.max() <= 4
        largest = drawn[labels[drawn] == 5]
        assert len(np.unique(largest)) == len(largest)
    repeated = [draw_equally(labels, 10, rng) for _ in range(50)]
    assert any(len(np.unique(d[labels[d] == 2])) < (labels[d] == 2).sum() for d in repeated)


def test_draw_equally_against_a_loop_over_clusters(rng, skewed):
    """Counts of clusters before the cut, and of images within a cluster, as a plain loop has."""
    share = 20_000 // 100 + 1
    ours = np.bincount(draw_equally(skewed, 20_000, rng), minlength=20_000)
    assert set(np.bincount(skewed, weights=ours)) <= set(range(share - 10, share + 1))
    theirs = np.zeros(20_000, int)
    for cluster in range(100):
        members = np.flatnonzero(skewed == cluster)
        drawn = rng.choice(members, share, replace=len(members) <= share)
        np.add.at(theirs, drawn, 1)
    for counts in (ours, theirs):
        large = np.bincount(skewed)[skewed] > share
        assert counts[large].max() == 1
    # Cutting 100 of 20,100 draws takes one in two hundred.
    assert ours.astype(bool).sum() == pytest.approx(theirs.astype(bool).sum(), rel=0.02)


def test_released_behaves_as_the_public_code_does(skewed):
    """The figures of a simulation of the public code at this size: reference/lessons.md, 6.1.

    Meant were about 200 images of each cluster. What comes out follows the cluster sizes instead,
    with a correlation of 0.98, and half of the images do not come out at all.
    """
    sizes = np.bincount(skewed)
    indices, labels = draw("released", skewed, 20_000)
    counts = np.bincount(labels, minlength=100)
    assert np.corrcoef(counts, sizes)[0, 1] > 0.95
    assert counts.max() > 3 * 200 and counts.min() < 200 / 2
    assert 0.4 < len(np.unique(indices)) / 20_000 < 0.6


def test_released_per_cluster_counts_against_their_law(rng):
    """What is drawn are places: the image at place i of the cluster-sorted list.

    Place i is drawn share / size(label of image i) times on average, cut to the epoch's length.
    """
    sizes = [5, 20, 75, 400]
    labels = rng.permutation(np.repeat(np.arange(4), sizes))
    drawn_with = 1 / (4 * np.bincount(labels)[labels])  # of place i, in one draw
    by_cluster = labels[np.argsort(labels, kind="stable")]
    expected = 500 * np.bincount(by_cluster, weights=drawn_with)
    sampler = ReleasedSampler(500, 500)
    sampler.set_labels(labels)
    counts = np.zeros(4)
    for epoch in range(200):
        sampler.begin_epoch(0, epoch)
        counts += np.bincount(labels[sampler._drawn.numpy()], minlength=4) / 200
    # An image of cluster 0 stands for 25 draws an epoch; over 200 epochs the means vary by 1 %.
    np.testing.assert_allclose(counts, expected, rtol=0.05)


def test_more_pairs_than_the_epoch_has():
    with pytest.raises(ValueError, match="num_pairs=11. Expected at most .*epoch_length=10"):
        NaturalSampler(5, 10).pairs(11)


def test_listed_images_are_handed_over_in_order_across_chunks():
    sampler = NaturalSampler(20_000, 20_000)
    sampler.begin_epoch(0, 0)
    want = sampler._drawn.numpy()
    np.testing.assert_array_equal(pairs_of(sampler, 20_000)[0], want)
    assert isinstance(sampler.pairs(5).element_spec[0], tf.TensorSpec)

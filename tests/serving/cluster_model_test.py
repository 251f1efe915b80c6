"""From pixels to clusters, against NumPy on whole batches."""

import numpy as np
import pytest
import tensorflow as tf

from dc_keras.clustering.whitening import fit_whitening
from dc_keras.models.architectures import build_network
from dc_keras.models.feature_extractor import FEATURES, feature_model
from dc_keras.models.options import NetworkOptions
from dc_keras.serving.cluster_model import BLOCKS, Cells, ClusterModel, in_blocks


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(5).integers(0, 256, (76, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def features_of():
    options = NetworkOptions(image_size=32, width=0.0625, scaled_fc_init=True)
    return feature_model(build_network(options, 5), FEATURES)


@pytest.fixture(scope="module")
def whitening(features_of, images):
    return fit_whitening(np.asarray(features_of(images, training=False)), 6)


@pytest.fixture(scope="module")
def descriptors(features_of, images, whitening):
    return whitening.apply(np.asarray(features_of(images, training=False)))


@pytest.fixture(scope="module")
def model(features_of, whitening, descriptors):
    return ClusterModel(features_of, Cells(whitening, descriptors[:5], 0.8))


@pytest.mark.parametrize("count", [0, 1, 7, 8, 31, 33, 76])
def test_blocks_are_as_large_as_can_be_and_in_order(count):
    rows = tf.range(count)

    def told(block):
        return block, tf.fill(block.shape, block.shape[0])

    values, sizes = in_blocks(told, rows)
    assert values.numpy().tolist() == list(range(count))
    expected, rest = [], count
    for size in BLOCKS:
        expected += [size] * (rest // size * size)
        rest %= size
    assert sizes.numpy().tolist() == expected


def test_features_are_those_of_the_network(model, features_of, images):
    expected = np.asarray(features_of(images, training=False))
    found = model.features(tf.constant(images)).numpy()
    # Float32 sums in another order.
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    assert model.features(tf.constant(images[:0])).shape == (0, 256)


def test_embeddings_are_descriptors(model, images, descriptors):
    found = model.compiled("embedding")(tf.constant(images)).numpy()
    np.testing.assert_allclose(found, descriptors, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_a_feature_at_the_mean_has_no_direction(whitening):
    cells = Cells(whitening, np.eye(6, dtype="float32"), None)
    assert not cells.embedding(tf.constant(whitening.mean[None])).numpy().any()


def test_the_nearest_clusters_by_all_distances(model, images, descriptors):
    nearest = model.compiled("nearest")(tf.constant(images))
    apart = np.linalg.norm(descriptors[:, None] - descriptors[:5], axis=-1)
    np.testing.assert_array_equal(nearest.clusters, np.argsort(apart, 1, kind="stable")[:, :3])
    in_order = np.sort(apart, 1)
    np.testing.assert_allclose(nearest.distances, in_order[:, :3], atol=1e-4)
    np.testing.assert_allclose(nearest.margins, in_order[:, 1] - in_order[:, 0], atol=1e-4)
    far = in_order[:, 0] > 0.8
    assert 0 < far.sum() < len(far)
    np.testing.assert_array_equal(nearest.outliers, far)


def test_small_distances_keep_their_digits(whitening):
    """|x|^2 - 2xc + |c|^2 in float32 would be off by 3e-4 here."""
    centroids = np.zeros((2, 6), "float32")
    centroids[0, 0], centroids[1, 1] = 1, 1
    point = np.float32([[1, 1e-5, 0, 0, 0, 0]])
    nearest = Cells(whitening, centroids, None).nearest(tf.constant(point))
    assert nearest.distances.numpy()[0, 0] == np.float32(1e-5)
    assert not nearest.outliers.numpy().any()


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_clusters_than_are_told(whitening, count):
    centroids = np.eye(count, 6, dtype="float32")
    nearest = Cells(whitening, centroids, 1.0).nearest(tf.constant(centroids[:1]))
    assert nearest.clusters.shape == (1, count)
    assert nearest.margins.numpy()[0] == pytest.approx([0, np.sqrt(2)][count - 1])


def test_what_an_image_is_answered_does_not_depend_on_the_others(model, images):
    compute = model.compiled("nearest")
    whole = compute(tf.constant(images))
    # In other company, in other calls: the same blocks.
    others = np.concatenate([images[:32], images[:32][::-1], images[64:]])
    mixed = compute(tf.constant(others))
    parts = [compute(tf.constant(images[start : start + 32])) for start in (0, 32, 64)]
    for name in whole._fields:
        expected = getattr(whole, name).numpy()
        np.testing.assert_array_equal(getattr(mixed, name)[:32], expected[:32])
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(joined, expected)


def test_features_alone(features_of, images):
    model = ClusterModel(features_of)
    assert not model.has_clusters
    with pytest.raises(ValueError, match="no clusters"):
        model.nearest(tf.constant(images))

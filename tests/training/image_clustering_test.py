"""The clustering of all images: what it finds, and what the logs say of it."""

import numpy as np
import pytest
import tensorflow as tf

import textures
from dc_keras.clustering.pseudo_labels import ClusteringOptions
from dc_keras.data.pixels.augmentation import Augmentation
from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.open import open_source
from dc_keras.data.sources.stand_ins import SourceWithStandIns
from dc_keras.training.image_clustering import (
    VIEWED_IMAGES,
    ImageClusterer,
    Views,
    clustering_figures,
    sampled_views,
    view_figures,
)
from turns import clustering_of, whitening

# Six dark images, three grey and three light ones, which are far from each other.
LEVELS = np.repeat([0, 1, 2], [6, 3, 3])
OPTIONS = ClusteringOptions(num_clusters=3, pca_dim=2)


class LevelOfImages:
    """In place of a `FeatureExtractor`: an image's features tell its brightness alone."""

    image_size = 8

    def __call__(self, batches):
        for images in batches:
            level = np.asarray(images)[:, 0, 0, 0] // 100
            yield np.eye(4, dtype=np.float32)[level] * 5


def source_of(images, labels=None):
    names = [f"{i:02d}.png" for i in range(len(images))]
    classes = None if labels is None else tuple("abc")
    source = ArraySource(images, names, labels, classes)
    return SourceWithStandIns(source, names, 0.5, lambda reasons: None)


@pytest.fixture
def images():
    return np.tile((LEVELS * 100).astype("uint8")[:, None, None, None], (1, 8, 8, 3))


def cluster(images, previous=None, labels=None, **options):
    clusterer = ImageClusterer(
        source_of(images, labels), LevelOfImages(), OPTIONS, batch_size=5, seed=1, **options
    )
    return clusterer.cluster(0, previous)


def test_figures_of_a_clustering():
    figures = clustering_figures(clustering_of(LEVELS), whitening())
    assert (figures["smallest"], figures["median"], figures["largest"]) == (3, 3, 6)
    assert figures["largest_fraction"] == 0.5
    # Entropy of (1/2, 1/4, 1/4).
    assert figures["entropy"] == pytest.approx(1.5 * np.log(2))
    assert figures["objective"] == 2.0


def test_images_of_similar_features_are_of_one_cluster(images):
    found = cluster(images).clusters.assignments
    assert all(len(set(found[level == LEVELS])) == 1 for level in range(3))
    assert len(set(found)) == 3


def test_agreement_with_the_clustering_before_and_with_labels(images):
    labels = np.repeat([0, 1], 6).astype("int32")
    # The same clusters up to their numbers.
    found = cluster(images, previous=np.array([2, 0, 1], "int32")[LEVELS], labels=labels)
    assert found.figures["nmi_previous"] == pytest.approx(1.0)
    assert found.figures["churn"] == 0.0
    # The clusters have entropy 1.5 ln 2; the labels have ln 2, which they share entirely:
    # NMI = ln 2 / sqrt(1.5 ln 2 * ln 2).
    assert found.figures["nmi_labels"] == pytest.approx(1 / 1.5**0.5)


def test_clusters_keep_the_numbers_of_those_that_they_continue(images):
    previous = np.array([2, 0, 1], "int32")[LEVELS]
    found = cluster(images, previous=previous)
    np.testing.assert_array_equal(found.numbers[found.clusters.assignments], previous)


def test_what_is_learned_does_not_depend_on_the_clustering_before(images):
    alone = cluster(images)
    after = cluster(images, previous=np.array([2, 0, 1], "int32")[LEVELS])
    np.testing.assert_array_equal(alone.clusters.assignments, after.clusters.assignments)
    np.testing.assert_array_equal(alone.clusters.centroids, after.clusters.centroids)


def test_the_first_clustering_of_images_without_labels(images):
    found = cluster(images)
    assert not {"nmi_previous", "churn", "nmi_labels", "views_retrieved"} & found.figures.keys()
    assert found.numbers.tolist() == [0, 1, 2]


def test_seconds_of_each_stage(images):
    seconds = cluster(images).seconds
    assert set(seconds) == {"features", "pca", "kmeans"}
    assert all(value >= 0 for value in seconds.values())


def test_views_are_looked_up_among_their_images(images):
    """Views of one image of each level: one as it is, two that look like another's."""
    chosen = np.array([0, 6, 9])
    changed = images[[0, 9, 9]]

    def batches(done):
        return tf.data.Dataset.from_tensor_slices(changed[done:]).batch(2)

    found = cluster(images, views=Views(chosen, batches))
    assert found.figures["views_retrieved"] == pytest.approx(2 / 3)
    assert found.figures["views_same_cluster"] == pytest.approx(2 / 3)


def test_views_are_retrieved_by_their_own_image_and_its_cluster():
    images = np.eye(4, dtype=np.float32)
    centroids = np.array([[1, 1, 0, 0], [0, 0, 1, 1]], np.float32) / 2
    assignments = np.array([0, 0, 1, 1], np.int32)
    views = np.array([[0.9, 0.1, 0, 0], [1, 0, 0, 0], [0, 0.9, 0.1, 0], [0, 0, 0.4, 0.6]])
    assert view_figures(views.astype(np.float32), images, assignments, centroids) == {
        "views_retrieved": 2 / 4,
        "views_same_cluster": 3 / 4,
    }


def views_of(source, seed=1):
    """Sampled views, with two crops of each image in training."""
    augmentation = Augmentation(image_size=8, min_area=0.2, views=2)
    return sampled_views(source, augmentation, batch_size=100, seed=seed)


def test_sampled_views_are_the_same_each_time_and_one_of_each_image(rng):
    source = source_of(rng.integers(0, 256, (VIEWED_IMAGES + 80, 8, 8, 3), dtype="uint8"))
    views, again = views_of(source), views_of(source)
    np.testing.assert_array_equal(views.indices, again.indices)
    assert len(set(views.indices.tolist())) == VIEWED_IMAGES
    first = np.concatenate(list(views.batches(0).as_numpy_iterator()))
    assert first.shape == (VIEWED_IMAGES, 8, 8, 3)
    for other in (views, again):
        second = np.concatenate(list(other.batches(0).as_numpy_iterator()))
        np.testing.assert_array_equal(first, second)


def test_sampled_views_depend_on_the_seed(rng):
    source = source_of(rng.integers(0, 256, (30, 8, 8, 3), dtype="uint8"))
    assert views_of(source, 1).indices.tolist() != views_of(source, 2).indices.tolist()
    assert set(views_of(source, 1).indices.tolist()) == set(range(30))


def test_images_that_vanish_are_stood_in_for(tmp_path):
    """The file is gone when the features are computed, and the clustering is done all the same."""
    pixels, labels = textures.textures(4)
    textures.write_folders(tmp_path, pixels, labels)
    files = open_source(str(tmp_path))
    told = {}
    source = SourceWithStandIns(files, files.names, 0.5, told.update)
    lost = files.names[5]
    (tmp_path / lost).unlink()
    clusterer = ImageClusterer(source, LevelOfImages(), OPTIONS, batch_size=4, seed=1)
    found = clusterer.cluster(0, None)
    assert len(found.clusters.assignments) == 16
    assert list(told) == [lost] and list(source.gone) == [5]

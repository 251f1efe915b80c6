import math

import numpy as np
import pytest

from dc_keras.clustering.kmeans import KMeansOptions, kmeans
from dc_keras.clustering.pseudo_labels import ClusteringOptions
from dc_keras.evaluation.class_clusters import SEEDS, STARTS, find_class_clusters


def test_figures_on_paper():
    """Two clumps, and test images of two classes: three and one at the first, one at the second.

    Of five images, the table of classes and clusters is 3 0 / 1 1.
    """
    train = np.float32([[0, 0], [0, 1], [9, 0], [9, 1]])
    test = np.float32([[0, 0], [1, 0], [0, 2], [0, 3], [8, 0]])
    labels = np.array([0, 0, 0, 1, 1])
    clusters = find_class_clusters(train, test, labels, ClusteringOptions(2), seed=31)
    found, assignments = clusters.figures, clusters.assignments
    # Four at one clump, one at the other.
    assert (assignments[:4] == assignments[0]).all() and assignments[4] != assignments[0]

    def entropy(*parts):
        return -sum(part * math.log(part) for part in parts)

    classes, clusters = entropy(0.6, 0.4), entropy(0.8, 0.2)
    shared = classes + clusters - entropy(0.6, 0.2, 0.2)
    # Pairs together: 3 in the table's cells, 4 in classes, 6 in clusters, of 10.
    expected = {
        "nmi": shared / math.sqrt(classes * clusters),
        "nmi_arithmetic": shared / ((classes + clusters) / 2),
        "ari": (3 - 2.4) / (5 - 2.4),
        "accuracy": 4 / 5,
        "purity": 4 / 5,
    }
    # Every seed finds the clumps.
    assert found == pytest.approx(
        {f"{name}_classes": value for name, value in expected.items()}
        | {f"{name}_classes_sd": 0 for name in expected}
    )


def test_means_and_deviations_are_over_seeds(rng):
    """Of points without clusters, each seed finds others."""
    points, labels = rng.normal(size=(300, 5)).astype("float32"), rng.integers(0, 4, 300)
    options = ClusteringOptions(4, kmeans=KMeansOptions(iterations=1, max_points=1))
    first, again = (
        find_class_clusters(points, points, labels, options, seed=s).figures for s in (1, 1)
    )
    assert first == again
    assert 0 < first["accuracy_classes_sd"] < 0.1 and 0.25 < first["accuracy_classes"] < 0.5
    # However few iterations and images the training took, here it is all of them.
    thorough = ClusteringOptions(4)
    assert first == find_class_clusters(points, points, labels, thorough, seed=1).figures


def test_neighbours_find_the_clusters_and_test_images_go_to_the_nearest(rng):
    """Beside each other, by another way: what the training does with as many clusters."""
    points = rng.normal(size=(80, 6)).astype("float32")
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    labels = rng.integers(0, 4, 80)
    with_neighbours = ClusteringOptions(4, neighbours=5)
    found = find_class_clusters(points, points, labels, with_neighbours, seed=1)
    alone = find_class_clusters(points, points, labels, ClusteringOptions(4), seed=1)
    assert (found.assignments != alone.assignments).any()
    for cluster in range(4):
        mean = points[found.assignments == cluster].mean(axis=0)
        own = np.linalg.norm(points[found.assignments == cluster] - mean, axis=1).mean()
        other = np.linalg.norm(points[found.assignments != cluster] - mean, axis=1).mean()
        assert own < other


def test_starts_of_the_training_do_not_multiply_those_of_the_evaluation(monkeypatch, rng):
    points = rng.normal(size=(60, 3)).astype("float32")
    options = ClusteringOptions(4, kmeans=KMeansOptions(starts=10))
    asked = []

    def counted(rows, number, options, *, seed):
        asked.append(options.starts)
        return kmeans(rows, number, options, seed=seed)

    monkeypatch.setattr("dc_keras.evaluation.class_clusters.kmeans", counted)
    find_class_clusters(points, points, rng.integers(4, size=60), options, seed=1)
    assert asked == [1] * SEEDS * STARTS

import math

import numpy as np
import pytest

from dc_keras.evaluation.class_table import (
    class_of_each_cluster,
    class_table,
    common_images,
    confusion_matrix,
    markdown_lines,
)
from dc_keras.evaluation.confusion import confusion_figure

# Cats are half in cluster 1 and half in 2, dogs in 2 but for one; there is no cow.
LABELS = np.repeat([0, 1], [4, 6])
ASSIGNMENTS = np.array([1, 1, 2, 2, 2, 2, 2, 2, 2, 1])
NAMES = ("cat", "dog", "cow")


def test_table_on_paper():
    """By the matching clusters 1 and 2 are cats and dogs, and cluster 0 is left to cows."""
    counts = common_images(LABELS, ASSIGNMENTS, 3)
    assert counts.tolist() == [[0, 2, 2], [0, 1, 5], [0, 0, 0]]
    assert class_of_each_cluster(counts).tolist() == [2, 0, 1]
    assert confusion_matrix(counts).tolist() == [[2, 2, 0], [1, 5, 0], [0, 0, 0]]
    cat, dog, cow = class_table(counts, NAMES)
    assert (cat.clusters, cat.images, cat.recall) == ((1,), 4, 0.5)
    assert cat.precision == pytest.approx(2 / 3)
    # Two of three in one cluster, two of seven in the other.
    assert cat.purity == pytest.approx((2 * 2 / 3 + 2 * 2 / 7) / 4)
    assert (cat.confused_with, cat.confused) == ("dog", 0.5)
    assert (dog.recall, dog.precision) == pytest.approx((5 / 6, 5 / 7))
    assert cow.images == 0 and math.isnan(cow.recall) and cow.confused_with == ""
    assert markdown_lines([cat])[2] == "| cat | 4 | 1 | 50.0% | 66.7% | 47.6% | dog (50%) |"
    assert "| 0 | 0 | - | - | - | - |" in markdown_lines([cow])[2]


def test_of_more_clusters_each_goes_to_its_most_frequent_class():
    counts = np.array([[3, 0, 4, 0], [1, 5, 0, 0]])
    assert confusion_matrix(counts).tolist() == [[7, 0], [1, 5]]
    cat, dog = class_table(counts, NAMES[:2])
    assert (cat.clusters, dog.clusters) == ((0, 2), (1,))
    assert cat.precision == pytest.approx(7 / 8) and dog.recall == pytest.approx(5 / 6)


def test_fewer_clusters_than_classes_leave_classes_without_one():
    counts = np.array([[3], [5], [0]])
    assert confusion_matrix(counts).tolist() == [[0, 3, 0], [0, 5, 0], [0, 0, 0]]
    assert class_table(counts, NAMES)[0].clusters == ()


def test_pictures_are_of_up_to_fifty_classes():
    (panel, *_) = confusion_figure(np.diag([1, 2, 3]), NAMES).axes
    assert [label.get_text() for label in panel.get_yticklabels()] == list(NAMES)
    assert np.array_equal(panel.images[0].get_array(), np.eye(3))
    assert confusion_figure(np.eye(51, dtype=int), [str(i) for i in range(51)]) is None

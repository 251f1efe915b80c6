"""Average precision of VOC: numbers worked out on paper."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from dc_keras.evaluation.voc.average_precision import (
    AveragePrecision,
    average_precision_11,
    average_precision_area,
    average_precision_envelope,
    average_precisions,
)


def test_numbers_on_paper():
    """Ranked + - + - - +: precisions 1, 2/3, 1/2 at recalls 1/3, 2/3, 1.

    Eleven points: recalls 0 to .3 (four) have 1, .4 to .6 (three) 2/3, .7 to 1 (four) 1/2.
    """
    labels = np.array([1, -1, 1, -1, -1, 1])
    found = average_precisions(labels, np.array([9.0, 8, 7, 6, 5, 4]))
    assert found.eleven == pytest.approx((4 * 1 + 3 * 2 / 3 + 4 * 1 / 2) / 11)
    assert found.area == found.envelope == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)


def test_the_envelope_never_rises_again():
    """Ranked - + +: precisions 1/2, 2/3, of which the best from the first on is 2/3 as well."""
    labels, scores = np.array([-1, 1, 1]), np.array([3.0, 2, 1])
    assert average_precision_area(labels, scores) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert average_precision_envelope(labels, scores) == pytest.approx(2 / 3)
    assert average_precision_11(labels, scores) == pytest.approx(2 / 3)


def test_a_recall_of_exactly_three_tenths_counts_for_three_tenths():
    """3 positives, 7 negatives, 7 positives: 4 points of 1, then 7 of 10 / 17."""
    labels = np.repeat([1, -1, 1], [3, 7, 7])
    assert average_precision_11(labels, -np.arange(17)) == pytest.approx((4 + 7 * 10 / 17) / 11)


def test_equal_scores_rank_negatives_first():
    """All equal, one of four: it comes last, whatever the order of the images."""
    for place in range(4):
        labels = np.where(np.arange(4) == place, 1, -1)
        assert average_precisions(labels, np.zeros(4)) == AveragePrecision(0.25, 0.25, 0.25)


def test_difficult_images_are_left_out():
    labels, scores = np.array([0, 1, 0, -1, 1]), np.array([9.0, 8, 7, 6, 5])
    known = labels != 0
    assert average_precisions(labels, scores) == average_precisions(labels[known], scores[known])


def test_without_equal_scores_the_area_is_scikit_learns(rng):
    labels, scores = rng.choice([-1, 1], 200), rng.normal(size=200)
    expected = average_precision_score(labels == 1, scores)
    assert average_precision_area(labels, scores) == pytest.approx(expected)
    assert average_precision_envelope(labels, scores) >= expected


@pytest.mark.parametrize(
    ("labels", "scores", "words"),
    [([-1, 0], [1.0, 2.0], "No image"), ([1, -1], [1.0, np.nan], "no numbers")],
)
def test_what_has_no_precision_is_refused(labels, scores, words):
    with pytest.raises(ValueError, match=words):
        average_precisions(np.array(labels), np.array(scores))

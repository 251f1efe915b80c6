import numpy as np
import pytest

from dc_keras.evaluation.retrieval.average_precision import (
    average_precision,
    precision_at,
    ranks_of_relevant,
)


@pytest.mark.parametrize(
    ("ranks", "num_relevant", "expected"),
    [
        # All in front: precision is 1 all the way.
        ([0, 1, 2], 3, 1),
        # Second of two images: precision goes from 0 to 1/2.
        ([1], 1, 1 / 4),
        # (1 + 1) / 2, then (1/2 + 2/3) / 2.
        ([0, 2], 2, (1 + 7 / 12) / 2),
        # (0 + 1/3) / 2, (1/3 + 2/4) / 2, (2/5 + 3/6) / 2; a fourth is never found.
        ([2, 3, 5], 4, (1 / 6 + 5 / 12 + 9 / 20) / 4),
        ([], 2, 0),
    ],
)
def test_it_is_the_area_worked_out_by_hand(ranks, num_relevant, expected):
    found = average_precision(np.array(ranks, int), num_relevant)
    assert found == pytest.approx(expected, abs=1e-12)


def walked(order, relevant, junk):
    """The area, walking down the list as the Oxford program does."""
    area, seen, hits, recall, precision = 0.0, 0, 0, 0.0, 1.0
    for image in order:
        if image in junk:
            continue
        seen += 1
        hits += image in relevant
        above, precision = precision, hits / seen
        before, recall = recall, hits / len(relevant)
        area += (recall - before) * (above + precision) / 2
    return area


def test_it_is_what_walking_down_the_list_gives(rng):
    for _ in range(20):
        order = rng.permutation(40)
        relevant, junk, _ = np.split(rng.permutation(40), [7, 15])
        is_relevant, is_junk = (np.isin(np.arange(40), some) for some in (relevant, junk))
        found = average_precision(ranks_of_relevant(order, is_relevant, is_junk), 7)
        assert found == pytest.approx(walked(order, set(relevant), set(junk)), abs=1e-12)


def test_junk_counts_neither_way():
    order, relevant = np.arange(6), np.isin(np.arange(6), [1, 4])
    for junk in ([0], [0, 2], [2, 3, 5], [1, 2]):
        is_junk = np.isin(np.arange(6), junk)
        without = np.setdiff1d(order, junk)
        expected = np.flatnonzero(np.isin(without, [1, 4]))
        np.testing.assert_array_equal(ranks_of_relevant(order, relevant, is_junk), expected)


@pytest.mark.parametrize(
    ("ranks", "kappa", "expected"),
    [
        ([0, 2, 30], 1, 1),
        ([0, 2, 30], 5, 2 / 5),
        ([0, 2, 30], 10, 2 / 10),
        # The last one is third: the best three count, not ten.
        ([0, 2], 10, 2 / 3),
        ([4], 1, 0),
        ([], 5, 0),
    ],
)
def test_precision_of_the_best_is_as_revisited(ranks, kappa, expected):
    assert precision_at(np.array(ranks, int), kappa) == pytest.approx(expected)

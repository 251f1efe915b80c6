import math

import numpy as np
import pytest

from dc_keras.evaluation.compare.significance import (
    binomial_error,
    error_over_seeds,
    holm,
    mcnemar,
    paired_t,
)


def outcomes(only_first, only_second, both, neither):
    """Which images two networks classify correctly, given how many are of each kind."""
    numbers = [only_first, only_second, both, neither]
    return np.repeat([True, False, True, False], numbers), np.repeat([0, 1, 1, 0], numbers) == 1


def test_mcnemar_on_paper():
    """One and eight of nine: twice the probability of at most one head of nine coins, 10 / 512."""
    found = mcnemar(*outcomes(1, 8, 5, 6))
    assert found.p == pytest.approx(2 * 10 / 512)
    assert found.mean == pytest.approx(7 / 20) and (found.units, found.count) == ("test images", 20)
    # Squares of the differences sum to 9, so their variance is (9 - 20 * (7/20)^2) / 19.
    assert found.error == pytest.approx(math.sqrt((9 - 49 / 20) / 19 / 20))
    assert mcnemar(*outcomes(8, 1, 5, 6)).mean == pytest.approx(-7 / 20)


def test_networks_that_are_right_on_the_same_images_do_not_differ():
    found = mcnemar(*outcomes(0, 0, 7, 3))
    assert (found.mean, found.error, found.p) == (0, 0, 1)


def test_paired_t_on_paper():
    """Differences 1, 2 and 3: t is 2 over 1 / sqrt(3), and of two degrees 1 - t / sqrt(t^2 + 2)."""
    found = paired_t([5, 1, 9], [6, 3, 12])
    t = 2 * math.sqrt(3)
    assert (found.mean, found.units, found.count) == (2, "seeds", 3)
    assert found.error == pytest.approx(1 / math.sqrt(3))
    assert found.p == pytest.approx(1 - t / math.sqrt(t**2 + 2))
    assert paired_t([1, 2], [1, 2]).p == 1


def test_standard_errors_on_paper():
    assert binomial_error(0.2, 1600) == pytest.approx(0.01)
    assert error_over_seeds([1, 3]) == pytest.approx(1)


def test_holm_on_paper():
    """Times 4, 3, 2 and 1 in ascending order; none falls below one before it, nor exceeds 1."""
    assert holm([0.02, 0.01, 0.6, 0.5]) == pytest.approx([0.06, 0.04, 1, 1])
    assert holm([0.01, 0.012, 0.0125]) == pytest.approx([0.03, 0.03, 0.03])
    assert holm([]) == []

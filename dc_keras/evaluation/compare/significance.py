"""Is a difference more than chance? Standard errors and paired tests, as pure functions."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest, ttest_rel


@dataclasses.dataclass(frozen=True)
class Difference:
    """How much better the second of two is.

    Attributes:
        mean: The second's figure less the first's.
        error: Standard error of that.
        p: Probability of a difference as large, either way, where there is none; not corrected
            for the number of comparisons.
        units: What it is over: "test images" or "seeds".
        count: How many of these there are.
    """

    mean: float
    error: float
    p: float
    units: str
    count: int


def binomial_error(accuracy: float, images: int) -> float:
    """Standard error of an accuracy that so many test images tell.

    >>> round(binomial_error(0.5, 2500), 4)
    0.01
    """
    return math.sqrt(accuracy * (1 - accuracy) / images)


def error_over_seeds(values: Sequence[float]) -> float:
    """Standard error of a mean over seeds: the deviation of a sample over the root of their number.

    Args:
        values: Of at least two seeds.

    >>> round(error_over_seeds([0.5, 0.6, 0.7]), 4)
    0.0577
    """
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def mcnemar(first: np.ndarray, second: np.ndarray) -> Difference:
    """McNemar's exact test: which of two classifies the same images better?

    Images that both classify correctly, or both wrongly, tell nothing. If the two are equally
    good, each is right as often as the other on the images that are left.

    Args:
        first: Which images the first classifies correctly, boolean `(m,)`.
        second: As many, of the second.

    >>> first = np.array([True] + 8 * [False] + 11 * [True])
    >>> mcnemar(first, np.array([False] + 8 * [True] + 11 * [True])).p
    0.0390625

    Reference:
        McNemar 1947; Dietterich 1998, "Approximate Statistical Tests for Comparing Supervised
        Classification Learning Algorithms". For the exact form, binomial probabilities.
    """
    difference = second.astype(float) - first
    lost, won = int((difference < 0).sum()), int((difference > 0).sum())
    p = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
    count = len(first)
    error = float(difference.std(ddof=1) / math.sqrt(count)) if count > 1 else 0.0
    return Difference(float(difference.mean()), error, p, "test images", count)


def paired_t(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Student's t-test of pairs: is the second better over seeds that both were trained with?

    Args:
        first: Figures of at least two seeds.
        second: Those of the same seeds.

    >>> found = paired_t([0.5, 0.6, 0.7], [0.6, 0.6, 0.9])
    >>> round(found.mean, 4), round(found.error, 4), round(found.p, 4)
    (0.1, 0.0577, 0.2254)
    """
    differences = np.subtract(second, first)
    error = error_over_seeds(differences.tolist())
    # Without any spread t is no number, or infinite.
    p = float(ttest_rel(second, first).pvalue) if error else float(not differences.any())
    return Difference(float(differences.mean()), error, p, "seeds", len(differences))


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects probabilities for their number: one of many is small by chance alone.

    The smallest is multiplied by their number, the next by one less, and so on; none becomes
    smaller than one before it, nor larger than 1.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]

    Reference:
        Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure".
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    scaled = np.minimum(1.0, np.asarray(p_values, float)[order] * factors)
    corrected[order] = np.maximum.accumulate(scaled)
    return corrected.tolist()

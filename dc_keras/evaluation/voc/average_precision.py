"""Average precision of one class, by the three definitions that published figures use.

Images of equal scores are ranked negatives first, as the release of DeepCluster does it by taking
1e-5 from the scores of positives: a classifier that says the same of all images gains nothing.
Images that are labelled difficult are left out.
"""

import dataclasses

import numpy as np
from sklearn.metrics import average_precision_score

# Labels of an image for a class.
PRESENT, ABSENT, DIFFICULT = 1, -1, 0


@dataclasses.dataclass(frozen=True)
class AveragePrecision:
    """Three summaries of the same curve of precision by recall.

    Attributes:
        eleven: Mean over the recalls 0, 0.1, ... 1 of the best precision at that recall or a
            higher one, as of VOC 2007.
        area: Sum of the precision at each positive times the step of the recall, as scikit-learn
            has it; the figure of DeepCluster's release.
        envelope: Area under the curve made to fall, as of VOC since 2010: at each positive the best
            precision at that recall or a higher one. Never less than `area`.
    """

    eleven: float
    area: float
    envelope: float


def average_precisions(labels: np.ndarray, scores: np.ndarray) -> AveragePrecision:
    """Average precision of one class by all definitions.

    Args:
        labels: Integers `(n,)`: 1 present, -1 absent, 0 difficult (left out). At least one 1.
        scores: Finite float `(n,)`, higher for images that are more likely of the class.

    Raises:
        ValueError: If no image is of the class: there is no recall then.

    >>> average_precisions(np.array([1, -1, 1]), np.array([0.9, 0.8, 0.7])).area.__round__(3)
    0.833
    """
    return AveragePrecision(
        average_precision_11(labels, scores),
        average_precision_area(labels, scores),
        average_precision_envelope(labels, scores),
    )


def average_precision_11(labels: np.ndarray, scores: np.ndarray) -> float:
    """Mean of the best precision at eleven recalls; arguments as of `average_precisions`.

    Reference:
        Everingham et al. 2010, "The PASCAL Visual Object Classes (VOC) Challenge", section 4.2.
    """
    best = _best_precisions(_ranked(labels, scores))
    positives = len(best)
    # The first positive at which recall is k / 10 or more, in integers: 3 of 10 are exactly 0.3.
    first = [max(1, -(-k * positives // 10)) for k in range(11)]
    return float(np.mean([best[rank - 1] for rank in first]))


def average_precision_area(labels: np.ndarray, scores: np.ndarray) -> float:
    """scikit-learn's average precision; arguments as of `average_precisions`."""
    ranked = _ranked(labels, scores)
    # By places instead of scores, which scikit-learn would take together where they are equal.
    return float(average_precision_score(ranked, -np.arange(len(ranked))))


def average_precision_envelope(labels: np.ndarray, scores: np.ndarray) -> float:
    """Mean over positives of the best precision from there on; as `average_precisions`."""
    return float(np.mean(_best_precisions(_ranked(labels, scores))))


def _ranked(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Whether each image is of the class, from the best score to the worst, boolean `(m,)`."""
    if not np.any(labels == PRESENT):
        raise ValueError("No image is of the class. Received: labels without 1.")
    known = labels != DIFFICULT
    present, scores = labels[known] == PRESENT, scores[known]
    if not np.isfinite(scores).all():
        raise ValueError("Scores are no numbers. Received: NaN or infinity.")
    return present[np.lexsort((present, -scores))]


def _best_precisions(ranked: np.ndarray) -> np.ndarray:
    """For each positive the best precision at its recall or a higher one, float `(positives,)`."""
    places = np.flatnonzero(ranked) + 1
    precisions = np.arange(1, len(places) + 1) / places
    return np.maximum.accumulate(precisions[::-1])[::-1]

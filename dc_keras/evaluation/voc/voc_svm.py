"""Linear SVMs on frozen features, one class against the others, as VOC 2007 is measured with.

The strength of regularisation is chosen for each class by the average precision on parts of the
training images that the SVM was not fitted to. The test images are looked at once.
"""

import dataclasses
import sys
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import normalize
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from dc_keras.evaluation.voc.average_precision import (
    DIFFICULT,
    PRESENT,
    AveragePrecision,
    average_precision_area,
    average_precisions,
)
from dc_keras.seeds import derive_seed

# Inverse strengths of regularisation, ascending.
C_GRID = (0.01, 0.1, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 50.0, 100.0, 1000.0)
FOLDS = 3
# What is taken where a class has too few images to choose on.
USUAL_C = 1.0
# How much an image of the class counts, against 1 of the others.
POSITIVE_WEIGHT = 2.0
_MAX_ITERATIONS = 2000


@dataclasses.dataclass(frozen=True)
class ClassResult:
    """What the SVM of one class found.

    Attributes:
        test: Its average precision on the test images.
        chosen_c: The strength that was chosen.
        validation: Mean over the folds of the area that it was chosen by; None where the class has
            fewer than three training images that show it, or that do not, and `USUAL_C` was taken.
    """

    test: AveragePrecision
    chosen_c: float
    validation: float | None


def svm_precisions(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    *,
    seed: int,
    judged: np.ndarray | None = None,
) -> list[ClassResult | None]:
    """Fits and tests an SVM for each class.

    Features are divided by their L2 norm. Of one class, images that are labelled difficult take
    part in nothing.

    Args:
        train_features: float `(n, d)`.
        train_labels: Integers `(n, classes)`: 1 present, -1 absent, 0 difficult.
        test_features: float `(m, d)`.
        test_labels: Integers `(m, classes)`.
        seed: Of the solver's order of images.
        judged: Which classes to fit, boolean `(classes,)`; None for all. They have training images
            that show them and others that do not, and test images that show them.

    Returns:
        A result for each class; None for those that are not judged.

    Memory: three float64 copies of the training features. Time: 34 fits for each class.

    Reference:
        Goyal et al. 2019, "Scaling and Benchmarking Self-Supervised Visual Representation
        Learning", section 6.1: squared hinge, positives weighted twice, C by three folds.
    """
    classes = train_labels.shape[1]
    judged = np.ones(classes, bool) if judged is None else judged
    # As the solver takes them, so that they are not converted for each fit.
    train, test = (
        normalize(features.astype(np.float64), copy=False)
        for features in (train_features, test_features)
    )
    results: list[ClassResult | None] = [None] * classes
    total = int(judged.sum()) * len(C_GRID)
    with tqdm(total=total, desc="VOC SVMs", disable=not sys.stderr.isatty(), leave=False) as bar:
        for one in np.flatnonzero(judged):
            known = train_labels[:, one] != DIFFICULT
            present = train_labels[known, one] == PRESENT
            c, validation = _choose_c(train[known], present, seed, bar)
            final = _fit(train[known], present, c, seed)
            found = average_precisions(test_labels[:, one], final.decision_function(test))
            results[one] = ClassResult(found, c, validation)
    return results


def _choose_c(
    features: np.ndarray, present: np.ndarray, seed: int, bar: tqdm
) -> tuple[float, float | None]:
    """The strength of the best mean area over the folds, the smallest of equal ones, and the area.

    Folds are parts of the images in their order, with the same share of positives each.
    """
    if min(present.sum(), (~present).sum()) < FOLDS:
        bar.update(len(C_GRID))
        return USUAL_C, None
    folds = list(StratifiedKFold(FOLDS).split(features, present))
    areas = np.zeros(len(C_GRID))
    for column, c in enumerate(C_GRID):
        for fitted, held_out in folds:
            svm = _fit(features[fitted], present[fitted], c, seed)
            scores = svm.decision_function(features[held_out])
            labels = np.where(present[held_out], 1, -1)
            areas[column] += average_precision_area(labels, scores) / FOLDS
        bar.update()
    best = int(np.argmax(areas))
    return C_GRID[best], float(areas[best])


def _fit(features: np.ndarray, present: np.ndarray, c: float, seed: int) -> LinearSVC:
    svm = LinearSVC(
        C=c,
        class_weight={True: POSITIVE_WEIGHT, False: 1.0},
        dual=True,
        max_iter=_MAX_ITERATIONS,
        random_state=derive_seed(seed, "VOC solver"),
    )
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        # With a large C it is stopped early: it competes with the others as what it is.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return svm.fit(features, present)

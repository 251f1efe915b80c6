"""Low-shot classification: how few labels frozen features need.

A linear SVM is fitted to a few images of each class, drawn five times. Its regularisation is chosen
for each number of images on training images that none of them is drawn from; the test images are
looked at by the final classifiers alone.
"""

import dataclasses
import sys
import warnings
from collections.abc import Callable

import numpy as np
import scipy.linalg
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from tqdm import tqdm

from dc_keras.errors import InputError
from dc_keras.evaluation.linear_probe import hold_out
from dc_keras.seeds import derive_seed, numpy_rng

# Images of each class.
SIZES = (1, 2, 4, 8, 16, 32, 64, 96)
DRAWS = 5
# Inverse strength of regularisation, as in sklearn, ascending.
C_GRID = (0.01, 0.1, 1.0, 10.0)


@dataclasses.dataclass(frozen=True)
class LowShotResult:
    """What so few images of each class told.

    Attributes:
        size: How many.
        mean: Fraction of test images that are classified correctly, over the draws.
        sd: Its standard deviation over the draws (of a sample).
        chosen_c: Inverse strength of regularisation that was chosen.
    """

    size: int
    mean: float
    sd: float
    chosen_c: float


def sizes_within(labels: np.ndarray) -> tuple[int, ...]:
    """The numbers of images that each class has, beside those that are held out.

    Args:
        labels: Of the training images, integers `(n,)`.

    Raises:
        InputError: If there are fewer than two classes, or none of them has two images.

    >>> sizes_within(np.repeat([0, 1], [12, 6]))
    (1, 2, 4)
    """
    classes = np.unique(labels)
    if len(classes) < 2:
        raise InputError(
            f"Low-shot classification needs two classes to tell apart. Received: {len(classes)}. "
            "Give images of at least two classes."
        )
    # How many are held out of each class does not depend on the draw.
    left = labels[~_held_out(labels, seed=0)]
    smallest = min(np.count_nonzero(left == one) for one in classes)
    return tuple(size for size in SIZES if size <= smallest)


def low_shot(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    *,
    seed: int,
) -> list[LowShotResult]:
    """Fits linear SVMs to a few images of each class and tests them.

    Features are standardised by all training images, and divided by the root of their number, so
    that the same strengths of regularisation suit any. A fifth of the training images of each class
    is held out. The C whose classifiers are best on these, over all draws, is chosen for each
    number of images; the smallest of equally good ones.

    Args:
        train_features: float `(n, d)`.
        train_labels: Integers `(n,)`.
        test_features: float `(m, d)`.
        test_labels: Integers `(m,)`.
        seed: Decides which training images are held out and drawn: the same ones for all features.

    Returns:
        A result for each number of images that every class has.

    Raises:
        InputError: If there are fewer than two classes, or none of them has two training images.

    Reference:
        Goyal et al. 2019, "Scaling and Benchmarking Self-Supervised Visual Representation
        Learning", section 6.2: low-shot linear SVMs of up to 96 images and five draws.
    """
    sizes = sizes_within(train_labels)
    scaler = StandardScaler().fit(train_features)
    scale = np.float32(1 / np.sqrt(train_features.shape[1]))
    train, test = (scaler.transform(some) * scale for some in (train_features, test_features))
    held_out = _held_out(train_labels, seed)
    found = np.zeros((2, DRAWS, len(sizes), len(C_GRID)))
    with tqdm(
        total=len(sizes) * DRAWS, desc="low-shot", disable=not sys.stderr.isatty(), leave=False
    ) as bar:
        for draw in range(DRAWS):
            drawn = [
                draw_of_each_class(train_labels, ~held_out, size, seed, draw) for size in sizes
            ]
            # The largest draw has all images of the others.
            whole = np.sort(drawn[-1])
            among = _within(train[whole])
            fitted, validation, tested = map(among, (train[whole], train[held_out], test))
            for row, rows in enumerate(drawn):
                images = fitted[np.searchsorted(whole, rows)]
                for column, c in enumerate(C_GRID):
                    classifier = _fit(images, train_labels[rows], c, seed)
                    found[:, draw, row, column] = (
                        classifier.score(validation, train_labels[held_out]),
                        classifier.score(tested, test_labels),
                    )
                bar.update()
    on_held_out, on_test = found
    results = []
    for row, size in enumerate(sizes):
        best = int(np.argmax(on_held_out[:, row].sum(axis=0)))
        accuracies = on_test[:, row, best]
        results.append(
            LowShotResult(
                size, float(accuracies.mean()), float(accuracies.std(ddof=1)), C_GRID[best]
            )
        )
    return results


def draw_of_each_class(
    labels: np.ndarray, allowed: np.ndarray, size: int, seed: int, draw: int
) -> np.ndarray:
    """Draws images of each class; those of a smaller size are among those of a larger one.

    Args:
        labels: Integers `(n,)`.
        allowed: Which may be drawn, boolean `(n,)`, at least `size` of each class.
        size: Images of each class.
        seed: Draws them.
        draw: Number of the draw.

    Returns:
        Indices, int64 `(classes * size,)`, class by class.
    """
    shuffled = numpy_rng(seed, "low-shot", draw).permutation(np.flatnonzero(allowed))
    return np.concatenate(
        [shuffled[labels[shuffled] == one][:size] for one in np.unique(labels[shuffled])]
    )


def _held_out(labels: np.ndarray, seed: int) -> np.ndarray:
    return hold_out(labels, numpy_rng(seed, "low-shot validation"))


def _within(images: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A change of axes after which a linear SVM of few images is the same, with fewer values.

    Its weights are a sum of the images that it is fitted to, so that what stands at right angles
    to all of these changes nothing.

    Args:
        images: All that it will be fitted to, float32 `(m, d)`.

    Returns:
        From `(n, d)` to `(n, min(m, d))`.
    """
    if len(images) >= images.shape[1]:
        return lambda features: features
    axes = scipy.linalg.qr(images.T, mode="economic")[0]
    return lambda features: features @ axes


def _fit(features: np.ndarray, labels: np.ndarray, c: float, seed: int) -> LinearSVC:
    # Twenty times as fast where it is weakly regularised as sklearn's own limits, with accuracies
    # that differ by a tenth of a per cent.
    classifier = LinearSVC(
        C=c, tol=0.01, max_iter=100, random_state=derive_seed(seed, "low-shot solver")
    )
    with warnings.catch_warnings():
        # One that was stopped early competes with the others on the held-out images as it is.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return classifier.fit(features, labels)

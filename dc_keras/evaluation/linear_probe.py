"""Linear probes: how well labels can be read off frozen features by a linear classifier.

The strength of regularisation decides much and the best one differs between networks, so it is
chosen for each of them, on training images that the candidates were not fitted to. The test images
are looked at once, by the final classifier.
"""

import dataclasses
import math

import numpy as np
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from dc_keras.errors import InputError
from dc_keras.evaluation.softmax_regression import (
    Directions,
    Softmax,
    fit_softmax,
    principal_directions,
)
from dc_keras.seeds import numpy_rng

# Inverse strength of regularisation, as in sklearn, ascending: each fit starts from the one before.
C_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
VALIDATION_FRACTION = 0.2

# Values an image that pooled feature maps have at most.
MAX_POOLED_SIZE = 9216

# Images that statistics are taken from at a time, which bounds the float64 copies.
_BLOCK_IMAGES = 1024


@dataclasses.dataclass(frozen=True)
class ProbeResult:
    """What a linear probe found, and the probe itself.

    Its logits of features x are `(x - mean) / scale @ weights + bias`.

    Attributes:
        accuracy: Fraction of test images that are classified correctly.
        chosen_c: Inverse strength of regularisation that was chosen.
        validation_accuracy: Accuracy of that strength on the images it was chosen on.
        correct: Which test images are classified correctly, boolean `(m,)`.
        weights: float32 `(d, classes)`.
        bias: float32 `(classes,)`.
        mean: Of the training features, float32 `(d,)`.
        scale: Their standard deviation, 1 where that is 0; float32 `(d,)`.
        classes: The label that each logit stands for, integers `(classes,)`, ascending.
    """

    accuracy: float
    chosen_c: float
    validation_accuracy: float
    correct: np.ndarray = dataclasses.field(repr=False, compare=False)
    weights: np.ndarray = dataclasses.field(repr=False, compare=False)
    bias: np.ndarray = dataclasses.field(repr=False, compare=False)
    mean: np.ndarray = dataclasses.field(repr=False, compare=False)
    scale: np.ndarray = dataclasses.field(repr=False, compare=False)
    classes: np.ndarray = dataclasses.field(repr=False, compare=False)


def linear_probe(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    *,
    seed: int,
    c_grid: tuple[float, ...] = C_GRID,
) -> ProbeResult:
    """Fits a multinomial logistic regression to frozen features and tests it.

    Args:
        train_features: float `(n, d)`, such as a file that is mapped; standardised before fitting.
        train_labels: Integers `(n,)`.
        test_features: float `(m, d)`.
        test_labels: Integers `(m,)`.
        seed: Decides which training images regularisation is chosen on.
        c_grid: Inverse strengths of regularisation to choose from, ascending. The smallest of
            equally good ones is chosen.

    Returns:
        The accuracy, how regularisation was chosen, and the probe.

    Raises:
        InputError: If there are fewer than two classes, or none of them has two training images.

    Reference:
        Caron et al. 2018, section 4.2, with a convex solver in place of its SGD, so that there is
        no learning rate to tune. Memory: one float32 copy of the training features.
    """
    if len(np.unique(train_labels)) < 2:
        raise InputError(
            "A linear probe needs two classes to tell apart. Received: training images of "
            f"{len(np.unique(train_labels))} class. Give images of at least two classes."
        )
    scaler = StandardScaler()
    for start in range(0, len(train_features), _BLOCK_IMAGES):
        scaler.partial_fit(train_features[start : start + _BLOCK_IMAGES])

    # The held-out images stand last, so that those before them are no copy.
    rng = numpy_rng(seed, "probe validation")
    held_out = hold_out(train_labels, rng)
    order = np.argsort(held_out, kind="stable")
    number_fitted = int(np.count_nonzero(~held_out))
    features = _standardised(scaler, train_features, order)
    classes, labels = np.unique(train_labels[order], return_inverse=True)
    # L-BFGS makes many small BLAS calls, which wait for each other's threads: on two cores of a
    # busy machine one thread took 4 seconds where two took 20 to 90.
    with threadpool_limits(1, user_api="blas"):
        directions = principal_directions(features[:number_fitted], rng)
        c, score, candidate = _choose(features, labels, number_fitted, c_grid, directions)
        # A fifth more images move the optimum little: from the candidate's it is near.
        final = fit_softmax(features, labels, len(classes), c, directions, candidate)
    predictions = np.concatenate(
        [
            final.predict(scaler.transform(test_features[start : start + _BLOCK_IMAGES]))
            for start in range(0, len(test_features), _BLOCK_IMAGES)
        ]
    )
    correct = classes[predictions] == test_labels
    return ProbeResult(
        float(correct.mean()),
        c,
        score,
        correct=correct,
        weights=final.weights,
        bias=final.bias,
        mean=scaler.mean_.astype(np.float32),
        scale=scaler.scale_.astype(np.float32),
        classes=classes,
    )


def _choose(
    features: np.ndarray,
    labels: np.ndarray,
    number_fitted: int,
    c_grid: tuple[float, ...],
    directions: Directions,
) -> tuple[float, float, Softmax]:
    """Tries strengths of regularisation on the rows behind the first ones, which it fits.

    From strong to weak, as each fit starts from the one before. Accuracy rises and then falls, and
    the weaker the regularisation, the longer takes the fit: so what is worse than the best by more
    than a standard error is the last that is tried.

    Returns:
        The best strength, its accuracy, and its classifier.
    """
    fitted, fitted_labels = features[:number_fitted], labels[:number_fitted]
    validation, validation_labels = features[number_fitted:], labels[number_fitted:]
    tried: list[tuple[float, float, Softmax]] = []
    for c in c_grid:
        start = tried[-1][2] if tried else None
        found = fit_softmax(fitted, fitted_labels, int(labels.max()) + 1, c, directions, start)
        score = float(np.mean(found.predict(validation) == validation_labels))
        tried.append((c, score, found))
        best = max(one[1] for one in tried)
        if score < best - math.sqrt(best * (1 - best) / len(validation)):
            break
    # Of equally good ones `max` takes the first.
    return max(tried, key=lambda one: one[1])


def _standardised(scaler: StandardScaler, features: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The rows in an order, standardised, float32; a block at a time."""
    standardised = np.empty(features.shape, np.float32)
    for start in range(0, len(order), _BLOCK_IMAGES):
        rows = order[start : start + _BLOCK_IMAGES]
        standardised[start : start + len(rows)] = scaler.transform(features[rows])
    return standardised


def hold_out(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws the images that regularisation is chosen on: a fifth of each class.

    Args:
        labels: Integers `(n,)`.
        rng: Draws the images.

    Returns:
        Boolean mask `(n,)`. Each class of two or more images has at least one in the mask and one
        outside; a class of a single image is outside.

    Raises:
        InputError: If no class has two images.
    """
    _, label, counts = np.unique(labels, return_inverse=True, return_counts=True)
    held = np.where(counts > 1, np.maximum(1, (VALIDATION_FRACTION * counts).astype(int)), 0)
    if not held.any():
        raise InputError(
            "The regularisation of a linear probe is chosen on a part of each class. Received: one "
            f"training image of each of {len(counts)} classes. Expected at least two."
        )
    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(label[shuffled], kind="stable")]
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    mask = np.zeros(len(labels), bool)
    mask[by_class] = rank < np.repeat(held, counts)
    return mask


def pooled_conv_features(maps: np.ndarray) -> np.ndarray:
    """Averages feature maps over the finest square grid of at most 9,216 values an image.

    Cell i of g covers rows floor(i h / g) to ceil((i + 1) h / g), as adaptive pooling does, and
    columns alike. Maps that are small enough stay as they are.

    Args:
        maps: float `(n, h, w, c)`.

    Returns:
        float32 `(n, g * g * c)` with the largest g for which g * g * c <= 9216, g <= h and g <= w,
        but at least 1.

    Reference:
        The bound of the published probes of AlexNet's and VGG16's layers.
    """
    n, height, width, channels = maps.shape
    grid = max(1, min(height, width, math.isqrt(MAX_POOLED_SIZE // channels)))
    return averaged(maps, grid).reshape(n, -1)


def averaged(maps: np.ndarray, grid: int) -> np.ndarray:
    """Averages maps, float `(n, h, w, c)`, over the cells of a square grid of at most h and w.

    Returns:
        float32 `(n, grid, grid, c)`.
    """
    rows, columns = averaging(maps.shape[1], grid), averaging(maps.shape[2], grid)
    pooled = np.einsum("ih,nhwc,jw->nijc", rows, maps, columns, optimize=True)
    return np.ascontiguousarray(pooled, np.float32)


def averaging(size: int, grid: int) -> np.ndarray:
    """Weights float32 `(grid, size)` with which each cell averages the positions it covers."""
    cell, position = np.arange(grid)[:, None], np.arange(size)
    inside = (position >= cell * size // grid) & (position < -(-(cell + 1) * size // grid))
    return (inside / inside.sum(axis=1, keepdims=True)).astype(np.float32)

"""Multinomial logistic regression on features that are alike, in few passes over them.

What L-BFGS suffers from is that a few directions hold most of the variance of a network's features:
it needs many steps for the others. Here the features' first principal directions are found
roughly, and L-BFGS searches for weights in coordinates in which the loss curves about alike in all
directions. The optimum is the same, whatever the coordinates.
"""

import dataclasses

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

# Directions whose variance is taken into account.
_RANK = 64
# Steps end when one lowers the loss of an image by less than this.
_TOLERANCE = 1e-5
_ITERATIONS = 200


@dataclasses.dataclass(frozen=True)
class Directions:
    """The principal directions of features, roughly.

    Attributes:
        vectors: Orthonormal, float32 `(d, rank)`.
        variances: Mean squares of the features along them, float32 `(rank,)`.
    """

    vectors: np.ndarray
    variances: np.ndarray


@dataclasses.dataclass(frozen=True)
class Softmax:
    """A linear classifier.

    Attributes:
        weights: float32 `(d, classes)`.
        bias: float32 `(classes,)`.
    """

    weights: np.ndarray
    bias: np.ndarray

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Places of the classes that it says, int64 `(n,)`, of features float `(n, d)`."""
        return np.argmax(features @ self.weights + self.bias, axis=1)


def principal_directions(features: np.ndarray, rng: np.random.Generator) -> Directions:
    """Finds the principal directions of features by two rounds of subspace iteration.

    Args:
        features: Standardised, float32 `(n, d)`.
        rng: What the iteration begins with.

    Reference:
        Halko, Martinsson and Tropp 2011, "Finding structure with randomness".
    """
    n, dim = features.shape
    vectors = rng.standard_normal((dim, min(_RANK, n, dim)), dtype=np.float32)
    for _ in range(2):
        vectors, _ = np.linalg.qr(((features @ vectors).T @ features).T)
    along = features @ vectors
    variances, turned = np.linalg.eigh(along.T @ along / np.float32(n))
    return Directions(vectors @ turned, np.maximum(variances, 0))


def fit_softmax(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    c: float,
    directions: Directions,
    start: Softmax | None = None,
) -> Softmax:
    """Fits a multinomial logistic regression with an L2 penalty of the weights.

    Args:
        features: Standardised, float32 `(n, d)`.
        labels: Integers from 0 `(n,)`.
        num_classes: How many classes there are.
        c: Inverse strength of regularisation, as in sklearn: the sum of the losses times c, and
            half of the squared weights.
        directions: Of such features; they change how long it takes, not what is found.
        start: Where to begin; None for zeros.

    Returns:
        The classifier.
    """
    n, dim = features.shape
    penalty = np.float32(1 / (c * n))
    # How much the loss curves for a guess, along a direction of variance 1.
    curvature = np.float32((1 - 1 / num_classes) / num_classes)
    steep = 1 / np.sqrt(curvature * directions.variances + penalty)
    # Along the other directions the features vary less than along the last of these.
    flat = steep.max()

    def stretched(weights, along, others):
        part = directions.vectors.T @ weights
        return others * weights + directions.vectors @ ((along - others)[:, None] * part)

    target = np.zeros((n, num_classes), np.float32)
    target[np.arange(n), labels] = 1

    def classifier(point) -> Softmax:
        point = point.reshape(dim + 1, num_classes).astype(np.float32)
        return Softmax(stretched(point[:-1], steep, flat), point[-1] / np.sqrt(curvature))

    def loss_and_gradient(point):
        found = classifier(point)
        logs = log_softmax(features @ found.weights + found.bias, axis=1)
        errors = (np.exp(logs) - target) / np.float32(n)
        squares = np.square(found.weights).sum(dtype=np.float64)
        loss = 0.5 * penalty * squares - logs[np.arange(n), labels].mean(dtype=np.float64)
        # This way round BLAS takes half of the time of `features.T @ errors`.
        of_weights = (errors.T @ features).T + penalty * found.weights
        gradient = stretched(of_weights, steep, flat)
        of_bias = errors.sum(axis=0) / np.sqrt(curvature)
        return float(loss), np.concatenate([gradient, of_bias[None]]).ravel().astype(np.float64)

    begin = np.zeros((dim + 1, num_classes), np.float32)
    if start:
        begin[:-1] = stretched(start.weights, 1 / steep, 1 / flat)
        begin[-1] = start.bias * np.sqrt(curvature)
    found = minimize(
        loss_and_gradient,
        begin.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _ITERATIONS, "ftol": _TOLERANCE, "gtol": 0.0},
    )
    return classifier(found.x)

"""Accuracy of nearest neighbours: how well images that look alike to the network share a class.

It needs no training, so it judges the features as they are.
"""

from collections.abc import Sequence

import faiss
import numpy as np

from dc_keras.errors import InputError

NUM_NEIGHBORS = 20
TEMPERATURE = 0.07
# What is reported beside it.
MORE_NEIGHBORS = (10, 20, 100, 200)

# Test images are answered in blocks of at most so many images, and of so few that the block's table
# of votes (images x classes, float64) has at most so many cells: 32 MB.
_BLOCK_IMAGES, _BLOCK_CELLS = 1024, 2**22


def knn_accuracy(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    *,
    num_neighbors: int = NUM_NEIGHBORS,
    temperature: float = TEMPERATURE,
) -> float:
    """Classifies test images by a vote of their nearest training images.

    Each neighbour votes for its class with weight exp(cosine similarity / temperature). Features of
    length zero have similarity 0 to everything. A tie goes to the class that sorts first.

    Args:
        train_features: float `(n, d)`.
        train_labels: Integers `(n,)`.
        test_features: float `(m, d)`.
        test_labels: Integers `(m,)`.
        num_neighbors: Neighbours that vote; all training images if there are fewer.
        temperature: Positive. The lower, the more the nearest ones count.

    Returns:
        Fraction of test images that are classified correctly.

    Raises:
        InputError: If features are not finite.

    >>> train, test = np.float32([[1, 0], [0, 1]]), np.float32([[1, 0.1], [0.2, 1]])
    >>> knn_accuracy(train, np.array([0, 1]), test, np.array([0, 1]), num_neighbors=1)
    1.0

    Reference:
        Wu et al. 2018, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination",
        section 3.4, with its temperature and the 20 neighbours usual since. Time: exact search,
        2 n m d operations. Memory: one float32 copy of the training features.
    """
    (correct,) = knn_correct(
        train_features,
        train_labels,
        test_features,
        test_labels,
        neighbors=(min(num_neighbors, len(train_features)),),
        temperature=temperature,
    ).values()
    return float(correct.mean())


def knn_correct(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    *,
    neighbors: Sequence[int] = MORE_NEIGHBORS,
    temperature: float = TEMPERATURE,
) -> dict[int, np.ndarray]:
    """As `knn_accuracy` for several numbers of neighbours, from one search, image by image.

    Args:
        train_features: float `(n, d)`.
        train_labels: Integers `(n,)`.
        test_features: float `(m, d)`.
        test_labels: Integers `(m,)`.
        neighbors: Numbers of neighbours that vote; those above n are left out.
        temperature: As of `knn_accuracy`.

    Returns:
        Which test images are classified correctly, boolean `(m,)`, by number of neighbours.

    Raises:
        InputError: If features are not finite.
    """
    neighbors = [number for number in neighbors if number <= len(train_features)]
    if not neighbors:
        return {}
    train_features = _unit_length(train_features)
    classes, votes_for = np.unique(train_labels, return_inverse=True)
    block = max(1, min(_BLOCK_IMAGES, _BLOCK_CELLS // len(classes)))

    correct = {number: np.zeros(len(test_features), bool) for number in neighbors}
    for start in range(0, len(test_features), block):
        queries = _unit_length(test_features[start : start + block])
        # The search of faiss.IndexFlatIP, without the index's copy of the training features.
        similarities, nearest = faiss.knn(
            queries, train_features, max(neighbors), metric=faiss.METRIC_INNER_PRODUCT
        )
        # A common factor changes no vote, and this one keeps exp() in range at any temperature.
        excess = similarities.astype(np.float64) - similarities.max(axis=1, keepdims=True)
        weights = np.exp(excess / temperature)
        cells = np.arange(len(queries))[:, None] * len(classes) + votes_for[nearest]
        for number in neighbors:
            votes = np.bincount(
                cells[:, :number].ravel(),
                weights[:, :number].ravel(),
                len(queries) * len(classes),
            ).reshape(len(queries), len(classes))
            found = classes[votes.argmax(axis=1)]
            correct[number][start : start + block] = found == test_labels[start : start + block]
    return correct


def _unit_length(features: np.ndarray) -> np.ndarray:
    """A float32 copy with rows of length 1; rows of zeros stay."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    if not np.isfinite(lengths).all():
        raise InputError(
            "Features are not finite, so they have no nearest neighbours. Received: NaN or "
            f"infinity for {int((~np.isfinite(lengths)).sum())} of {len(features)} images. "
            "The training has diverged: evaluate another run."
        )
    # The smallest normal float32 keeps a row of zeros zero instead of NaN.
    tiny = np.finfo(np.float32).tiny
    return np.ascontiguousarray(features / np.maximum(lengths, tiny), np.float32)

"""How well clusters agree with labels, or with the clusters of the epoch before.

The loop never sees these figures: training reports them, and the evaluation compares networks by
them. All of them ignore the numbering of clusters.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix


def normalized_mutual_information(
    a: np.ndarray, b: np.ndarray, *, average: str = "geometric"
) -> float:
    """Information shared by two partitions of the same images: I(a; b) / sqrt(H(a) H(b)).

    It is not corrected for chance: two random partitions into k parts share the more, the larger k
    is. So only figures of equal numbers of clusters and images can be compared.

    Args:
        a: Integers `(n,)`: assignments or labels.
        b: Integers `(n,)`.
        average: With "arithmetic" I(a; b) is divided by (H(a) + H(b)) / 2, which is never less:
            the figure is the same or lower.

    Returns:
        From 0 (independent) to 1 (equal up to numbering). Where one partition has a single part,
        and so no entropy, the formula is undefined: 1 if the other has a single part too, else 0.

    Raises:
        ValueError: If the lengths differ or are zero.

    >>> normalized_mutual_information(np.array([0, 0, 1, 1]), np.array([5, 5, 3, 3]))
    1.0
    >>> normalized_mutual_information(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
    0.0

    Reference:
        Caron et al. 2018, section 4.1. The geometric mean below the fraction is not what sklearn
        takes by default, nor most of what is published since: such figures are of the arithmetic
        one.
    """
    _check_same_images(a, b)
    # Rounding can carry the score of equal partitions beyond 1 in the last place.
    return min(1.0, float(normalized_mutual_info_score(a, b, average_method=average)))


def adjusted_rand_index(labels: np.ndarray, assignments: np.ndarray) -> float:
    """Agreement on which pairs of images belong together, corrected for chance.

    Args:
        labels: Integers `(n,)`.
        assignments: Integers `(n,)`.

    Returns:
        At most 1 (equal up to numbering); about 0 for a random clustering, and possibly below.

    Raises:
        ValueError: If the lengths differ or are zero.

    >>> adjusted_rand_index(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]))
    1.0

    Reference:
        Hubert and Arabie 1985.
    """
    _check_same_images(labels, assignments)
    return float(adjusted_rand_score(labels, assignments))


def accuracy_by_matching(labels: np.ndarray, assignments: np.ndarray) -> float:
    """Fraction of images in the cluster of their class, for the best one-to-one matching.

    With more clusters than classes, clusters without a class count as wrong, so that the figure
    falls as the number of clusters grows.

    Args:
        labels: Integers `(n,)`.
        assignments: Integers `(n,)`.

    Returns:
        A fraction in (0, 1].

    Raises:
        ValueError: If the lengths differ or are zero.

    >>> accuracy_by_matching(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 1]))
    0.75

    Reference:
        Kuhn 1955. Memory: a table of classes x clusters.
    """
    _check_same_images(labels, assignments)
    counts = contingency_matrix(labels, assignments)
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / len(labels))


def purity(labels: np.ndarray, assignments: np.ndarray) -> float:
    """Fraction of images that belong to the most frequent class of their cluster.

    It can only rise when clusters are split, up to 1 for clusters of one image.

    Args:
        labels: Integers `(n,)`.
        assignments: Integers `(n,)`.

    Returns:
        A fraction in (0, 1].

    Raises:
        ValueError: If the lengths differ or are zero.

    >>> purity(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]))
    0.75
    """
    _check_same_images(labels, assignments)
    return float(contingency_matrix(labels, assignments).max(axis=0).sum() / len(labels))


def cluster_quality(labels: np.ndarray, assignments: np.ndarray) -> dict[str, float]:
    """All figures of agreement between clusters and labels.

    Args:
        labels: Integers `(n,)`.
        assignments: Integers `(n,)`.

    Returns:
        `nmi` (geometric), `nmi_arithmetic`, `ari`, `accuracy` and `purity`.

    Raises:
        ValueError: If the lengths differ or are zero.
    """
    return {
        "nmi": normalized_mutual_information(labels, assignments),
        "nmi_arithmetic": normalized_mutual_information(labels, assignments, average="arithmetic"),
        "ari": adjusted_rand_index(labels, assignments),
        "accuracy": accuracy_by_matching(labels, assignments),
        "purity": purity(labels, assignments),
    }


def size_statistics(assignments: np.ndarray, num_clusters: int) -> dict[str, float]:
    """How evenly the images are spread over the clusters.

    Args:
        assignments: Integers `(n,)` in [0, num_clusters).
        num_clusters: Number of clusters, empty ones included.

    Returns:
        `smallest`, `median` and `largest` size, `largest_fraction` of the images, number of `empty`
        clusters, `entropy` of the sizes in nats, and `normalized_entropy`: its fraction of
        log(num_clusters), 1 for equal sizes (and for a single cluster).

    Raises:
        ValueError: If there are no images, or an assignment is out of range.
    """
    sizes = np.bincount(assignments, minlength=num_clusters)
    if len(assignments) == 0 or len(sizes) > num_clusters:
        raise ValueError(
            "Assignments do not fit the number of clusters. Received: "
            f"{len(assignments)} assignments up to {len(sizes) - 1} for {num_clusters} clusters. "
            "Expected at least one, each below the number of clusters."
        )
    share = sizes[sizes > 0] / sizes.sum()
    # Adding 0 turns the -0.0 of a single occupied cluster into 0.
    entropy = float(-(share * np.log(share)).sum()) + 0.0
    return {
        "smallest": int(sizes.min()),
        "median": float(np.median(sizes)),
        "largest": int(sizes.max()),
        "largest_fraction": float(share.max()),
        "empty": int((sizes == 0).sum()),
        "entropy": entropy,
        "normalized_entropy": entropy / float(np.log(num_clusters)) if num_clusters > 1 else 1.0,
    }


def _check_same_images(a: np.ndarray, b: np.ndarray) -> None:
    if len(a) != len(b) or len(a) == 0:
        raise ValueError(
            "Two partitions of the same images are needed. "
            f"Received: {len(a)} and {len(b)} entries. Expected as many, and at least one."
        )

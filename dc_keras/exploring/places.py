"""Where images lie: apart from all others, or between two clusters."""

import numpy as np

from dc_keras.clustering.centroids import flat_index
from dc_keras.clustering.nearest_images import NEAREST, nearest_images

_AT_A_TIME = 16384
# Robust standard deviations beyond which an image lies apart: one in 4,000 of normal distances.
OUTLIER_DEVIATIONS = 3.5
# Standard deviations of a normal distribution from its median to its upper quartile.
_QUARTILE = 0.6745
# Below this, distances are rounding in float32.
_SAME = 1e-4


def outlier_scores(nearest_distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far each image lies from its nearest, and which lie apart from all others.

    An image lies apart where the mean distance to its nearest exceeds the median of those means by
    3.5 robust standard deviations. These come from the upper quartile, for a mean or a variance
    would grow with the outliers themselves; and from images without copies, for a data set half of
    which are copies would make outliers of the other half.

    Args:
        nearest_distances: float32 `(n, m)`, NaN where there are fewer; see `Neighbours`.

    Returns:
        Scores, float32 `(n,)`: the mean distance over the median of those means, 0 where there are
        no other images; and which are outliers, bool `(n,)`.

    >>> scores, outliers = outlier_scores(np.float32([[1.0], [0.9], [1.0], [1.1], [3.0]]))
    >>> scores.tolist()[-1], outliers.tolist()
    (3.0, [False, False, False, False, True])
    """
    counts = np.maximum((~np.isnan(nearest_distances)).sum(axis=1), 1)
    means = np.nansum(nearest_distances, axis=1) / counts
    apart = means[means > _SAME]
    if not len(apart):
        return np.zeros(len(means), np.float32), np.zeros(len(means), bool)
    median, upper = np.percentile(apart, [50, 75])
    # Of very few images the quartile may be the median.
    deviation = max((upper - median) / _QUARTILE, _SAME)
    outliers = means > median + OUTLIER_DEVIATIONS * deviation
    return (means / median).astype(np.float32), outliers


def distances_and_margins(
    descriptors: np.ndarray, centroids: np.ndarray, clusters: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How far images are from their centroid, and how much farther from the nearest other one.

    Args:
        descriptors: float32 `(n, dim)`, C-contiguous.
        centroids: float32 `(k, dim)`.
        clusters: int32 `(n,)` cluster of each image.

    Returns:
        Distances, float32 `(n,)`, and margins, float32 `(n,)`: 0 where there is one cluster, below
        0 where another centroid is nearer, as in a cluster that was empty and got images.
    """
    index = flat_index(centroids.shape[1])
    index.add(centroids)
    own = _distances_between(descriptors, centroids, clusters)
    if len(centroids) == 1:
        return own, np.zeros(len(own), np.float32)
    _, nearest = index.search(descriptors, 2)
    other = np.where(nearest[:, 0] == clusters, nearest[:, 1], nearest[:, 0])
    return own, _distances_between(descriptors, centroids, other) - own


def _distances_between(
    descriptors: np.ndarray, centroids: np.ndarray, clusters: np.ndarray
) -> np.ndarray:
    away = np.empty(len(descriptors), np.float32)
    for start in range(0, len(descriptors), _AT_A_TIME):
        block = slice(start, start + _AT_A_TIME)
        away[block] = np.linalg.norm(descriptors[block] - centroids[clusters[block]], axis=1)
    return away


def cluster_neighbours(centroids: np.ndarray, count: int = NEAREST) -> np.ndarray:
    """The nearest other clusters of each, by their centroids.

    Args:
        centroids: float32 `(k, dim)`.
        count: How many at most.

    Returns:
        int32 `(k, j)`, nearest first; j is the smaller one of `count` and k - 1.
    """
    return nearest_images(centroids, min(count, len(centroids) - 1)).indices

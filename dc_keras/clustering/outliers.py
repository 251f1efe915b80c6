"""How far from its cluster an image may be and still be like those that made the cluster."""

import numpy as np

from dc_keras.clustering.spread import SpreadRows

# Of the images that made the clusters, the part that is no farther away.
USUAL_PART = 0.95
_BLOCK = 65536


def outlier_distance(
    descriptors: np.ndarray | SpreadRows, assignments: np.ndarray, centroids: np.ndarray
) -> float:
    """The distance from the centroid that 95 % of some images keep to.

    New images of the same kind are farther away in about one of twenty cases, others more often.
    One distance for all clusters: the spread of a cluster of a few images is not known.

    Args:
        descriptors: Of the images that were clustered, float32 `(n, dim)`.
        assignments: Cluster of each, int32 `(n,)`.
        centroids: float32 `(num_clusters, dim)`.

    Returns:
        The distance.

    >>> points = np.float32([[0.0], [1.0], [2.0], [4.0]])
    >>> outlier_distance(points, np.zeros(4, int), np.float32([[0.0]]))
    3.7
    """
    if isinstance(descriptors, SpreadRows):
        own = assignments[descriptors.first : descriptors.end]
        distances = descriptors.everywhere(_own_distances(descriptors.own, own, centroids))
    else:
        distances = _own_distances(descriptors, assignments, centroids)
    return round(float(np.quantile(distances.astype(np.float64), USUAL_PART)), 7)


def _own_distances(
    descriptors: np.ndarray, assignments: np.ndarray, centroids: np.ndarray
) -> np.ndarray:
    """Of each image from the centroid of its cluster, float32 `(n,)`."""
    distances = np.empty(len(descriptors), np.float32)
    for start in range(0, len(descriptors), _BLOCK):
        block = slice(start, start + _BLOCK)
        apart = descriptors[block] - centroids[assignments[block]]
        distances[block] = np.linalg.norm(apart, axis=1)
    return distances

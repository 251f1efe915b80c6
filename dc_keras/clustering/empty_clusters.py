"""Repair of clusters that are empty after the last assignment of k-means.

The paper: "when a cluster becomes empty, we randomly select a non-empty cluster and use its
centroid with a small random perturbation as the new centroid for the empty cluster. We then
reassign the points belonging to the non-empty cluster to the two resulting clusters" (section 3.3).
"""

import dataclasses

import numpy as np
from sklearn.cluster import DBSCAN

from dc_keras.clustering.spread import SpreadRows

# Length of the perturbation, relative to the root mean square distance of the members to their
# centroid. The plane half-way between the two centroids then passes close to the members' mean, so
# both sides get some, and float64 resolves it well.
_PERTURBATION = 1e-3


@dataclasses.dataclass(frozen=True)
class Repair:
    """A clustering in which every cluster has members, as far as the data allow.

    Attributes:
        assignments: int32 `(n,)`.
        centroids: float32 `(num_clusters, dim)`.
        empty_before: Clusters that were empty.
        empty_after: Clusters that still are, since the data have fewer distinct points.
    """

    assignments: np.ndarray
    centroids: np.ndarray
    empty_before: int
    empty_after: int


def repair_empty_clusters(
    descriptors: np.ndarray | SpreadRows,
    assignments: np.ndarray,
    centroids: np.ndarray,
    rng: np.random.Generator,
    *,
    resolution: float = 0.0,
) -> Repair:
    """Fills empty clusters by splitting random non-empty ones.

    Args:
        descriptors: float32 `(n, dim)`. Of those that are spread over workers, the members of
            clusters that are split come to all of them.
        assignments: Cluster of each image, int32 `(n,)`.
        centroids: float32 `(num_clusters, dim)`; not changed.
        rng: Draws the clusters to split and the perturbations.
        resolution: Distance up to which points count as identical. Above 0, clusters whose
            centroids are so near hold copies of one point, and are one.

    Returns:
        The repaired clustering. Clusters stay empty only when every cluster's members are
        identical, that is, when there are fewer distinct points than clusters.

    >>> descriptors = np.array([[0.0, 1.0], [0.1, 1.0], [1.0, 0.0]], np.float32)
    >>> repaired = repair_empty_clusters(
    ...     descriptors, np.array([0, 0, 0], np.int32), np.zeros((2, 2), np.float32),
    ...     np.random.default_rng(0),
    ... )
    >>> np.bincount(repaired.assignments).min() > 0
    np.True_

    Reference:
        Caron et al. 2018, section 3.3. Takes O(n + members of the split clusters) time.
    """
    num_clusters = len(centroids)
    assignments, centroids = assignments.copy(), centroids.copy()
    sizes = np.bincount(assignments, minlength=num_clusters)
    if resolution > 0:
        assignments = _same_cluster(centroids, sizes, resolution)[assignments]
        sizes = np.bincount(assignments, minlength=num_clusters)
    empty = np.flatnonzero(sizes == 0)
    if not len(empty):
        return Repair(assignments, centroids, 0, 0)

    order = np.argsort(assignments, kind="stable")
    bounds = np.cumsum(sizes)[:-1]
    members = np.split(order, bounds)
    # Clusters that may still be split; one whose members are all identical leaves the list.
    donors = [cluster for cluster in range(num_clusters) if sizes[cluster] >= 2]
    remaining = empty.tolist()
    while remaining and donors:
        place = int(rng.integers(len(donors)))
        donor = donors[place]
        split = _split(descriptors[members[donor]], rng, resolution)
        if split is None:
            donors[place] = donors[-1]
            donors.pop()
            continue
        to_new, centroid, new_centroid = split
        cluster = remaining.pop(0)
        members[cluster] = members[donor][to_new]
        members[donor] = members[donor][~to_new]
        assignments[members[cluster]] = cluster
        centroids[donor], centroids[cluster] = centroid, new_centroid
        if len(members[cluster]) >= 2:
            donors.append(cluster)
        if len(members[donor]) < 2:
            donors.remove(donor)
    return Repair(assignments, centroids, len(empty), len(remaining))


def _same_cluster(centroids: np.ndarray, sizes: np.ndarray, resolution: float) -> np.ndarray:
    """For each cluster the first of those with the same centroid, int32 `(num_clusters,)`.

    Takes 2.3 s for 10,000 distinct centroids of 256 dimensions, and 1.3 GB if all are the same.
    """
    first = np.arange(len(centroids), dtype=np.int32)
    occupied = np.flatnonzero(sizes)
    # A tree, for its memory: all distances at once would be 800 MB for 10,000 clusters.
    groups = DBSCAN(eps=resolution, min_samples=1, algorithm="kd_tree")
    group = groups.fit_predict(centroids[occupied])
    first[occupied] = occupied[np.unique(group, return_index=True)[1][group]]
    return first


def _split(
    points: np.ndarray, rng: np.random.Generator, resolution: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Divides points between their mean and a perturbed copy of it.

    A point is nearer to mean + delta than to mean when (point - mean) . delta > |delta|^2 / 2.

    Args:
        points: float32 `(m, dim)`, m >= 2.
        rng: Draws the perturbation.
        resolution: As for `repair_empty_clusters`.

    Returns:
        Which points go to the new centroid, bool `(m,)`, and both centroids; None when all points
        are identical.
    """
    # Exact where all points are identical: float64 has room for float32 times their number.
    mean = points.mean(axis=0, dtype=np.float64)
    centered = points - mean
    squared = np.einsum("ij,ij->i", centered, centered)
    if squared.max() <= resolution**2:
        return None
    length = _PERTURBATION * np.sqrt(squared.mean())
    direction = rng.normal(size=len(mean))
    to_new = centered @ direction > length * np.linalg.norm(direction) / 2
    if not to_new.any():
        # The direction misses all points (they lie in a plane across it): take the farthest
        # point's own direction, on which it lies beyond the plane and the mean keeps others back.
        direction = centered[squared.argmax()]
        to_new = centered @ direction > length * np.linalg.norm(direction) / 2
    delta = direction * (length / np.linalg.norm(direction))
    return to_new, mean.astype(np.float32), (mean + delta).astype(np.float32)

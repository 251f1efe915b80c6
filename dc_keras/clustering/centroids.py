"""Where clusters are, and what is nearest to them: exact search by Faiss, means in 64 bits."""

import faiss
import numpy as np
import scipy.sparse

_BLOCK = 65536


def nearest_centroids(
    descriptors: np.ndarray, centroids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Assigns descriptors to their nearest centroids.

    Args:
        descriptors: float32 `(n, dim)`, C-contiguous.
        centroids: float32 `(num_clusters, dim)`.

    Returns:
        Assignments, int32 `(n,)`, and distances (not squared), float32 `(n,)`.

    >>> nearest, distances = nearest_centroids(
    ...     np.float32([[0, 1], [3, 4]]), np.float32([[0, 0], [3, 3]])
    ... )
    >>> nearest.tolist(), distances.tolist()
    ([0, 1], [1.0, 1.0])
    """
    squared, nearest = nearest_and_squares(descriptors, centroids)
    return nearest, np.sqrt(squared)


def nearest_and_squares(
    descriptors: np.ndarray, centroids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """As `nearest_centroids`, but squared distances, and in the other order."""
    index = flat_index(centroids.shape[1])
    index.add(np.ascontiguousarray(centroids, np.float32))
    squared, nearest = index.search(descriptors, 1)
    return np.maximum(squared[:, 0], 0.0), nearest[:, 0].astype(np.int32)


def cluster_means(
    descriptors: np.ndarray, assignments: np.ndarray, num_clusters: int
) -> tuple[np.ndarray, np.ndarray]:
    """Means of the members of all clusters.

    Args:
        descriptors: float32 `(n, dim)`.
        assignments: Cluster of each image, integers `(n,)` in [0, num_clusters).
        num_clusters: Number of clusters.

    Returns:
        Means, float64 `(num_clusters, dim)`, 0 for an empty cluster, and sizes, int64
        `(num_clusters,)`.
    """
    sums, sizes = cluster_sums(descriptors, assignments, num_clusters)
    return sums / np.maximum(sizes, 1)[:, None], sizes


def cluster_sums(
    descriptors: np.ndarray, assignments: np.ndarray, num_clusters: int
) -> tuple[np.ndarray, np.ndarray]:
    """As `cluster_means`, but the sums of the members."""
    sums = np.zeros((num_clusters, descriptors.shape[1]))
    for first in range(0, len(descriptors), _BLOCK):
        members = assignments[first : first + _BLOCK]
        ones = (np.ones(len(members)), (members, np.arange(len(members))))
        membership = scipy.sparse.csr_array(ones, shape=(num_clusters, len(members)))
        sums += membership @ descriptors[first : first + _BLOCK].astype(np.float64)
    return sums, np.bincount(assignments, minlength=num_clusters)


def flat_index(dim: int, *, inner_product: bool = False) -> faiss.Index:
    """An exact index, on all GPUs where this Faiss has some.

    Args:
        dim: Dimensions of the vectors.
        inner_product: Whether the nearest have the largest inner product, not the smallest
            Euclidean distance.
    """
    index: faiss.Index = faiss.IndexFlatIP(dim) if inner_product else faiss.IndexFlatL2(dim)
    if faiss.get_num_gpus() > 0:
        index = faiss.index_cpu_to_all_gpus(index)
    return index


def kmeans_devices() -> str:
    """What Faiss computes on, in words."""
    gpus = faiss.get_num_gpus()
    return f"{gpus} GPU(s)" if gpus > 0 else f"{faiss.omp_get_max_threads()} CPU threads"

"""Power iteration clustering of descriptors: the published alternative to k-means.

Images are nodes of a graph that joins nearest neighbours. A random walk on it, cut short, says how
central each image is; every image then climbs to the neighbour that attracts it most, and those
that end on the same peak are a cluster. The number of clusters is a result, not a setting.

    w_ij = exp(-||x_i - x_j||^2 / sigma^2), for j among the 5 nearest of i, or i among those of j
    v    = alpha W v + (1 - alpha) / n, scaled to sum 1, 200 times from v = 1 / n
    i points to the j with the largest w_ij (v_j - v_i) > 0, or is a peak
"""

import numpy as np
import scipy.sparse
from tqdm import tqdm

from dc_keras.clustering.centroids import cluster_means, flat_index, nearest_centroids
from dc_keras.errors import InputError

_NEIGHBOURS = 5
_SIGMA = 0.2
_ALPHA = 0.001
_ITERATIONS = 200
_BLOCK = 65536


def power_iteration_clustering(descriptors: np.ndarray, *, progress: bool = False) -> np.ndarray:
    """Clusters descriptors; nothing in it is random.

    Args:
        descriptors: float32 `(n, dim)`, C-contiguous, rows of unit length, n >= 2.
        progress: Whether to show a progress bar.

    Returns:
        Cluster of each image, int32 `(n,)`, numbered from 0 without gaps. No cluster has a single
        image, unless all have.

    Raises:
        InputError: If there is a single image.

    Reference:
        Lin and Cohen 2010, in the form that the public code of Caron et al. 2018 gives it. Takes
        O(n^2 * dim) time for the exact neighbours, which is a matter for a GPU above some 100,000
        images; the rest is linear. Memory: about 0.4 kB an image.
    """
    if len(descriptors) < 2:
        raise InputError(
            "Power iteration clustering needs neighbours. "
            f"Received: {len(descriptors)} image. Expected at least 2."
        )
    neighbours, squared = nearest_neighbours(descriptors, _NEIGHBOURS, progress=progress)
    graph = neighbour_graph(neighbours, squared)
    peaks = climb(graph, centrality(graph))
    merged = merge_singletons(descriptors, neighbours, peaks)
    return np.unique(merged, return_inverse=True)[1].astype(np.int32)


def nearest_neighbours(
    descriptors: np.ndarray, count: int, *, progress: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the nearest other images of each image.

    Args:
        descriptors: float32 `(n, dim)`.
        count: How many; all the others where there are fewer.
        progress: Whether to show a progress bar.

    Returns:
        Neighbours, int64 `(n, count)`, nearest first, and squared distances to them, float32.
    """
    num_images, dim = descriptors.shape
    count = min(count, num_images - 1)
    index = flat_index(dim)
    index.add(descriptors)
    squared = np.empty((num_images, count + 1), np.float32)
    found = np.empty((num_images, count + 1), np.int64)
    with tqdm(total=num_images, desc="neighbours", disable=not progress, leave=False) as bar:
        for first in range(0, num_images, _BLOCK):
            block = slice(first, first + _BLOCK)
            squared[block], found[block] = index.search(descriptors[block], count + 1)
            bar.update(len(found[block]))
    others = found != np.arange(num_images)[:, None]
    # With many identical images, an image need not be among its own neighbours.
    others[others.all(axis=1), -1] = False
    shape = (num_images, count)
    return found[others].reshape(shape), np.maximum(squared[others], 0.0).reshape(shape)


def neighbour_graph(neighbours: np.ndarray, squared: np.ndarray) -> scipy.sparse.csr_array:
    """The weighted graph of nearest neighbours, made symmetric by adding its transpose.

    Args:
        neighbours: Neighbours of each image, int64 `(n, count)`.
        squared: Squared distances to them, `(n, count)`.

    Returns:
        float64 `(n, n)`; every row has entries.
    """
    num_images, count = neighbours.shape
    weights = np.exp(-squared.astype(np.float64).ravel() / _SIGMA**2)
    starts = np.arange(0, num_images * count + 1, count)
    directed = scipy.sparse.csr_array(
        (weights, neighbours.ravel(), starts), shape=(num_images, num_images)
    )
    graph = (directed + directed.T).tocsr()
    graph.sort_indices()
    return graph


def centrality(graph: scipy.sparse.csr_array) -> np.ndarray:
    """Power iteration, with a result that keeps its digits.

    With alpha and the weights as small as they are, v is 1/n in all but its last digits, and only
    differences of v count. With v = (1 + u) / (n + sum u), the same iteration is

        u = alpha n / ((1 - alpha) (n + sum u)) W (1 + u),

    where u has all its digits and differences of v are in proportion to those of u.

    Args:
        graph: Symmetric weights, float64 `(n, n)`.

    Returns:
        u after 200 iterations, float64 `(n,)`.
    """
    num_images = graph.shape[0]
    excess = np.zeros(num_images)
    for _ in range(_ITERATIONS):
        scale = _ALPHA * num_images / ((1 - _ALPHA) * (num_images + excess.sum()))
        excess = scale * (graph @ (1 + excess))
    return excess


def climb(graph: scipy.sparse.csr_array, heights: np.ndarray) -> np.ndarray:
    """Follows each image's way up, from neighbour to neighbour.

    Args:
        graph: Weights, float64 `(n, n)`, with entries in every row.
        heights: Height of each image, float64 `(n,)`.

    Returns:
        The peak that each image arrives at, int64 `(n,)`; a peak arrives at itself. Takes a number
        of steps logarithmic in the longest way.
    """
    num_images = len(heights)
    rows = np.repeat(np.arange(num_images), np.diff(graph.indptr))
    gains = graph.data * (heights[graph.indices] - heights[rows])
    best = np.maximum.reduceat(gains, graph.indptr[:-1])
    # The first entry of each row that reaches the row's best.
    reaching = np.flatnonzero(gains == best[rows])
    steepest = reaching[np.searchsorted(rows[reaching], np.arange(num_images))]
    pointers = np.where(best > 0, graph.indices[steepest], np.arange(num_images))
    # Each round doubles the length of the way that a pointer stands for.
    while True:
        further = pointers[pointers]
        if (further == pointers).all():
            return pointers
        pointers = further


def merge_singletons(
    descriptors: np.ndarray, neighbours: np.ndarray, peaks: np.ndarray
) -> np.ndarray:
    """Moves images that are alone to the cluster of their nearest image that is not.

    Args:
        descriptors: float32 `(n, dim)`.
        neighbours: Nearest neighbours of each image, int64 `(n, count)`, nearest first.
        peaks: Peak of each image, int64 `(n,)`.

    Returns:
        The peaks with those of single images replaced; unchanged when all images are alone.
    """
    alone = np.bincount(peaks, minlength=len(peaks))[peaks] == 1
    if alone.all():
        return peaks
    merged = peaks.copy()
    company = ~alone[neighbours]
    near = np.flatnonzero(alone & company.any(axis=1))
    merged[near] = peaks[neighbours[near, company[near].argmax(axis=1)]]
    # Identical images can have only each other as neighbours, and all be alone.
    far, others = np.flatnonzero(alone & ~company.any(axis=1)), np.flatnonzero(~alone)
    if len(far):
        merged[far] = peaks[others[nearest_centroids(descriptors[far], descriptors[others])[0]]]
    return merged


def limit_clusters(
    descriptors: np.ndarray, assignments: np.ndarray, max_clusters: int
) -> tuple[np.ndarray, int]:
    """Merges the smallest clusters into others until there are few enough.

    Args:
        descriptors: float32 `(n, dim)`.
        assignments: Cluster of each image, int32 `(n,)`, from 0 without gaps.
        max_clusters: How many may remain: the largest.

    Returns:
        Assignments, int32 `(n,)`, from 0 without gaps, where each cluster that is too many has
        gone into the one with the nearest mean as a whole; and the number of those clusters.
    """
    num_clusters = int(assignments.max()) + 1
    if num_clusters <= max_clusters:
        return assignments, 0
    means, sizes = cluster_means(descriptors, assignments, num_clusters)
    means = means.astype(np.float32)
    by_size = np.argsort(-sizes, kind="stable")
    kept, dropped = np.sort(by_size[:max_clusters]), by_size[max_clusters:]
    new = np.empty(num_clusters, np.int32)
    new[kept] = np.arange(max_clusters)
    new[dropped] = nearest_centroids(means[dropped], means[kept])[0]
    return new[assignments], len(dropped)

"""K-means on descriptors that are spread over workers.

An iteration assigns each worker's own rows by Faiss, adds up sums and counts of the clusters over
all workers, and gives every worker the same new centroids: what one machine would do with all rows.
Sums are of 64 bits, so that they hardly depend on how the rows are shared out. What travels is
`num_clusters * (dim + 1)` numbers an iteration, whatever the number of images.
"""

from typing import Any, cast

import faiss
import numpy as np
from faiss.contrib.clustering import reassign_centroids
from tqdm import tqdm

from dc_keras.clustering.centroids import cluster_sums, flat_index, nearest_and_squares
from dc_keras.clustering.diffusion import unit_rows
from dc_keras.clustering.spread import SpreadRows


def starting_rows(num_points: int, num_clusters: int, seed: int) -> np.ndarray:
    """The rows that Faiss's own k-means starts from, integers `(num_clusters,)`.

    >>> starting_rows(5, 2, seed=3).shape
    (2,)
    """
    order = np.empty(num_points, np.int32)
    # As in faiss/Clustering.cpp, whose first start adds 1 to the seed.
    # Its types leave this one out.
    cast(Any, faiss).rand_perm(faiss.swig_ptr(order), num_points, seed + 1)
    return order[:num_clusters]


def lloyd(
    points: SpreadRows,
    num_clusters: int,
    *,
    iterations: int,
    spherical: bool,
    seed: int,
    progress: bool,
) -> tuple[np.ndarray, list[float]]:
    """Learns centroids from points, starting from those that Faiss's own k-means starts from.

    The same as on one machine up to rounding, as long as no cluster runs empty: those that do are
    split by other draws, those of `faiss.contrib.clustering`.

    Args:
        points: The points.
        num_clusters: Number of clusters, at most their number.
        iterations: At most; one that changes no centroid is the last.
        spherical: Whether centroids are scaled to unit length after each.
        seed: Chooses the points that the centroids start from.
        progress: Whether to show a progress bar.

    Returns:
        Centroids, float32 `(num_clusters, dim)`, and the mean squared distance to them before each
        iteration's update; the same on all workers.
    """
    draws = np.random.RandomState(seed % 2**32)
    centroids = points[starting_rows(len(points), num_clusters, seed)]
    if spherical:
        centroids = unit_rows(centroids)
    # |x - c|^2 = |x|^2 - 2 x.c + 1 for centroids of unit length, which are searched by x.c.
    squares = _sum_of_squares(points.own) if spherical else None
    objectives: list[float] = []
    for _ in tqdm(
        range(iterations), desc="k-means", unit=" iterations", disable=not progress, leave=False
    ):
        nearest, objective = _nearest(points.own, centroids, squares)
        sums, counts = cluster_sums(points.own, nearest, num_clusters)
        sums, counts, objective = _totals(points, sums, counts, objective)
        objectives.append(objective / len(points))
        before, centroids = centroids, (sums / np.maximum(counts, 1)[:, np.newaxis])
        centroids = centroids.astype(np.float32)
        reassign_centroids(counts, centroids, draws)
        if spherical:
            centroids = unit_rows(centroids)
        if np.array_equal(before, centroids):
            break
    return centroids, objectives


def assigned(rows: SpreadRows, centroids: np.ndarray) -> tuple[np.ndarray, float]:
    """Assigns all rows to their nearest centroids.

    Args:
        rows: Each worker assigns its own.
        centroids: float32 `(num_clusters, dim)`.

    Returns:
        Assignments of all rows, int32 `(n,)`, and the mean squared distance, on all workers.
    """
    squared, nearest = nearest_and_squares(rows.own, centroids)
    total = rows.workers.total(squared.sum(dtype=np.float64, keepdims=True))[0]
    return rows.everywhere(nearest), float(total / len(rows))


def _totals(
    points: SpreadRows, sums: np.ndarray, counts: np.ndarray, objective: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Sums, counts and objective of the own points made those of all, in one exchange."""
    parts = [sums.ravel(), counts.astype(np.float64), np.array([objective])]
    everything = points.workers.total(np.concatenate(parts))
    sums = everything[: sums.size].reshape(sums.shape)
    return sums, everything[sums.size : -1].astype(np.int64), float(everything[-1])


def _sum_of_squares(points: np.ndarray) -> float:
    return float(np.einsum("ij,ij->", points, points, dtype=np.float64))


def _nearest(
    points: np.ndarray, centroids: np.ndarray, squares: float | None
) -> tuple[np.ndarray, float]:
    """Nearest centroids, int32 `(m,)`, and the sum of squared distances to them.

    Args:
        points: float32 `(m, dim)`.
        centroids: float32 `(num_clusters, dim)`.
        squares: Of the points, their sum, where centroids have unit length.
    """
    if squares is None:
        squared, nearest = nearest_and_squares(points, centroids)
        return nearest, float(squared.sum(dtype=np.float64))
    index = flat_index(centroids.shape[1], inner_product=True)
    index.add(centroids)
    similarity, nearest = index.search(points, 1)
    objective = squares - 2 * similarity.sum(dtype=np.float64) + len(points)
    return nearest[:, 0].astype(np.int32), float(objective)

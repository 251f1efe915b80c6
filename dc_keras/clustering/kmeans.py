"""K-means on descriptors, by Faiss.

    min over C, y   1/n sum_i || x_i - c_{y_i} ||^2

As published: 20 iterations from k random points, on all images, with Euclidean distance on
unit-length descriptors. Faiss's own treatment of clusters that run empty between iterations applies
within; what is still empty after the last assignment is left to `empty_clusters`.

`KMeansOptions` holds what can be done otherwise; its defaults are the published algorithm. For very
many clusters there is a second level: k-means into about sqrt(k) coarse clusters, then within each
of them. It takes n * sqrt(k) distances an iteration in place of n * k.
"""

import dataclasses
import math
from typing import Any

import faiss
import numpy as np
from tqdm import tqdm

from dc_keras.clustering import spread_kmeans
from dc_keras.clustering.centroids import flat_index, nearest_and_squares
from dc_keras.clustering.spread import SpreadRows
from dc_keras.errors import InputError
from dc_keras.seeds import derive_seed, numpy_rng

# Clusters of all starts together.
_STARTED = 200


@dataclasses.dataclass(frozen=True)
class KMeansOptions:
    """How k-means is done.

    Attributes:
        iterations: Iterations, at most.
        spherical: Whether centroids are scaled to unit length after each iteration.
        max_points: Centroids are learned from a random sample of at most this many images a
            cluster; 0 for all images. All are assigned at the end.
        two_level_from: Number of clusters from which on they are found in two levels; 0 for never.
        starts: From how many random starts few clusters are found, of which the one with the lowest
            objective counts. Starts that come to more than 200 clusters in all are left out: the
            more clusters there are, the less one start differs from another.
    """

    iterations: int = 20
    spherical: bool = False
    max_points: int = 0
    two_level_from: int = 50_000
    starts: int = 1

    def starts_for(self, num_clusters: int) -> int:
        """From how many starts so many clusters are found.

        >>> [KMeansOptions(starts=10).starts_for(k) for k in (2, 20, 50, 101)]
        [10, 10, 4, 1]
        """
        return min(self.starts, max(1, _STARTED // num_clusters))


PUBLISHED = KMeansOptions()


@dataclasses.dataclass(frozen=True)
class KMeansResult:
    """A clustering by k-means.

    Attributes:
        assignments: Nearest centroid of each image, int32 `(n,)`.
        centroids: float32 `(num_clusters, dim)`.
        objectives: Mean squared distance to the nearest centroid, before each iteration's update
            (over the sample it learns from) and after the last (over all images), float64
            `(iterations + 1,)`. With two levels, those of the coarse clusters come before the last.
    """

    assignments: np.ndarray
    centroids: np.ndarray
    objectives: np.ndarray


def kmeans(
    descriptors: np.ndarray | SpreadRows,
    num_clusters: int,
    options: KMeansOptions = PUBLISHED,
    *,
    seed: int,
    progress: bool = False,
) -> KMeansResult:
    """Clusters descriptors.

    Args:
        descriptors: float32 `(n, dim)`, C-contiguous, finite; where they are spread over workers,
            all of them call this with the same arguments and get the same clusters.
        num_clusters: Number of clusters, at most n.
        options: How.
        seed: Chooses the points that the centroids start from.
        progress: Whether to show a progress bar.

    Returns:
        The clustering; clusters can be empty.

    Raises:
        InputError: If there are fewer images than clusters.

    >>> points = np.float32([[0, 0], [0, 1], [9, 0], [9, 1]])
    >>> found = kmeans(points, 2, seed=3)
    >>> found.assignments[0] == found.assignments[1] != found.assignments[2]
    np.True_
    >>> sorted(found.centroids.tolist())
    [[0.0, 0.5], [9.0, 0.5]]

    Reference:
        Caron et al. 2018, section 3.2; Johnson et al. 2017 (Faiss). Takes
        O(n * num_clusters * dim * iterations) time for each start; memory beside the descriptors is
        small, but for a copy of the sample where `max_points` makes one.
    """
    num_images = len(descriptors)
    if num_clusters > num_images:
        raise InputError(
            f"There are fewer images than clusters. Received: {num_images} images and "
            f"num_clusters={num_clusters}. Expected num_clusters <= {num_images}."
        )
    seeds = [seed]
    seeds += [
        derive_seed(seed, "k-means start", start)
        for start in range(1, options.starts_for(num_clusters))
    ]
    # The first of equals, whose seed is the one that was given.
    return min(
        (_from_one_start(descriptors, num_clusters, options, one, progress) for one in seeds),
        key=lambda found: found.objectives[-1],
    )


def _from_one_start(
    descriptors: np.ndarray | SpreadRows,
    num_clusters: int,
    options: KMeansOptions,
    seed: int,
    progress: bool,
) -> KMeansResult:
    if 0 < options.two_level_from <= num_clusters:
        centroids, objectives = _two_levels(descriptors, num_clusters, options, seed, progress)
    else:
        points = _sample(descriptors, num_clusters * options.max_points, seed)
        centroids, objectives = _lloyd(points, num_clusters, options, seed=seed, progress=progress)
    nearest, objective = _assigned(descriptors, centroids)
    return KMeansResult(nearest, centroids, np.asarray([*objectives, objective]))


def _assigned(
    descriptors: np.ndarray | SpreadRows, centroids: np.ndarray
) -> tuple[np.ndarray, float]:
    """Nearest centroid of each image, int32 `(n,)`, and the mean squared distance to them."""
    if isinstance(descriptors, SpreadRows):
        return spread_kmeans.assigned(descriptors, centroids)
    squared, nearest = nearest_and_squares(descriptors, centroids)
    return nearest, float(squared.mean(dtype=np.float64))


def _lloyd(
    points: np.ndarray | SpreadRows,
    num_clusters: int,
    options: KMeansOptions,
    *,
    seed: int,
    progress: bool,
) -> tuple[np.ndarray, list[float]]:
    """Learns centroids from points.

    Faiss is asked for one iteration at a time, each starting from the centroids of the one before,
    which is bit for bit what it does by itself, so that progress can be shown; but not spherical
    with fewer distinct points than clusters. An iteration that changes no centroid is the last: all
    others would repeat it.

    Returns:
        Centroids, float32 `(num_clusters, dim)`, and the mean squared distance to them before each
        iteration's update.
    """
    if isinstance(points, SpreadRows):
        return spread_kmeans.lloyd(
            points,
            num_clusters,
            iterations=options.iterations,
            spherical=options.spherical,
            seed=seed,
            progress=progress,
        )
    num_points, dim = points.shape
    clustering = faiss.Clustering(dim, num_clusters)
    clustering.niter = 1
    clustering.seed = seed
    clustering.max_points_per_centroid = num_points  # no subsampling
    clustering.min_points_per_centroid = 1  # few points in a cluster are no news here
    clustering.spherical = options.spherical
    if options.spherical:
        mean_square = float(np.einsum("ij,ij->", points, points, dtype=np.float64)) / num_points
    index = flat_index(dim, inner_product=options.spherical)
    objectives = []
    centroids = np.empty(0, np.float32)
    for _ in tqdm(
        range(options.iterations),
        desc="k-means",
        unit=" iterations",
        disable=not progress,
        leave=False,
    ):
        # The centroids stay in `clustering`, and Faiss goes on from those it finds there.
        clustering.train(points, index)
        # A vector of C++, whatever its types say.
        stats: Any = clustering.iteration_stats
        objective = stats.at(stats.size() - 1).obj / num_points
        if options.spherical:
            # Faiss maximises x.c with |c| = 1, and |x - c|^2 = |x|^2 - 2 x.c + 1.
            objective = mean_square - 2 * objective + 1
        objectives.append(objective)
        before, centroids = centroids, faiss.vector_to_array(clustering.centroids)
        if np.array_equal(before, centroids):
            break
    return centroids.reshape(num_clusters, dim), objectives


def _two_levels(
    descriptors: np.ndarray | SpreadRows,
    num_clusters: int,
    options: KMeansOptions,
    seed: int,
    progress: bool,
) -> tuple[np.ndarray, list[float]]:
    """Learns centroids within coarse clusters.

    Returns:
        Centroids, float32 `(num_clusters, dim)`, and the objectives of the coarse clusters.
    """
    one_level = dataclasses.replace(options, two_level_from=0, starts=1)
    coarse = kmeans(
        descriptors, round(math.sqrt(num_clusters)), one_level, seed=seed, progress=progress
    )
    sizes = np.bincount(coarse.assignments, minlength=len(coarse.centroids))
    shares = share_out(num_clusters, sizes)
    groups = np.split(np.argsort(coarse.assignments, kind="stable"), np.cumsum(sizes)[:-1])
    centroids = []
    for group in tqdm(
        np.flatnonzero(sizes), desc="k-means within", disable=not progress, leave=False
    ):
        fine = kmeans(
            _rows(descriptors, groups[group]),
            int(shares[group]),
            one_level,
            seed=derive_seed(seed, "second level", group),
        )
        centroids.append(fine.centroids)
    return np.concatenate(centroids), coarse.objectives.tolist()


def share_out(num_clusters: int, sizes: np.ndarray) -> np.ndarray:
    """Shares clusters out among groups of images, in proportion to their sizes.

    Args:
        num_clusters: From the number of non-empty groups up to the number of images.
        sizes: Images in each group, int64 `(groups,)`.

    Returns:
        Clusters of each group, int64 `(groups,)`: `num_clusters` in all, at least one for a group
        that is not empty and at most as many as it has images.

    >>> share_out(5, np.array([60, 30, 10, 0]))
    array([2, 2, 1, 0])
    """
    one = np.minimum(sizes, 1)
    rest = num_clusters - one.sum()
    # Largest remainders, over what each group can take beyond its first.
    shares, remainders = np.divmod(rest * (sizes - one), max((sizes - one).sum(), 1))
    more = np.argsort(-remainders, kind="stable")[: rest - shares.sum()]
    shares[more] += 1
    return one + shares


def _sample(descriptors: np.ndarray | SpreadRows, size: int, seed: int) -> np.ndarray | SpreadRows:
    """So many random rows; all of them for size 0, or if there are not more."""
    if size == 0 or size >= len(descriptors):
        return descriptors
    rng = numpy_rng(seed, "k-means sample")
    return _rows(descriptors, np.sort(rng.choice(len(descriptors), size, replace=False)))


def _rows(descriptors: np.ndarray | SpreadRows, indices: np.ndarray) -> np.ndarray | SpreadRows:
    """Some of the rows, ascending; they stay where they are."""
    if isinstance(descriptors, SpreadRows):
        return descriptors.select(indices)
    return descriptors[indices]

"""The clustering step of the loop: descriptors in, one pseudo-label for each image out."""

import dataclasses

import numpy as np

from dc_keras.clustering.centroids import cluster_means, nearest_centroids
from dc_keras.clustering.diffusion import diffuse, unit_rows
from dc_keras.clustering.empty_clusters import repair_empty_clusters
from dc_keras.clustering.kmeans import PUBLISHED, KMeansOptions, KMeansResult, kmeans
from dc_keras.clustering.pic import limit_clusters, power_iteration_clustering
from dc_keras.clustering.spread import SpreadRows
from dc_keras.seeds import derive_seed, numpy_rng

# Squares of shorter distances between unit vectors are lost where float32 products look for the
# nearest centroid. Copies of an image are nearer: convolutions round as its place in the batch has
# it, on some processors, which moves descriptors by 1e-6.
_RESOLUTION = 1e-4


@dataclasses.dataclass(frozen=True)
class ClusteringOptions:
    """How images are clustered by their features.

    Attributes:
        num_clusters: Number of clusters. Power iteration clustering finds its own number; this is
            the largest that is let through.
        method: "kmeans" or "pic".
        pca_dim: Dimensions of the descriptors.
        pca_images: Number of images to fit PCA on.
        whiten: Whether PCA also whitens.
        kmeans: How k-means is done.
        neighbours: Nearest images of each that its descriptor is drawn towards before k-means, at
            most; 0 for none.
    """

    num_clusters: int
    method: str = "kmeans"
    pca_dim: int = 256
    pca_images: int = 32768
    whiten: bool = True
    kmeans: KMeansOptions = PUBLISHED
    neighbours: int = 0


@dataclasses.dataclass(frozen=True)
class Clusters:
    """The pseudo-labels of all images and where their clusters are.

    Attributes:
        assignments: Cluster of each image, int32 `(n,)` in [0, number of clusters).
        centroids: float32 `(number of clusters, dim)`.
    """

    assignments: np.ndarray
    centroids: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Images in each cluster, int64 `(number of clusters,)`."""
        return np.bincount(self.assignments, minlength=len(self.centroids))

    def renumbered(self, numbers: np.ndarray) -> "Clusters":
        """The same clusters under other numbers.

        Args:
            numbers: New number of each cluster, a permutation, int32 `(number of clusters,)`.

        >>> clusters = Clusters(np.array([0, 0, 1]), np.array([[5.0], [7.0]]))
        >>> clusters.renumbered(np.array([1, 0])).assignments
        array([1, 1, 0])
        """
        return Clusters(numbers[self.assignments], self.centroids[np.argsort(numbers)])


@dataclasses.dataclass(frozen=True)
class Clustering(Clusters):
    """Clusters with what is known of how they were found.

    Attributes:
        objectives: Mean squared distance to the centroids over the iterations, float64.
        empty_before: Clusters that k-means left empty.
        empty_after: Clusters that no split could fill.
        merged: Clusters that were merged into others because there were too many.
    """

    objectives: np.ndarray
    empty_before: int
    empty_after: int
    merged: int = 0


def assign_pseudo_labels(
    descriptors: np.ndarray | SpreadRows,
    options: ClusteringOptions,
    *,
    seed: int,
    turn: int,
    progress: bool = False,
) -> Clustering:
    """Clusters descriptors, by k-means with repair of empty clusters or by power iteration.

    Args:
        descriptors: float32 `(n, dim)`; where they are spread over workers, all of them call this
            with the same arguments and get the same clusters.
        options: How, and into how many clusters, at most n.
        seed: The run's seed.
        turn: Number of the clustering within the run; it gets draws of its own.
        progress: Whether to show a progress bar.

    Returns:
        The clustering.

    Raises:
        InputError: If there are fewer images than clusters.

    >>> descriptors = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    >>> found = assign_pseudo_labels(descriptors, ClusteringOptions(3), seed=31, turn=0)
    >>> found.sizes
    array([4, 4, 4])

    Reference:
        Caron et al. 2018, sections 3.2 and 3.3.
    """
    pic = options.method == "pic"
    if isinstance(descriptors, SpreadRows):
        if pic or options.neighbours:
            return _by_first_worker(descriptors, options, seed=seed, turn=turn, progress=progress)
    elif pic:
        return _power_iteration(descriptors, options.num_clusters, progress)
    found = _kmeans(descriptors, options, derive_seed(seed, "kmeans", turn), progress)
    repaired = repair_empty_clusters(
        descriptors,
        found.assignments,
        found.centroids,
        numpy_rng(seed, "empty clusters", turn),
        resolution=_RESOLUTION,
    )
    centroids = repaired.centroids
    if options.kmeans.spherical:
        # The repair leaves means, which are shorter; nearest neighbours would prefer them.
        centroids = unit_rows(centroids)
    return Clustering(
        assignments=repaired.assignments,
        centroids=centroids,
        objectives=found.objectives,
        empty_before=repaired.empty_before,
        empty_after=repaired.empty_after,
    )


def _by_first_worker(
    descriptors: SpreadRows, options: ClusteringOptions, *, seed: int, turn: int, progress: bool
) -> Clustering:
    """Clusters what has to be at one place, since images are compared with each other."""
    everything = descriptors.gathered()

    def cluster() -> list[np.ndarray]:
        found = assign_pseudo_labels(everything, options, seed=seed, turn=turn, progress=progress)
        counts = [found.empty_before, found.empty_after, found.merged]
        return [found.assignments, found.centroids, found.objectives, np.array(counts)]

    assignments, centroids, objectives, counts = descriptors.workers.from_first(cluster)
    return Clustering(assignments, centroids, objectives, *counts.tolist())


def _kmeans(
    descriptors: np.ndarray | SpreadRows, options: ClusteringOptions, seed: int, progress: bool
) -> KMeansResult:
    """K-means, with neighbours on descriptors that are drawn towards them."""
    number, of_kmeans = options.num_clusters, options.kmeans
    if isinstance(descriptors, SpreadRows):
        return kmeans(descriptors, number, of_kmeans, seed=seed, progress=progress)
    drawn = drawn_together(descriptors, options)
    found = kmeans(drawn, number, of_kmeans, seed=seed, progress=progress)
    if drawn is descriptors:
        return found
    centroids = centroids_of(descriptors, found, spherical=of_kmeans.spherical)
    nearest, distances = nearest_centroids(descriptors, centroids)
    objective = np.mean(np.square(distances), dtype=np.float64)
    return KMeansResult(nearest, centroids, np.append(found.objectives, objective))


def drawn_together(descriptors: np.ndarray, options: ClusteringOptions) -> np.ndarray:
    """Descriptors drawn towards their nearest images, of which clusters are found.

    At most half of a cluster's images count: farther ones would draw clusters into each other.

    Args:
        descriptors: float32 `(n, dim)`.
        options: How many of the nearest, and into how many clusters.

    Returns:
        float32 `(n, dim)`; the descriptors themselves where none are drawn.
    """
    count = min(options.neighbours, len(descriptors) // (2 * options.num_clusters))
    return diffuse(descriptors, count) if count else descriptors


def centroids_of(descriptors: np.ndarray, found: KMeansResult, *, spherical: bool) -> np.ndarray:
    """Where clusters that were found among drawn descriptors are among these as they were.

    New images are not drawn towards others, so that they are compared with centroids of this kind.

    Args:
        descriptors: As they were, float32 `(n, dim)`.
        found: The clusters of the drawn ones.
        spherical: Whether centroids have unit length.

    Returns:
        The means of the members, float32 `(num_clusters, dim)`; of a cluster without members the
        centroid that was found.
    """
    means, sizes = cluster_means(descriptors, found.assignments, len(found.centroids))
    means[sizes == 0] = found.centroids[sizes == 0]
    return (unit_rows(means) if spherical else means).astype(np.float32)


def _power_iteration(descriptors: np.ndarray, max_clusters: int, progress: bool) -> Clustering:
    """Power iteration clustering into at most so many clusters, each with its mean."""
    found = power_iteration_clustering(descriptors, progress=progress)
    assignments, merged = limit_clusters(descriptors, found, max_clusters)
    means, sizes = cluster_means(descriptors, assignments, int(assignments.max()) + 1)
    # Sum of |x - mean|^2 = sum of |x|^2 - size |mean|^2, over the members of a cluster.
    squares = np.einsum("ij,ij->", descriptors, descriptors, dtype=np.float64)
    within = squares - sizes @ np.einsum("ij,ij->i", means, means)
    return Clustering(
        assignments=assignments,
        centroids=means.astype(np.float32),
        objectives=np.array([max(within, 0.0) / len(descriptors)]),
        empty_before=0,
        empty_after=0,
        merged=merged,
    )

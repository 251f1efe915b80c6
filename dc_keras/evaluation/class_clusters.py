"""As many clusters as there are classes: the figures that compare with published ones.

Agreement of clusters and classes depends on the number of clusters, and that of a run is its own
choice. Here k-means is fitted to descriptors of the training images, and what is reported is which
centroids those of the test images are nearest to.
"""

import dataclasses
import sys

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from dc_keras.clustering.centroids import nearest_centroids
from dc_keras.clustering.cluster_quality import cluster_quality
from dc_keras.clustering.kmeans import kmeans
from dc_keras.clustering.pseudo_labels import ClusteringOptions, centroids_of, drawn_together
from dc_keras.seeds import derive_seed

# Seeds that mean and standard deviation are over, and starts of each, of which the one of the
# smallest mean squared distance to the centroids of training images is taken.
SEEDS, STARTS = 10, 5
# Far more than so few clusters need: the last is the first that changes nothing.
_ITERATIONS = 100
# Products of an iteration from which on threads are worth it. Below, they wait for each other: on
# two cores of a busy machine one thread took 3 seconds for ten seeds where two took 55.
_THREADS_FROM = 10**9


@dataclasses.dataclass(frozen=True)
class ClassClusters:
    """As many clusters as there are classes.

    Attributes:
        figures: Means of the figures of `cluster_quality` over ten seeds, with `_classes` behind
            their names, and their standard deviations (of a sample), with `_classes_sd`.
        assignments: Cluster of each test image by the first of the seeds, int32 `(m,)`.
    """

    figures: dict[str, float]
    assignments: np.ndarray


def find_class_clusters(
    train: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    options: ClusteringOptions,
    *,
    seed: int,
) -> ClassClusters:
    """Clusters descriptors into as many clusters as there are classes, and judges the test images.

    Args:
        train: Descriptors of training images, float32 `(n, dim)`.
        test: Descriptors of test images, float32 `(m, dim)`.
        test_labels: Their classes, integers `(m,)`.
        options: Of the training, with as many clusters as there are classes, at most n. All images,
            enough iterations of k-means and five starts are taken whatever it took.
        seed: What k-means starts from is drawn with it.

    Returns:
        The figures over ten seeds, and the clusters of the first.

    >>> points, labels = np.float32([[0, 1], [0, 2], [5, 0], [6, 0]]), np.array([0, 0, 1, 1])
    >>> found = find_class_clusters(points, points, labels, ClusteringOptions(2), seed=31)
    >>> found.figures["accuracy_classes"], found.figures["accuracy_classes_sd"]
    (1.0, 0.0)
    """
    number = options.num_clusters
    thorough = dataclasses.replace(options.kmeans, iterations=_ITERATIONS, max_points=0, starts=1)
    threads = 1 if train.size * number < _THREADS_FROM else None
    drawn = drawn_together(train, options)
    figures, assignments = [], []
    with threadpool_limits(threads):
        for turn in tqdm(
            range(SEEDS), desc="clusters of classes", disable=not sys.stderr.isatty(), leave=False
        ):
            seeds = [derive_seed(seed, "class clusters", turn, start) for start in range(STARTS)]
            fits = (kmeans(drawn, number, thorough, seed=one) for one in seeds)
            best = min(fits, key=lambda fit: fit.objectives[-1])
            centroids = best.centroids
            if drawn is not train:
                centroids = centroids_of(train, best, spherical=thorough.spherical)
            nearest, _ = nearest_centroids(test, centroids)
            figures.append(cluster_quality(test_labels, nearest))
            assignments.append(nearest.astype(np.int32))
    found = {}
    for name in figures[0]:
        values = [one[name] for one in figures]
        found[f"{name}_classes"] = float(np.mean(values))
        found[f"{name}_classes_sd"] = float(np.std(values, ddof=1))
    return ClassClusters(found, assignments[0])

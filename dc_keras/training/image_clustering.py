"""Clusters all images of a source by the features of the network as it is: half of the loop.

features of all images  ->  PCA, whitening, L2  ->  k-means  ->  pseudo-labels
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from dc_keras.clustering.centroids import nearest_centroids
from dc_keras.clustering.cluster_quality import normalized_mutual_information, size_statistics
from dc_keras.clustering.descriptors import Descriptors, compute_descriptors
from dc_keras.clustering.matching import numbers_that_last
from dc_keras.clustering.outliers import outlier_distance
from dc_keras.clustering.pseudo_labels import (
    Clustering,
    ClusteringOptions,
    assign_pseudo_labels,
)
from dc_keras.clustering.spread import ALONE, Workers
from dc_keras.clustering.whitening import Whitening
from dc_keras.data.batches.augmented import augmented_batches
from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.data.pixels.augmentation import Augmentation
from dc_keras.data.sources.stand_ins import LOOK_AHEAD, ReadingOn, SourceWithStandIns
from dc_keras.models.feature_extractor import FeatureExtractor
from dc_keras.seeds import derive_seed, numpy_rng

# The standard error of a fraction of so many images is at most 2 %.
VIEWED_IMAGES = 512


@dataclasses.dataclass(frozen=True)
class ClusteredImages:
    """One clustering of all images, and what is known of it.

    Attributes:
        clusters: Pseudo-labels and centroids.
        numbers: The number that each cluster is shown under, a permutation, int32
            `(num_clusters,)`.
        whitening: From features to the descriptors that were clustered.
        outlier_distance: From its centroid, above which an image is an outlier.
        figures: What the logs say, by name.
        seconds: Time of each stage: features, pca, and kmeans with repair (or pic).
    """

    clusters: Clustering
    numbers: np.ndarray
    whitening: Whitening
    outlier_distance: float
    figures: dict[str, float]
    seconds: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Views:
    """Augmented views of some images.

    Attributes:
        indices: Which images, integers `(m,)`.
        batches: From a number of images to batches of views of those that follow them.
    """

    indices: np.ndarray
    batches: Callable[[int], tf.data.Dataset]


class FeatureClusters(NamedTuple):
    """A clustering by features alone.

    Attributes:
        clusters: Pseudo-labels and centroids.
        descriptors: What was clustered, with their whitening.
        seconds: Time of each stage: features, pca, and kmeans with repair (or pic).
    """

    clusters: Clustering
    descriptors: Descriptors
    seconds: dict[str, float]


def cluster_features(
    extract: Callable[[np.ndarray], Iterable[np.ndarray]],
    num_images: int,
    options: ClusteringOptions,
    *,
    seed: int,
    turn: int,
    workers: Workers = ALONE,
    progress: bool = False,
) -> FeatureClusters:
    """Clusters images by features, wherever these are from.

    Args:
        extract: From image indices `(m,)` to batches of their features, float32 `(b, d)`.
        num_images: Number of images `n`.
        options: How they are clustered.
        seed: The run's seed.
        turn: Number of the clustering within the run; it gets draws of its own.
        workers: Who share the images out among them; all get the same clusters.
        progress: Whether to show progress bars.

    Raises:
        InputError: If there are fewer images than clusters.
        DegenerateDataError: If the features are not finite or all alike.
    """
    started = time.monotonic()
    descriptors = compute_descriptors(
        extract,
        num_images,
        pca_dim=options.pca_dim,
        pca_images=options.pca_images,
        whiten=options.whiten,
        rng=numpy_rng(seed, "pca sample", turn),
        workers=workers,
        progress=progress,
    )
    extracted = time.monotonic()
    clusters = assign_pseudo_labels(
        descriptors.values, options, seed=seed, turn=turn, progress=progress
    )
    seconds = {
        "features": extracted - started - descriptors.pca_seconds,
        "pca": descriptors.pca_seconds,
        options.method: time.monotonic() - extracted,
    }
    return FeatureClusters(clusters, descriptors, seconds)


class ImageClusterer:
    """Clusters the images of a source.

    Args:
        source: The images. Labels, where it has them, are compared with, never clustered by.
        extractor: Computes the features.
        options: How they are clustered.
        views: Augmented views of some images to try the features on, or None.
        batch_size: Images in a step of feature extraction.
        seed: The run's seed.
        workers: Who share the images out among them; all of them get the same clusters.
        progress: Whether to show progress bars.
    """

    def __init__(
        self,
        source: SourceWithStandIns,
        extractor: FeatureExtractor,
        options: ClusteringOptions,
        *,
        views: Views | None = None,
        batch_size: int,
        seed: int,
        workers: Workers = ALONE,
        progress: bool = False,
    ):
        self._source = source
        self._extractor = extractor
        self._options = options
        self._views = views
        self._batch_size = batch_size
        self._seed = seed
        self._workers = workers
        self._progress = progress

    def cluster(
        self,
        turn: int,
        previous: np.ndarray | None,
        options: ClusteringOptions | None = None,
    ) -> ClusteredImages:
        """Clusters all images by the network as it is.

        Args:
            turn: Number of the clustering within the run; it gets draws of its own.
            previous: Clusters of the images in the turn before, by the numbers they were shown
                under, int32 `(n,)`, or None.
            options: How they are clustered, where it is not as usual.

        Returns:
            The clustering of the images, in the source's order.

        Raises:
            InputError: If there are fewer images than clusters, or too many images are gone.
            DegenerateDataError: If the features are not finite or all alike.
        """
        clusters, descriptors, seconds = cluster_features(
            self._features,
            len(self._source),
            options or self._options,
            seed=self._seed,
            turn=turn,
            workers=self._workers,
            progress=self._progress,
        )
        retrieved = {}
        if self._views is not None:
            started = time.monotonic()
            chosen, batches = self._views.indices, self._views.batches
            retrieved = view_figures(
                descriptors.whitening.apply(np.concatenate(list(self._read(chosen, batches)))),
                descriptors.values[chosen],
                clusters.assignments[chosen],
                clusters.centroids,
            )
            seconds["features"] += time.monotonic() - started
        numbers, change = np.arange(len(clusters.centroids), dtype=np.int32), {}
        if previous is not None:
            numbers, churn = numbers_that_last(previous, clusters.assignments, len(numbers))
            nmi = normalized_mutual_information(clusters.assignments, previous)
            change = {"nmi_previous": nmi, "churn": churn}
        figures = clustering_figures(clusters, descriptors.whitening, self._source.labels)
        figures |= change | retrieved
        return ClusteredImages(
            clusters,
            numbers,
            descriptors.whitening,
            outlier_distance(descriptors.values, clusters.assignments, clusters.centroids),
            figures,
            seconds,
        )

    def descriptors(self, indices: np.ndarray, whitening: Whitening) -> np.ndarray:
        """Descriptors of some images by the network as it is, float32 `(m, dim)`.

        Args:
            indices: Which images, integers `(m,)`.
            whitening: Of a clustering by this very network.
        """
        return whitening.apply(np.concatenate(list(self._features(indices))))

    def _features(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """Yields the features of images in batches, float32 `(b, feature_dim)`."""

        def batches(done):
            return ordered_batches(
                self._source,
                indices[done:],
                image_size=self._extractor.image_size,
                batch_size=self._batch_size,
            )

        return self._read(indices, batches)

    def _read(
        self, indices: np.ndarray, batches: Callable[[int], tf.data.Dataset]
    ) -> Iterator[np.ndarray]:
        """Yields features, with stand-ins for images that have vanished meanwhile.

        Args:
            indices: Which images, in which order, integers `(m,)`.
            batches: From a number of images to batches of those that follow them.
        """
        done = 0

        def place():
            return done

        def upcoming():
            return indices[done : done + LOOK_AHEAD]

        reading = ReadingOn(self._source)
        while done < len(indices):
            with reading.past_errors(place, upcoming):
                for features in self._extractor(batches(done)):
                    yield features
                    done += len(features)


def sampled_views(
    source: SourceWithStandIns, augmentation: Augmentation, *, batch_size: int, seed: int
) -> Views:
    """Augmented views of some random images, the same ones throughout the run.

    Args:
        source: The images.
        augmentation: How training images are changed; here each gives one view.
        batch_size: Images in a step of feature extraction.
        seed: The run's seed.
    """
    rng = numpy_rng(seed, "view sample")
    indices = rng.choice(len(source), min(VIEWED_IMAGES, len(source)), replace=False)

    # Made once: clusterings differ in the weights alone.
    @functools.cache
    def batches(done: int) -> tf.data.Dataset:
        return augmented_batches(
            source,
            tf.data.Dataset.from_tensor_slices((indices[done:],)),
            tf.constant(derive_seed(seed, "views")),
            dataclasses.replace(augmentation, views=1),
            batch_size=batch_size,
            drop_remainder=False,
        ).map(lambda images: images)

    return Views(indices, batches)


def view_figures(
    views: np.ndarray, images: np.ndarray, assignments: np.ndarray, centroids: np.ndarray
) -> dict[str, float]:
    """How well features retrieve images by an augmented view of them. No labels are needed.

    Args:
        views: Descriptors of one augmented view of each of some images, float32 `(m, dim)`.
        images: Descriptors of the images, float32 `(m, dim)`.
        assignments: Cluster of each of them, int32 `(m,)`.
        centroids: float32 `(num_clusters, dim)`.

    Returns:
        `views_retrieved`: part of the views that are nearer to their own image than to the others;
        `views_same_cluster`: part of the views in the cluster of their image.
    """
    nearest_image, _ = nearest_centroids(views, images)
    nearest_cluster, _ = nearest_centroids(views, centroids)
    return {
        "views_retrieved": float((nearest_image == np.arange(len(views))).mean()),
        "views_same_cluster": float((nearest_cluster == assignments).mean()),
    }


def clustering_figures(
    clusters: Clustering, whitening: Whitening, labels: np.ndarray | None = None
) -> dict[str, float]:
    """The figures that a clustering has by itself, and beside labels.

    Args:
        clusters: The clustering.
        whitening: The whitening of its descriptors.
        labels: Class of each image, int32 `(n,)`, or None.

    Returns:
        Plain floats and integers by name.
    """
    agreement = {}
    if labels is not None:
        nmi = normalized_mutual_information(clusters.assignments, labels)
        agreement = {"nmi_labels": nmi}
    return {
        "objective": float(clusters.objectives[-1]),
        "clusters": len(clusters.sizes),
        **size_statistics(clusters.assignments, len(clusters.sizes)),
        "empty_before_repair": clusters.empty_before,
        "descriptor_dim": whitening.output_dim,
        "explained_variance": whitening.explained_variance,
        "effective_rank": whitening.effective_rank,
        **agreement,
    }

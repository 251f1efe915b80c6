"""The callback that alternates clustering with training: the outer loop of the method.

At the beginning of an epoch that is due, it computes the descriptors of all images with the network
as it is, clusters them, starts the head anew and hands the new pseudo-labels to the pipeline. Keras
then makes a fresh iterator, which sees them: one `model.fit` runs all epochs.
"""

import dataclasses
import gc
import time
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from dc_keras.clustering.cluster_quality import (
    normalized_mutual_information,
    size_statistics,
)
from dc_keras.clustering.features import FeatureExtractor, compute_descriptors
from dc_keras.clustering.kmeans import PUBLISHED, KMeansOptions, nearest_centroids
from dc_keras.clustering.matching import churn, match_clusters
from dc_keras.clustering.pseudo_labels import Clustering, assign_pseudo_labels
from dc_keras.clustering.whitening import Whitening
from dc_keras.data.ordered import ordered_batches
from dc_keras.data.samplers import Sampler
from dc_keras.data.stand_ins import LOOK_AHEAD, READ_ERRORS, SourceWithStandIns
from dc_keras.models.deepcluster import DeepCluster
from dc_keras.runtime import numpy_rng, return_freed_memory

# The standard error of a fraction of so many images is below 0.8 %.
CHURN_IMAGES = 4096


@dataclasses.dataclass(frozen=True)
class ClusteringOfImages:
    """One clustering of all images, what it was made with and what it took.

    Attributes:
        clustering: Pseudo-labels and centroids.
        whitening: From features to the descriptors that were clustered.
        seconds: Time of each stage: features, pca, and kmeans with repair (or pic).
        views: How well the features know images again; see `view_figures`.
    """

    clustering: Clustering
    whitening: Whitening
    seconds: dict[str, float]
    views: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Views:
    """Augmented views of some images.

    Attributes:
        indices: Which images, integers `(m,)`.
        batches: From a number of images to batches of views of those that follow them.
    """

    indices: np.ndarray
    batches: Callable[[int], tf.data.Dataset]


def cluster_images(
    source: SourceWithStandIns,
    extractor: FeatureExtractor,
    *,
    image_size: int,
    batch_size: int,
    num_clusters: int,
    pca_dim: int,
    pca_images: int,
    whiten: bool = True,
    method: str = "kmeans",
    options: KMeansOptions = PUBLISHED,
    previous: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
    views: Views | None = None,
    seed: int,
    turn: int,
    progress: bool = False,
) -> ClusteringOfImages:
    """Clusters all images of a source by the features that a network gives them.

    Args:
        source: The images.
        extractor: Computes the features.
        image_size: Side of the network's input in pixels.
        batch_size: Images in a step of feature extraction.
        num_clusters: Number of clusters; the largest, if the method finds its own.
        pca_dim: Dimensions of the descriptors.
        pca_images: Number of images to fit PCA on.
        whiten: Whether PCA also whitens.
        method: "kmeans" or "pic".
        options: How k-means is done.
        previous: Clusters for k-means to start from, int32 `(n,)`, or None.
        clusters: The latest ones, to choose stand-ins by, int32 `(n,)`, or None.
        views: Augmented views of some images to try the features on, or None.
        seed: The run's seed.
        turn: Number of the clustering within the run.
        progress: Whether to show progress bars.

    Returns:
        The clustering of the images, in the source's order.

    Raises:
        InputError: If there are fewer images than clusters.
        DegenerateDataError: If the features are not finite or all alike.
    """

    def extract(indices):
        def batches(done):
            return ordered_batches(
                source, indices[done:], image_size=image_size, batch_size=batch_size
            )

        return extract_features(source, extractor, indices, batches, clusters)

    started = time.monotonic()
    described = compute_descriptors(
        extract,
        len(source),
        pca_dim=pca_dim,
        pca_images=pca_images,
        whiten=whiten,
        rng=numpy_rng(seed, "pca sample", turn),
        progress=progress,
    )
    finished = time.monotonic()
    clustering = assign_pseudo_labels(
        described.values,
        num_clusters,
        method=method,
        options=options,
        previous=previous,
        seed=seed,
        turn=turn,
        progress=progress,
    )
    clustered = time.monotonic()
    known_again = {}
    if views is not None:
        features = extract_features(source, extractor, views.indices, views.batches, clusters)
        known_again = view_figures(
            described.whitening.apply(np.concatenate(list(features))),
            described.values[views.indices],
            clustering.assignments[views.indices],
            clustering.centroids,
        )
    seconds = {
        "features": finished - started - described.pca_seconds + time.monotonic() - clustered,
        "pca": described.pca_seconds,
        method: clustered - finished,
    }
    return ClusteringOfImages(clustering, described.whitening, seconds, known_again)


def extract_features(
    source: SourceWithStandIns,
    extractor: FeatureExtractor,
    indices: np.ndarray,
    batches: Callable[[int], tf.data.Dataset],
    clusters: np.ndarray | None,
) -> Iterator[np.ndarray]:
    """Yields the features of images batch by batch, with stand-ins for those that have vanished.

    Args:
        source: The images.
        extractor: Computes the features.
        indices: Which images, in which order, integers `(m,)`.
        batches: From a number of images to batches of those that follow them.
        clusters: The latest clusters, to choose stand-ins by, int32 `(n,)`, or None.

    Yields:
        Features, float32 `(b, feature_dim)`.

    Raises:
        InputError: If too many images are gone.
    """
    done, failed_at = 0, -1
    while done < len(indices):
        try:
            for features in extractor(batches(done)):
                yield features
                done += len(features)
        except READ_ERRORS:
            upcoming = indices[done : done + LOOK_AHEAD]
            # What cannot be found again may have passed: a network drive that was busy.
            if not source.replace_unreadable(upcoming, clusters) and failed_at == done:
                raise
            failed_at = done


def view_figures(
    views: np.ndarray, images: np.ndarray, assignments: np.ndarray, centroids: np.ndarray
) -> dict[str, float]:
    """How well features know images again by an augmented view of them. No labels are needed.

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


def renumbered(made: ClusteringOfImages, numbers: np.ndarray) -> ClusteringOfImages:
    """The same clusters under other numbers.

    Args:
        made: A clustering.
        numbers: New number of each cluster, a permutation, int32 `(num_clusters,)`.
    """
    old = made.clustering
    by_number = np.argsort(numbers)
    clustering = dataclasses.replace(
        old,
        assignments=numbers[old.assignments],
        centroids=old.centroids[by_number],
        sizes=old.sizes[by_number],
    )
    return dataclasses.replace(made, clustering=clustering)


def estimate_churn(
    source: SourceWithStandIns,
    extractor: FeatureExtractor,
    made: ClusteringOfImages,
    *,
    image_size: int,
    batch_size: int,
    seed: int,
    turn: int,
) -> float:
    """Estimates how many images a network would by now put into other clusters.

    Args:
        source: The images.
        extractor: Computes the features by the network as it is.
        made: The clustering that it learns from.
        image_size: Side of the network's input in pixels.
        batch_size: Images in a step of feature extraction.
        seed: The run's seed.
        turn: Number of the clustering that might be due; it gets a sample of its own.

    Returns:
        Fraction of a random sample of `CHURN_IMAGES` images whose nearest centroid is not that of
        their pseudo-label.
    """
    rng = numpy_rng(seed, "churn sample", turn)
    sample = rng.choice(len(source), min(CHURN_IMAGES, len(source)), replace=False)

    def batches(done):
        return ordered_batches(source, sample[done:], image_size=image_size, batch_size=batch_size)

    features = extract_features(source, extractor, sample, batches, made.clustering.assignments)
    descriptors = made.whitening.apply(np.concatenate(list(features)))
    nearest, _ = nearest_centroids(descriptors, made.clustering.centroids)
    return float((nearest != made.clustering.assignments[sample]).mean())


def is_due(epoch: int, reassign: float) -> bool:
    """Whether a clustering is due at the beginning of an epoch.

    Args:
        epoch: Number of the epoch, from 0.
        reassign: Epochs between two clusterings, at least 1.

    Returns:
        True at the first epoch that begins on or after each multiple of `reassign`.
    """
    return epoch == 0 or int(epoch / reassign) > int((epoch - 1) / reassign)


class Recluster(keras.callbacks.Callback):
    """Clusters the images every `reassign` epochs and starts the next turn of training.

    Args:
        model: The trainer, whose head starts anew.
        sampler: Takes the pseudo-labels.
        cluster: From the number of a turn to a clustering of all images.
        labels: Labels of the data set, int32 `(n,)`, or None; compared with, never trained on.
        reassign: Epochs between two clusterings. Up to 1 every Keras epoch begins with one: it
            is then as long as a turn.
        head_start: What the head starts from: "redrawn", "matched" or "centroids"; see
            `TrainingConfig`.
        churn: From the number of a turn to the fraction of images that have moved to another
            cluster.
        reassign_churn: A clustering that is due is left out while that fraction is at most this;
            at 0 it never is, nor is the fraction estimated.
        instance_epochs: Keras epochs at the beginning in which the clusters are not learned.
        seed: The run's seed.
        on_clustered: Called with (epoch from 0, clustering) after each clustering.

    Attributes:
        latest: The last clustering of images, or None.
        clustered: Whether the epoch began with a clustering.
        report: Figures of that clustering, by name, for logs; without one, at most its churn.
        taken_up: Whether the epoch had begun before and is taken up in its middle.
    """

    def __init__(
        self,
        model: DeepCluster,
        sampler: Sampler,
        cluster: Callable[[int], ClusteringOfImages],
        *,
        labels: np.ndarray | None,
        reassign: float,
        head_start: str = "redrawn",
        churn: Callable[[int], float] | None = None,
        reassign_churn: float = 0.0,
        instance_epochs: int = 0,
        seed: int,
        on_clustered: Callable[[int, Clustering], None],
    ):
        super().__init__()
        self._trainer = model
        self._sampler = sampler
        self._cluster = cluster
        self._labels = labels
        self._reassign = reassign
        self._head_start = head_start
        self._churn = churn
        self._reassign_churn = reassign_churn
        self._instance_epochs = instance_epochs
        self._seed = seed
        self._on_clustered = on_clustered
        self._warned: set[str] = set()
        self.latest: ClusteringOfImages | None = None
        self.clustered = False
        self.report: dict[str, float] = {}
        self.taken_up = False
        self._under_way: int | None = None

    @property
    def assignments(self) -> np.ndarray | None:
        """Pseudo-label of each image, int32 `(n,)`; None before there are any."""
        return None if self.latest is None else self.latest.clustering.assignments

    def restore(self, latest: ClusteringOfImages) -> None:
        """Goes on with the clustering of a checkpoint."""
        self.latest = latest
        self._sampler.set_labels(latest.clustering.assignments)

    def restore_epoch(self, epoch: int, *, clustered: bool, report: dict[str, float]) -> None:
        """Takes up an epoch in its middle: its beginning will be left out.

        Args:
            epoch: Number of the epoch, from 0.
            clustered: Whether it began with a clustering.
            report: Figures of that.
        """
        self._under_way = epoch
        self.clustered, self.report = clustered, report
        self._sampler.begin_epoch(self._seed, epoch)

    def on_epoch_begin(self, epoch, logs=None):
        self._trainer.learn_clusters(epoch >= self._instance_epochs)
        self.taken_up = epoch == self._under_way
        if self.taken_up:
            return
        self.clustered = False
        self.report = {}
        due = self.latest is None or is_due(epoch, max(self._reassign, 1.0))
        if due and self._is_stale(epoch):
            self._recluster(epoch)
        self._sampler.begin_epoch(self._seed, epoch)
        self._trainer.reseed_dropout(self._seed, epoch)
        # Should the epoch be taken up again, its beginning is done.
        self._under_way = epoch

    def _is_stale(self, epoch: int) -> bool:
        """Whether images have moved enough for another clustering."""
        if self.latest is None or self._reassign_churn == 0:
            return True
        self.report["estimated_churn"] = self._churn(epoch)
        return self.report["estimated_churn"] > self._reassign_churn

    def _recluster(self, epoch: int) -> None:
        previous = self.latest
        self.latest = self._cluster(epoch)
        self._start_head(epoch, previous)
        clustering = self.latest.clustering
        self._sampler.set_labels(clustering.assignments)
        self.clustered = True
        self.report |= self._figures(previous)
        self._warn(self.latest)
        self._on_clustered(epoch, clustering)
        # The pipelines that read for a clustering leave graphs behind that refer to themselves.
        # Left to Python's own time, they pile up over some hundred epochs.
        gc.collect()
        # The descriptors of the clustering before, and what was needed to make these.
        return_freed_memory()

    def _start_head(self, epoch: int, previous: ClusteringOfImages | None) -> None:
        """Gives the head weights for the latest clusters; matched ones are renumbered for it."""
        latest = self.latest
        if self._head_start == "centroids":
            centers = latest.whitening.features_at(latest.clustering.centroids)
            self._trainer.start_head_from(centers)
            return
        continued = None
        if self._head_start == "matched" and previous is not None:
            numbers, continued = match_clusters(
                previous.clustering.assignments,
                latest.clustering.assignments,
                len(latest.clustering.sizes),
            )
            self.latest = renumbered(latest, numbers)
        self._trainer.redraw_head(self._seed, epoch, keep=continued)

    def _figures(self, previous: ClusteringOfImages | None) -> dict[str, float]:
        """What the logs say about the latest clustering."""
        clustering, whitening = self.latest.clustering, self.latest.whitening
        return (
            clustering_figures(
                clustering,
                whitening,
                previous=None if previous is None else previous.clustering.assignments,
                labels=self._labels,
            )
            | self.latest.views
        )

    def _warn(self, latest: ClusteringOfImages) -> None:
        """Says once what a user should know about the clusters."""
        clustering = latest.clustering
        if clustering.empty_after and "empty" not in self._warned:
            self._warned.add("empty")
            logging.warning(
                "%d of %d clusters stay empty: the images give fewer distinct features than that. "
                "Training goes on with the others. Use a smaller --num_clusters, or look for "
                "duplicate images.",
                clustering.empty_after,
                len(clustering.sizes),
            )
        if clustering.merged and "merged" not in self._warned:
            self._warned.add("merged")
            logging.warning(
                "%d clusters were found, and the smallest %d merged into others: the head has %d "
                "outputs. Use a larger --num_clusters to keep them.",
                len(clustering.sizes) + clustering.merged,
                clustering.merged,
                len(clustering.sizes),
            )


def clustering_figures(
    clustering: Clustering,
    whitening: Whitening,
    *,
    previous: np.ndarray | None,
    labels: np.ndarray | None,
) -> dict[str, float]:
    """The figures by which a clustering is judged.

    Args:
        clustering: The clustering.
        whitening: The whitening of its descriptors.
        previous: Assignments of the clustering before, or None.
        labels: Labels of the data set, or None.

    Returns:
        Plain floats and integers by name.
    """
    figures = {
        "objective": float(clustering.objectives[-1]),
        "clusters": len(clustering.sizes),
        **size_statistics(clustering.assignments, len(clustering.sizes)),
        "empty_before_repair": clustering.empty_before,
        "descriptor_dim": whitening.output_dim,
        "explained_variance": whitening.explained_variance,
        "effective_rank": whitening.effective_rank,
    }
    if previous is not None:
        figures["nmi_previous"] = normalized_mutual_information(clustering.assignments, previous)
        figures["churn"] = churn(previous, clustering.assignments)
    if labels is not None:
        figures["nmi_labels"] = normalized_mutual_information(clustering.assignments, labels)
    return figures

"""The callback that alternates clustering with training: the outer loop of the method.

At the beginning of an epoch that is due, it computes the descriptors of all images with the network
as it is, clusters them, starts the head anew and hands the new pseudo-labels to the pipeline. Keras
then makes a fresh iterator, which sees them: one `model.fit` runs all epochs.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator

import keras
import numpy as np
from absl import logging

from dc_keras.clustering.features import FeatureExtractor, compute_descriptors
from dc_keras.clustering.kmeans import PUBLISHED, KMeansOptions, nearest_centroids
from dc_keras.clustering.matching import match_clusters
from dc_keras.clustering.pseudo_labels import Clustering, assign_pseudo_labels
from dc_keras.clustering.whitening import Whitening
from dc_keras.data.ordered import ordered_batches
from dc_keras.data.samplers import Sampler
from dc_keras.data.stand_ins import LOOK_AHEAD, READ_ERRORS, SourceWithStandIns
from dc_keras.evaluation.cluster_quality import (
    normalized_mutual_information,
    size_statistics,
)
from dc_keras.models.deepcluster import DeepCluster
from dc_keras.runtime import numpy_rng

# The standard error of a fraction of so many images is below 0.8 %.
CHURN_IMAGES = 4096


@dataclasses.dataclass(frozen=True)
class ClusteringOfImages:
    """One clustering of all images, what it was made with and what it took.

    Attributes:
        clustering: Pseudo-labels and centroids.
        whitening: From features to the descriptors that were clustered.
        seconds: Time of each stage: features, pca, and kmeans with repair (or pic).
    """

    clustering: Clustering
    whitening: Whitening
    seconds: dict[str, float]


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
        return extract_features(
            source,
            extractor,
            indices,
            image_size=image_size,
            batch_size=batch_size,
            clusters=clusters,
        )

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
    seconds = {
        "features": finished - started - described.pca_seconds,
        "pca": described.pca_seconds,
        method: time.monotonic() - finished,
    }
    return ClusteringOfImages(clustering, described.whitening, seconds)


def extract_features(
    source: SourceWithStandIns,
    extractor: FeatureExtractor,
    indices: np.ndarray,
    *,
    image_size: int,
    batch_size: int,
    clusters: np.ndarray | None,
) -> Iterator[np.ndarray]:
    """Yields the features of images batch by batch, with stand-ins for those that have vanished.

    Args:
        source: The images.
        extractor: Computes the features.
        indices: Which images, in which order, integers `(m,)`.
        image_size: Side of the network's input in pixels.
        batch_size: Images in a step.
        clusters: The latest clusters, to choose stand-ins by, int32 `(n,)`, or None.

    Yields:
        Features, float32 `(b, feature_dim)`.

    Raises:
        InputError: If too many images are gone.
    """
    done, failed_at = 0, -1
    while done < len(indices):
        batches = ordered_batches(
            source, indices[done:], image_size=image_size, batch_size=batch_size
        )
        try:
            for features in extractor(batches):
                yield features
                done += len(features)
        except READ_ERRORS:
            upcoming = indices[done : done + max(batch_size, LOOK_AHEAD)]
            if not source.replace_unreadable(upcoming, clusters) and failed_at == done:
                raise
            failed_at = done


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
    features = extract_features(
        source,
        extractor,
        sample,
        image_size=image_size,
        batch_size=batch_size,
        clusters=made.clustering.assignments,
    )
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
        seed: The run's seed.
        on_clustered: Called with (epoch from 0, clustering) after each clustering.

    Attributes:
        latest: The last clustering of images, or None.
        clustered: Whether the epoch began with a clustering.
        report: Figures of that clustering, by name, for logs; without one, at most its churn.
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
        self._seed = seed
        self._on_clustered = on_clustered
        self._warned: set[str] = set()
        self.latest: ClusteringOfImages | None = None
        self.clustered = False
        self.report: dict[str, float] = {}
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
        if epoch == self._under_way:
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
        self.report["churn"] = self._churn(epoch)
        return self.report["churn"] > self._reassign_churn

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
        return clustering_figures(
            clustering,
            whitening,
            previous=None if previous is None else previous.clustering.assignments,
            labels=self._labels,
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
    if labels is not None:
        figures["nmi_labels"] = normalized_mutual_information(clustering.assignments, labels)
    return figures

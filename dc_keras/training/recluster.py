"""The callback that alternates clustering with training: the outer loop of the method.

At the beginning of an epoch that is due, it clusters all images by the features of the network as
it is, starts the head anew and hands the new pseudo-labels to the pipeline. Keras then makes a
fresh iterator, which sees them: one `model.fit` runs all epochs.
"""

import dataclasses
import gc
from collections.abc import Callable

import keras
from absl import logging

from dc_keras.clustering.pseudo_labels import Clustering
from dc_keras.data.batches.sampler import Sampler
from dc_keras.models.deepcluster import DeepCluster
from dc_keras.process import return_freed_memory
from dc_keras.training.image_clustering import ClusteredImages, ImageClusterer
from dc_keras.training.turn import Turn, TurnFollower


def is_due(epoch: int, reassign: float) -> bool:
    """Whether a clustering is due at the beginning of an epoch.

    Args:
        epoch: Number of the epoch, from 0.
        reassign: Epochs between two clusterings, at least 1.

    Returns:
        True at the first epoch that begins on or after each multiple of `reassign`.

    >>> [epoch for epoch in range(8) if is_due(epoch, reassign=2.5)]
    [0, 3, 5]
    """
    return epoch == 0 or int(epoch / reassign) > int((epoch - 1) / reassign)


class Recluster(keras.callbacks.Callback):
    """Clusters the images every `reassign` epochs and starts the next turn of training.

    Args:
        model: The trainer, whose head starts anew.
        sampler: Takes the pseudo-labels.
        clusterer: Clusters the images.
        reassign: Epochs between two clusterings. Up to 1 every Keras epoch begins with one: it
            is then as long as a turn.
        head_start: What the head starts from: "redrawn" or "centroids"; see `TrainingConfig`.
        seed: The run's seed.
        on_clustered: Called with the turn that begins, after each clustering.
    """

    def __init__(
        self,
        model: DeepCluster,
        sampler: Sampler,
        clusterer: ImageClusterer,
        *,
        reassign: float,
        head_start: str = "redrawn",
        seed: int,
        on_clustered: Callable[[Turn], None] = lambda turn: None,
    ):
        super().__init__()
        self._trainer = model
        self._sampler = sampler
        self._clusterer = clusterer
        self._reassign = reassign
        self._head_start = head_start
        self._seed = seed
        self._on_clustered = on_clustered
        self._followers: tuple[TurnFollower, ...] = ()
        self._warned: set[str] = set()
        self._turn: Turn | None = None

    @property
    def turn(self) -> Turn | None:
        """What the latest epoch began with; None before the first."""
        return self._turn

    def tell(self, *followers: TurnFollower) -> None:
        """Has others told what each epoch begins with, in this order."""
        self._followers = followers

    def restore(self, turn: Turn) -> None:
        """Goes on with what a checkpoint holds.

        Args:
            turn: Of the epoch that is done; or of one that is under way, whose beginning will then
                be left out.
        """
        self._turn = turn
        self._sampler.set_labels(turn.clusters.assignments)
        self._sampler.begin_epoch(self._seed, turn.epoch)

    def on_epoch_begin(self, epoch, logs=None):
        if self._turn is not None and self._turn.epoch == epoch:
            self._turn = dataclasses.replace(self._turn, taken_up=True)
        else:
            self._turn = self._begin(epoch, self._turn)
        for follower in self._followers:
            follower.begin_turn(self._turn)

    def _begin(self, epoch: int, before: Turn | None) -> Turn:
        """Clusters the images if that is due, and makes the draws those of the epoch."""
        if before is None or is_due(epoch, max(self._reassign, 1.0)):
            turn = self._recluster(epoch, before)
        else:
            turn = dataclasses.replace(
                before, epoch=epoch, figures={}, clustered=False, taken_up=False
            )
        self._sampler.begin_epoch(self._seed, epoch)
        self._trainer.reseed_dropout(self._seed, epoch)
        return turn

    def _recluster(self, epoch: int, before: Turn | None) -> Turn:
        previous = None if before is None else before.shown_assignments
        made = self._clusterer.cluster(epoch, previous)
        self._start_head(epoch, made)
        self._sampler.set_labels(made.clusters.assignments)
        turn = Turn(
            epoch=epoch,
            clusters=made.clusters,
            numbers=made.numbers,
            whitening=made.whitening,
            figures=made.figures,
            seconds=made.seconds,
            clustered=True,
        )
        self._warn(made.clusters)
        self._on_clustered(turn)
        # The pipelines that read for a clustering leave graphs behind that refer to themselves.
        # Left to Python's own time, they pile up over some hundred epochs.
        gc.collect()
        # The descriptors of the clustering before, and what was needed to make these.
        return_freed_memory()
        return turn

    def _start_head(self, epoch: int, made: ClusteredImages) -> None:
        """Gives the head weights for the latest clusters."""
        if self._head_start == "centroids":
            self._trainer.start_head_from(made.whitening.features_at(made.clusters.centroids))
        else:
            self._trainer.redraw_head(self._seed, epoch)

    def _warn(self, clusters: Clustering) -> None:
        """Says once what a user should know about the clusters."""
        if clusters.empty_after and "empty" not in self._warned:
            self._warned.add("empty")
            logging.warning(
                "%d of %d clusters stay empty: the images give fewer distinct features than that. "
                "Training goes on with the others. Use a smaller --num_clusters, or look for "
                "duplicate images.",
                clusters.empty_after,
                len(clusters.sizes),
            )
        if clusters.merged and "merged" not in self._warned:
            self._warned.add("merged")
            logging.warning(
                "%d clusters were found, and the smallest %d merged into others: the head has %d "
                "outputs. Use a larger --num_clusters to keep them.",
                len(clusters.sizes) + clusters.merged,
                clusters.merged,
                len(clusters.sizes),
            )

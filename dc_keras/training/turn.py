"""What one turn of the loop begins with: handed from the clustering to all that report on it."""

import dataclasses
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from dc_keras.clustering.pseudo_labels import Clusters
from dc_keras.clustering.whitening import Whitening


@dataclasses.dataclass(frozen=True)
class Turn:
    """The clusters that an epoch learns, and how it came by them.

    Attributes:
        epoch: Number of the epoch, from 0.
        clusters: What the network learns to predict.
        numbers: The number that each cluster is shown under, a permutation, int32
            `(num_clusters,)`: that of the cluster it continues.
        whitening: From features to the descriptors that were clustered.
        figures: What the logs say of the clustering, by name; empty if the epoch began with none.
        seconds: What the stages of the clustering took.
        clustered: Whether the epoch began with a clustering.
        taken_up: Whether the epoch had begun before and is taken up in its middle.
    """

    epoch: int
    clusters: Clusters
    numbers: np.ndarray
    whitening: Whitening
    figures: Mapping[str, float]
    seconds: Mapping[str, float]
    clustered: bool
    taken_up: bool = False

    @property
    def shown_assignments(self) -> np.ndarray:
        """Cluster of each image by the number it is shown under, int32 `(n,)`."""
        return self.numbers[self.clusters.assignments]


class TurnFollower(Protocol):
    """What is told what an epoch begins with."""

    def begin_turn(self, turn: Turn) -> None:
        """Takes what the epoch begins with, after its clustering and before its first step."""

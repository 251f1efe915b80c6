"""What a training leaves for use: RUN/model.

    network.keras       the network, from uint8 images to logits
    whitening.npz       from its features to descriptors
    centroids.npy       of the clusters, among descriptors
    clusters.csv        the cluster of every image, by its path
    training.json       how many epochs it was trained for

Weights of PyTorch that were imported have network.keras alone.
"""

import csv
import dataclasses
import json
import pathlib
from collections.abc import Sequence

import keras
import numpy as np

from dc_keras.clustering.pseudo_labels import Clusters
from dc_keras.clustering.whitening import Whitening
from dc_keras.errors import InputError
from dc_keras.files import write_atomically, write_directory_atomically
from dc_keras.models.saved_network import load_network
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.whitening_file import load_whitening, save_whitening

_NETWORK, _WHITENING, _CENTROIDS = "network.keras", "whitening.npz", "centroids.npy"
_CLUSTERS, _TRAINING = "clusters.csv", "training.json"


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A network with the clusters that its features make.

    Attributes:
        network: From uint8 images `(n, s, s, 3)` to logits.
        whitening: From features to descriptors.
        centroids: Of the clusters, float32 `(num_clusters, dim)`.
    """

    network: keras.Model
    whitening: Whitening
    centroids: np.ndarray


def save_network(folder: pathlib.Path, network: keras.Model) -> None:
    """Writes a network alone into the folder of a model."""
    network.save(folder / _NETWORK)


def save_model(
    run: RunDirectory,
    network: keras.Model,
    clusters: Clusters,
    whitening: Whitening,
    names: Sequence[str],
    epochs: int,
) -> None:
    """Writes the trained network and the clusters of all images as it sees them at the end.

    Args:
        run: Where to write.
        network: The trained network.
        clusters: A clustering by the features of this very network.
        whitening: Of that clustering.
        names: The images' names.
        epochs: How many the network was trained for.
    """
    with write_directory_atomically(run.model) as folder:
        save_network(folder, network)
        (folder / _TRAINING).write_text(json.dumps({"epochs": epochs}) + "\n")
        save_whitening(folder / _WHITENING, whitening)
        with write_atomically(folder / _CENTROIDS, "wb") as file:
            np.save(file, clusters.centroids)
        with write_atomically(folder / _CLUSTERS) as file:
            writer = csv.writer(file)
            writer.writerow(["index", "path", "cluster"])
            rows = zip(names, clusters.assignments.tolist(), strict=True)
            writer.writerows((index, *row) for index, row in enumerate(rows))


def is_complete(run: RunDirectory, epochs: int) -> bool:
    """Whether the model of a training of so many epochs was written."""
    try:
        return json.loads((run.model / _TRAINING).read_text())["epochs"] == epochs
    except FileNotFoundError:
        return False


def load_model(run: RunDirectory) -> TrainedModel:
    """Loads what `save_model` wrote.

    Raises:
        InputError: If the run has no model yet, or one without clusters.
    """
    if not run.model.is_dir():
        raise InputError(
            f"The run has no final clusters yet. Received: --run_dir={run.path}. Expected a run "
            f"that has finished; go on with: python train.py --flagfile={run.flags}"
        )
    if not (run.model / _CENTROIDS).exists():
        raise InputError(
            f"The run has no clusters. Received: --run_dir={run.path}, whose weights were "
            "imported: PyTorch's file holds neither whitening nor centroids. Expected a run of "
            "train.py; the features of this one are there by dc-keras export."
        )
    return TrainedModel(
        network=load_network(run.model / _NETWORK),
        whitening=load_whitening(run.model / _WHITENING),
        centroids=np.load(run.model / _CENTROIDS, allow_pickle=False),
    )

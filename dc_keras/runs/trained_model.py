"""What a training leaves for use: RUN/model.

    network.keras       the network, from uint8 images to logits
    whitening.npz       from its features to descriptors
    centroids.npy       of the clusters, among descriptors
    clusters.csv        the cluster of every image, by its path, for people: see spreadsheet_text
    training.json       how many epochs it was trained for
    SHA256SUMS          of all of them; models of older versions have none

Weights of PyTorch that were imported have network.keras alone. A run of given features has these in
place of a network:

    features.npy        float32 (n, d), rows as in the manifest
"""

import csv
import dataclasses
import importlib.util
import json
import pathlib
from collections.abc import Callable, Collection, Iterable, Sequence

import keras
import numpy as np

from dc_keras.clustering.pseudo_labels import Clusters
from dc_keras.clustering.whitening import Whitening
from dc_keras.errors import InputError
from dc_keras.files import spreadsheet_text, write_atomically, write_directory_atomically
from dc_keras.models.feature_extractor import FEATURES, feature_model
from dc_keras.models.saved_network import load_network
from dc_keras.runs.checksums import SUMS, DamagedFilesError, check_sums, write_sums
from dc_keras.runs.given import load_given
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.whitening_file import load_whitening, save_whitening

_NETWORK, _WHITENING, _CENTROIDS = "network.keras", "whitening.npz", "centroids.npy"
_CLUSTERS, _TRAINING = "clusters.csv", "training.json"
_FEATURES = "features.npy"
_TRAINED = (_NETWORK, _WHITENING, _CENTROIDS, _CLUSTERS, _TRAINING)
_ALL = (*_TRAINED, _FEATURES)


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A network, or given features, with the clusters that the features make.

    Attributes:
        network: From uint8 images `(n, s, s, 3)` to logits, or None.
        whitening: From features to descriptors.
        centroids: Of the clusters, float32 `(num_clusters, dim)`.
        features: Where there is no network, those of the run's images, float32 `(n, d)`, rows as in
            the manifest, mapped from their file.
    """

    network: keras.Model | None
    whitening: Whitening
    centroids: np.ndarray
    features: np.ndarray | None = None

    def feature_network(self) -> keras.Model:
        """The network up to its features.

        Raises:
            InputError: If there is none.
        """
        if self.network is None:
            raise InputError(
                "The run has no network, which features of other images could be had from: its own "
                "were given. Expected a run of train.py, or one of dc-keras cluster --network."
            )
        return feature_model(self.network, FEATURES)


def save_network(folder: pathlib.Path, network: keras.Model) -> None:
    """Writes a network alone into the folder of a model."""
    network.save(folder / _NETWORK)
    write_sums(folder)


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
    _save(
        run,
        lambda folder: network.save(folder / _NETWORK),
        (clusters, whitening),
        names,
        epochs,
    )


def save_model_of_features(
    run: RunDirectory,
    features: Iterable[np.ndarray],
    clusters: Clusters,
    whitening: Whitening,
    names: Sequence[str],
) -> None:
    """Writes given features in place of a network, and the clusters that they make.

    Args:
        run: Where to write.
        features: Of all images, block by block, float32 `(b, d)`.
        clusters: A clustering by them.
        whitening: Of that clustering.
        names: The images' names.
    """
    shape = (len(names), len(whitening.mean))

    def write(folder: pathlib.Path) -> None:
        with write_atomically(folder / _FEATURES, "wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for block in features:
                file.write(np.ascontiguousarray(block, "<f4").tobytes())

    _save(run, write, (clusters, whitening), names, epochs=0)


def _save(
    run: RunDirectory,
    write: Callable[[pathlib.Path], None],
    found: tuple[Clusters, Whitening],
    names: Sequence[str],
    epochs: int,
) -> None:
    """Writes what `write` does, and beside it what was found by it."""
    clusters, whitening = found
    run.look_again()
    with write_directory_atomically(run.model) as folder:
        write(folder)
        (folder / _TRAINING).write_text(json.dumps({"epochs": epochs}) + "\n")
        save_whitening(folder / _WHITENING, whitening)
        with write_atomically(folder / _CENTROIDS, "wb") as file:
            np.save(file, clusters.centroids)
        with write_atomically(folder / _CLUSTERS) as file:
            writer = csv.writer(file)
            writer.writerow(["index", "path", "cluster"])
            rows = zip(map(spreadsheet_text, names), clusters.assignments.tolist(), strict=True)
            writer.writerows((index, *row) for index, row in enumerate(rows))
        write_sums(folder)


def is_complete(run: RunDirectory, epochs: int) -> bool:
    """Whether the model of a training of so many epochs was written, and is as it was."""
    try:
        _check_files(run.model, _TRAINED)
        return json.loads((run.model / _TRAINING).read_bytes())["epochs"] == epochs
    except (DamagedFilesError, OSError, ValueError, KeyError, TypeError):
        return False


def load_model(run: RunDirectory) -> TrainedModel:
    """Loads what `save_model` wrote.

    Raises:
        InputError: If the run has no model yet, one without clusters, or one that is damaged.
    """
    if not run.model.is_dir():
        raise InputError(
            f"The run has no final clusters yet. Received: --run_dir={run.path}. Expected a run "
            f"that has finished; go on with: python train.py --flagfile={run.flags}"
        )
    if not any((run.model / name).exists() for name in _ALL if name != _NETWORK):
        raise InputError(
            f"The run has no clusters. Received: --run_dir={run.path}, whose weights were "
            "imported: PyTorch's file holds neither whitening nor centroids. Expected a run of "
            "train.py; the features of this one are there by dc-keras export."
        )
    # A run of given features has noted so beside them.
    given = load_given(run)
    has_network = given is None or given.is_network
    if given and given.file.startswith("keras_hub:") and not importlib.util.find_spec("keras_hub"):
        raise InputError(
            f"The run's network is one of keras_hub, which is not installed. Received: --run_dir="
            f"{run.path}. Install it with: pip install keras-hub"
        )
    try:
        _check_files(run.model, (_NETWORK if has_network else _FEATURES, _WHITENING, _CENTROIDS))
        model = TrainedModel(
            network=load_network(run.model / _NETWORK) if has_network else None,
            whitening=load_whitening(run.model / _WHITENING),
            centroids=np.load(run.model / _CENTROIDS, allow_pickle=False),
            features=None
            if has_network
            else np.load(run.model / _FEATURES, mmap_mode="r", allow_pickle=False),
        )
        if model.centroids.shape[1:] != (model.whitening.output_dim,):
            raise DamagedFilesError(f"{_CENTROIDS} does not fit {_WHITENING}")
        if model.features is not None and model.features.shape[1:] != model.whitening.mean.shape:
            raise DamagedFilesError(f"{_FEATURES} does not fit {_WHITENING}")
        return model
    # A damaged file can make its reader raise anything.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        wrote, remedy = (
            "train.py",
            (
                "remove that folder and write it anew from the last checkpoint with: "
                f"python train.py --flagfile={run.flags}"
            ),
        )
        if given:
            wrote, remedy = "dc-keras cluster", "cluster anew into another --run_dir"
        raise InputError(
            f"The trained model is damaged. Received: {run.model} ({reason}). Expected the files "
            f"that {wrote} wrote. Bring them back from a backup, or {remedy}"
        ) from error


def _check_files(folder: pathlib.Path, required: Collection[str]) -> None:
    """Checks that files are there, and as they were written where that is known.

    Raises:
        DamagedFilesError: If they are not.
    """
    if (folder / SUMS).exists():
        check_sums(folder, required, known=_ALL)
    for name in required:
        if not (folder / name).is_file():
            raise DamagedFilesError(f"{name} is missing")

"""What a training leaves for use: RUN/model.

    network.keras       the network, from uint8 images to logits
    whitening.npz       from its features to descriptors
    centroids.npy       of the clusters, among descriptors
    clusters.csv        the cluster of every image, by its path, for people: see spreadsheet_text
    training.json       how many epochs it was trained for, from which distance on an image is an
                        outlier, and which number of clusters was asked for
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
from collections.abc import Collection, Iterable, Sequence

import keras
import numpy as np

from dc_keras.clustering.whitening import Whitening
from dc_keras.errors import InputError
from dc_keras.files import spreadsheet_text, write_atomically, write_directory_atomically
from dc_keras.models.feature_extractor import FEATURES, feature_model
from dc_keras.models.saved_network import load_network
from dc_keras.runs.checksums import SUMS, DamagedFilesError, check_sums, write_sums
from dc_keras.runs.given import load_given
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.whitening_file import load_whitening, save_whitening

NETWORK, _WHITENING, _CENTROIDS = "network.keras", "whitening.npz", "centroids.npy"
_CLUSTERS, _TRAINING = "clusters.csv", "training.json"
_FEATURES = "features.npy"
_TRAINED = (NETWORK, _WHITENING, _CENTROIDS, _CLUSTERS, _TRAINING)
_ALL = (*_TRAINED, _FEATURES)


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A network, or given features, with the clusters that the features make.

    Attributes:
        network: From uint8 images `(n, s, s, 3)` to logits, or None.
        whitening: From features to descriptors.
        centroids: Of the clusters, float32 `(num_clusters, dim)`.
        outlier_distance: From its centroid, above which an image is an outlier; None in models of
            older versions.
        features: Where there is no network, those of the run's images, float32 `(n, d)`, rows as in
            the manifest, mapped from their file.
    """

    network: keras.Model | None
    whitening: Whitening
    centroids: np.ndarray
    outlier_distance: float | None = None
    features: np.ndarray | None = None

    def known_network(self) -> keras.Model:
        """The network.

        Raises:
            InputError: If there is none.
        """
        if self.network is None:
            raise InputError(
                "The run has no network: the features of its images were given. Expected a run of "
                "train.py, or one of dc-keras cluster --network; dc-keras assign takes features of "
                "other images with --embeddings."
            )
        return self.network

    def feature_network(self) -> keras.Model:
        """The network up to its features.

        Raises:
            InputError: If there is none.
        """
        return feature_model(self.known_network(), FEATURES)


def save_network(folder: pathlib.Path, network: keras.Model) -> None:
    """Writes a network alone into the folder of a model."""
    network.save(folder / NETWORK)
    write_sums(folder)


def save_model(
    run: RunDirectory,
    model: TrainedModel,
    assignments: np.ndarray,
    names: Sequence[str],
    epochs: int,
    features: Iterable[np.ndarray] = (),
    final_clusters: int = 0,
) -> None:
    """Writes the trained network and the clusters of all images as it sees them at the end.

    Args:
        run: Where to write.
        model: The trained network, with a clustering by its features.
        assignments: Cluster of each image, int32 `(n,)`.
        names: The images' names.
        epochs: How many the network was trained for.
        features: Where the model has no network, those of all images in its place, block by block,
            float32 `(b, d)`.
        final_clusters: Clusters that were asked for, where they are not those of the training.
    """
    run.look_again()
    with write_directory_atomically(run.model) as folder:
        if model.network is not None:
            model.network.save(folder / NETWORK)
        else:
            _save_features(folder, features, (len(names), len(model.whitening.mean)))
        training = {
            "epochs": epochs,
            "outlier_distance": model.outlier_distance,
            "final_clusters": final_clusters,
        }
        (folder / _TRAINING).write_text(json.dumps(training) + "\n")
        save_whitening(folder / _WHITENING, model.whitening)
        with write_atomically(folder / _CENTROIDS, "wb") as file:
            np.save(file, model.centroids)
        with write_atomically(folder / _CLUSTERS) as file:
            writer = csv.writer(file)
            writer.writerow(["index", "path", "cluster"])
            rows = zip(map(spreadsheet_text, names), assignments.tolist(), strict=True)
            writer.writerows((index, *row) for index, row in enumerate(rows))
        write_sums(folder)


def _save_features(
    folder: pathlib.Path, features: Iterable[np.ndarray], shape: tuple[int, int]
) -> None:
    """Writes blocks of features as one array, which need not fit into memory."""
    with write_atomically(folder / _FEATURES, "wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in features:
            file.write(np.ascontiguousarray(block, "<f4").tobytes())


def is_complete(run: RunDirectory, epochs: int, final_clusters: int = 0) -> bool:
    """Whether the model of such a training was written, and is as it was.

    Args:
        run: The run.
        epochs: Of the training.
        final_clusters: As for `save_model`.
    """
    try:
        _check_files(run.model, _TRAINED)
        training = json.loads((run.model / _TRAINING).read_bytes())
        # Models of older versions have those of the training.
        asked = training.get("final_clusters", 0)
        return training["epochs"] == epochs and asked == final_clusters
    except (DamagedFilesError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def has_clusters(run: RunDirectory) -> bool:
    """Whether the run has a model with clusters: not before it has finished, nor if imported."""
    return any((run.model / name).exists() for name in _ALL if name != NETWORK)


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
    if not has_clusters(run):
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
        _check_files(run.model, (NETWORK if has_network else _FEATURES, _WHITENING, _CENTROIDS))
        model = TrainedModel(
            network=load_network(run.model / NETWORK) if has_network else None,
            whitening=load_whitening(run.model / _WHITENING),
            centroids=np.load(run.model / _CENTROIDS, allow_pickle=False),
            outlier_distance=_outlier_distance(run.model / _TRAINING),
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


def _outlier_distance(path: pathlib.Path) -> float | None:
    """What a model says of it; those of older versions say nothing.

    Raises:
        DamagedFilesError: If it says something else.
    """
    if not path.exists():
        return None
    told = json.loads(path.read_bytes()).get("outlier_distance")
    if told is not None and not (isinstance(told, float) and told >= 0):
        raise DamagedFilesError(f"{path.name} has no distance, but {told!r}")
    return told


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

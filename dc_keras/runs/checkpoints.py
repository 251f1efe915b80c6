"""Checkpoints: everything that a run needs to go on as if it had never stopped.

    epoch-0003/                     after epoch 3
    epoch-0004-step-000120/         in epoch 4, after its step 120
        weights.npz                 of the network
        optimizers.npz              of both optimizers
        means.npz                   loss and accuracy of the epoch so far, place in dropout's draws
        clusters.npz                pseudo-labels, centroids, numbers that clusters are shown under
        whitening.npz
        state.json                  epoch, step, figures of the clustering
        SHA256SUMS                  of all of them, as `sha256sum --check SHA256SUMS` reads it

Sampling, augmentation, head, PCA and k-means draw from (seed, purpose, epoch, position), so their
place is the epoch and the step.
"""

import dataclasses
import hashlib
import json
import pathlib
from typing import NamedTuple

import keras
import numpy as np

from dc_keras.clustering.pseudo_labels import Clusters
from dc_keras.clustering.whitening import Whitening
from dc_keras.errors import InputError
from dc_keras.files import write_directory_atomically
from dc_keras.runs.whitening_file import load_whitening, save_whitening

_WEIGHTS, _OPTIMIZERS, _MEANS = "weights.npz", "optimizers.npz", "means.npz"
_CLUSTERS, _WHITENING = "clusters.npz", "whitening.npz"
_STATE, _SUMS = "state.json", "SHA256SUMS"


class DamagedCheckpointError(Exception):
    """A checkpoint that is not as it was written; the one before may still be."""


class Place(NamedTuple):
    """How far a training has come.

    Attributes:
        epoch: Epochs that are done.
        step: Steps of the next one that are done too.
    """

    epoch: int
    step: int = 0


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds beside what is loaded into the model.

    Attributes:
        place: How far the training has come.
        clusters: Those of the last clustering.
        numbers: The number that each of its clusters is shown under, int32 `(num_clusters,)`.
        whitening: The whitening that its descriptors were made with.
        clustered: Whether the epoch that is under way began with a clustering.
        figures: What the logs say of that beginning, by name.
        seconds: What the stages of the last clustering took.
    """

    place: Place
    clusters: Clusters
    numbers: np.ndarray
    whitening: Whitening
    clustered: bool = False
    figures: dict[str, float] = dataclasses.field(default_factory=dict)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)


def write_checkpoint(path: pathlib.Path, model: keras.Model, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint beside its place and renames it.

    Args:
        path: Its folder.
        model: The compiled `DeepCluster` model.
        checkpoint: What goes with its weights.

    Raises:
        CannotWriteError: If the disk is full, or does not let it be written.
    """
    with write_directory_atomically(path) as folder:
        _save_variables(folder / _WEIGHTS, _weights(model))
        _save_variables(folder / _OPTIMIZERS, _optimizer_variables(model))
        _save_variables(folder / _MEANS, _epoch_variables(model))
        np.savez(
            folder / _CLUSTERS,
            assignments=checkpoint.clusters.assignments,
            centroids=checkpoint.clusters.centroids,
            numbers=checkpoint.numbers,
        )
        save_whitening(folder / _WHITENING, checkpoint.whitening)
        state = {
            **checkpoint.place._asdict(),
            "clustered": checkpoint.clustered,
            "report": checkpoint.figures,
            "seconds": checkpoint.seconds,
        }
        _finish(folder, state)


def write_weights(path: pathlib.Path, network: keras.Model, epoch: int) -> None:
    """Writes a checkpoint of weights alone: to evaluate and export, not to train on.

    Args:
        path: Its folder.
        network: Its weights are written.
        epoch: How many epochs they were trained for.
    """
    with write_directory_atomically(path) as folder:
        _save_variables(folder / _WEIGHTS, _weights(network))
        _finish(folder, {"epoch": epoch})


def load_checkpoint(path: pathlib.Path, model: keras.Model) -> Checkpoint:
    """Loads a checkpoint: weights, optimizers and means into the model, the rest as a value.

    Args:
        path: The checkpoint's folder.
        model: A compiled `DeepCluster` model of the same architecture.

    Returns:
        What the checkpoint holds beside that.

    Raises:
        DamagedCheckpointError: If it is not as it was written. The model is unchanged.
        InputError: If this is no checkpoint, or one of another architecture.
    """
    verify(path)
    if not (path / _OPTIMIZERS).exists():
        raise InputError(
            f"The checkpoint holds weights alone, so no training can go on from it. Received: "
            f"{path}, which was imported. Expected one that train.py wrote."
        )
    _load_variables(path / _WEIGHTS, _weights(model))
    _load_variables(path / _OPTIMIZERS, _optimizer_variables(model))
    _load_variables(path / _MEANS, _epoch_variables(model))
    state = json.loads((path / _STATE).read_text())
    with open(path / _CLUSTERS, "rb") as file, np.load(file, allow_pickle=False) as arrays:
        centroids = arrays["centroids"]
        return Checkpoint(
            place=Place(state["epoch"], state["step"]),
            clusters=Clusters(arrays["assignments"], centroids),
            # Older checkpoints have none: clusters were shown under their own.
            numbers=arrays.get("numbers", np.arange(len(centroids), dtype=np.int32)),
            whitening=load_whitening(path / _WHITENING),
            clustered=state["clustered"],
            figures=state["report"],
            seconds=state["seconds"],
        )


def load_weights(path: pathlib.Path, network: keras.Model) -> None:
    """Loads a checkpoint's weights into a network.

    Raises:
        DamagedCheckpointError: If it is not as it was written. The network is unchanged.
        InputError: If this is no checkpoint, or one of another architecture.
    """
    verify(path)
    _load_variables(path / _WEIGHTS, _weights(network))


def is_checkpoint(path: pathlib.Path) -> bool:
    """Whether a folder was finished as a checkpoint; damage is found by `verify`."""
    return any((path / name).exists() for name in (_STATE, _SUMS))


def verify(path: pathlib.Path) -> None:
    """Compares all files of a checkpoint with their checksums. Reads them once.

    Raises:
        DamagedCheckpointError: Names the first file that is missing or differs.
        InputError: If there is no checkpoint here.
    """
    if not is_checkpoint(path):
        raise InputError(
            f"There is no checkpoint in this folder. Received: {path}. Expected a folder such as "
            "RUN/checkpoints/epoch-0010."
        )
    try:
        sums = [line.split("  ", 1) for line in (path / _SUMS).read_text().splitlines()]
        if not {_STATE, _WEIGHTS} <= {name for _, name in sums}:
            raise DamagedCheckpointError(f"{_SUMS} is cut off")
        for checksum, name in sums:
            if _sha256(path / name) != checksum:
                raise DamagedCheckpointError(f"{name} differs from its checksum")
    except (OSError, ValueError) as error:
        raise DamagedCheckpointError(str(error)) from error


def _finish(folder: pathlib.Path, state: dict) -> None:
    """Writes state and checksums."""
    (folder / _STATE).write_text(json.dumps(state) + "\n")
    sums = "".join(f"{_sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir()))
    (folder / _SUMS).write_text(sums)


def _sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _weights(model: keras.Model) -> dict[str, keras.Variable]:
    """Weights of a network by name, such as "conv1_1/kernel"."""
    return {variable.path: variable for variable in model.weights}


def _optimizer_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Variables of both optimizers by name."""
    variables = [*model.optimizer.variables, *model.head_optimizer.variables]
    return {variable.path: variable for variable in variables}


def _epoch_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """What an epoch starts anew, by name: running means, and the place in dropout's draws."""
    means = [variable for metric in model.metrics for variable in metric.variables]
    return {variable.path: variable for variable in means} | model.dropout_states


def epoch_state(model: keras.Model) -> dict[str, np.ndarray]:
    """Values of what an epoch starts anew, for `restore_epoch_state`."""
    return {name: variable.numpy() for name, variable in _epoch_variables(model).items()}


def restore_epoch_state(model: keras.Model, state: dict[str, np.ndarray]) -> None:
    """Takes an epoch up again after Keras has started it anew."""
    for name, variable in _epoch_variables(model).items():
        variable.assign(state[name])


def _save_variables(path: pathlib.Path, variables: dict[str, keras.Variable]) -> None:
    np.savez(path, **{name: variable.numpy() for name, variable in variables.items()})


def _load_variables(path: pathlib.Path, variables: dict[str, keras.Variable]) -> None:
    """Loads what `_save_variables` wrote, all or nothing.

    Raises:
        InputError: Names the first variable that is missing, unexpected or of another shape.
    """
    with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
        arrays = dict(file)
    problem = None
    for name, variable in variables.items():
        if name not in arrays:
            problem = f"{name} is missing"
        elif arrays[name].shape != tuple(variable.shape):
            problem = f"{name} has shape {arrays[name].shape}, not {tuple(variable.shape)}"
        if problem:
            break
    if not problem and (unexpected := sorted(set(arrays) - set(variables))):
        problem = f"{unexpected[0]} is unexpected"
    if problem:
        raise InputError(
            f"The checkpoint belongs to another network. Received: {path}, where {problem}. "
            "Expected one of the same --arch, --image_size, --width, --sobel and --num_clusters."
        )
    for name, variable in variables.items():
        variable.assign(arrays[name])

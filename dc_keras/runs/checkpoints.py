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

import contextlib
import dataclasses
import json
import pathlib
import zipfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np

from dc_keras.clustering.pseudo_labels import Clusters
from dc_keras.clustering.whitening import Whitening
from dc_keras.errors import InputError
from dc_keras.files import write_directory_atomically
from dc_keras.runs.checksums import SUMS, DamagedFilesError, check_sums, write_sums
from dc_keras.runs.whitening_file import load_whitening, save_whitening

_WEIGHTS, _OPTIMIZERS, _MEANS = "weights.npz", "optimizers.npz", "means.npz"
_CLUSTERS, _WHITENING = "clusters.npz", "whitening.npz"
_STATE = "state.json"
_ALL = (_WEIGHTS, _OPTIMIZERS, _MEANS, _CLUSTERS, _WHITENING, _STATE)


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

    def __str__(self):
        if not self.step:
            return f"epoch {self.epoch}"
        return f"step {self.step} of epoch {self.epoch + 1}"


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


def write_learning(path: pathlib.Path, model: keras.Model, epoch: int) -> None:
    """Writes what a training with labels goes on from after an epoch: no clusters.

    Args:
        path: Its folder.
        model: A compiled `DeepCluster` model.
        epoch: How many epochs it was trained for.

    Raises:
        CannotWriteError: If the disk is full, or does not let it be written.
    """
    with write_directory_atomically(path) as folder:
        _save_variables(folder / _WEIGHTS, _weights(model))
        _save_variables(folder / _OPTIMIZERS, _optimizer_variables(model))
        _finish(folder, {"epoch": epoch})


def load_learning(path: pathlib.Path, model: keras.Model) -> int:
    """Loads what `write_learning` wrote into a model of the same architecture.

    Returns:
        How many epochs it was trained for.

    Raises:
        DamagedCheckpointError: If it is not as it was written. The model is unchanged.
        InputError: If this is no checkpoint, or one of another architecture.
    """
    verify(path)
    groups = [_weights(model), _optimizer_variables(model)]
    with _explain_damage():
        files = [path / name for name in (_WEIGHTS, _OPTIMIZERS)]
        values = [_read_variables(*pair) for pair in zip(files, groups, strict=True)]
        epoch = int(json.loads((path / _STATE).read_text())["epoch"])
    for variables, arrays in zip(groups, values, strict=True):
        _assign(variables, arrays)
    return epoch


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
            f"{path}, which was imported. Expected one that train.py wrote; a new run starts from "
            "weights with --init_from."
        )
    with _explain_damage():
        groups = [_weights(model), _optimizer_variables(model), _epoch_variables(model)]
        files = [path / name for name in (_WEIGHTS, _OPTIMIZERS, _MEANS)]
        # All are read before the first is changed.
        values = [_read_variables(*pair) for pair in zip(files, groups, strict=True)]
        checkpoint = _read_checkpoint(path)
    for variables, arrays in zip(groups, values, strict=True):
        _assign(variables, arrays)
    return checkpoint


def load_weights(path: pathlib.Path, network: keras.Model) -> None:
    """Loads a checkpoint's weights into a network.

    Raises:
        DamagedCheckpointError: If it is not as it was written. The network is unchanged.
        InputError: If this is no checkpoint, or one of another architecture.
    """
    verify(path)
    variables = _weights(network)
    with _explain_damage():
        arrays = _read_variables(path / _WEIGHTS, variables)
    _assign(variables, arrays)


def read_weights(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads a checkpoint's weights, whatever network they are of.

    Returns:
        Arrays by name, such as "conv1_1/kernel".

    Raises:
        DamagedCheckpointError: If it is not as it was written.
        InputError: If this is no checkpoint.
    """
    verify(path)
    with _explain_damage():
        return _read_arrays(path / _WEIGHTS)


def is_checkpoint(path: pathlib.Path) -> bool:
    """Whether a folder was finished as a checkpoint; damage is found by `verify`."""
    return any((path / name).exists() for name in (_STATE, SUMS))


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
        check_sums(path, required=(_STATE, _WEIGHTS), known=_ALL)
    except DamagedFilesError as error:
        raise DamagedCheckpointError(str(error)) from error


def _finish(folder: pathlib.Path, state: dict) -> None:
    """Writes state and checksums."""
    (folder / _STATE).write_text(json.dumps(state) + "\n")
    write_sums(folder)


@contextlib.contextmanager
def _explain_damage() -> Iterator[None]:
    """Turns what reading a file of another content raises into an error that it is damaged.

    Raises:
        DamagedCheckpointError: In place of these.
    """
    try:
        yield
    except InputError:
        raise
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError, EOFError),
        *(zipfile.BadZipFile, zlib.error),
    ) as error:
        raise DamagedCheckpointError(f"{type(error).__name__}: {error}") from error


def _read_checkpoint(path: pathlib.Path) -> Checkpoint:
    """What a checkpoint holds beside variables; fails where that is not what was written."""
    state = json.loads((path / _STATE).read_text())
    place = Place(state["epoch"], state["step"])
    if not all(isinstance(number, int) and number >= 0 for number in place):
        raise DamagedCheckpointError(f"{_STATE} tells no place")
    with open(path / _CLUSTERS, "rb") as file, np.load(file, allow_pickle=False) as arrays:
        assignments, centroids = arrays["assignments"], arrays["centroids"]
        # Older checkpoints have none: clusters were shown under their own.
        numbers = arrays.get("numbers", np.arange(len(centroids), dtype=np.int32))
    _check_labels(assignments, numbers, len(centroids))
    return Checkpoint(
        place=place,
        clusters=Clusters(assignments, centroids),
        numbers=numbers,
        whitening=load_whitening(path / _WHITENING),
        clustered=state["clustered"],
        figures=dict(state["report"]),
        seconds=dict(state["seconds"]),
    )


def _check_labels(assignments: np.ndarray, numbers: np.ndarray, num_clusters: int) -> None:
    """Checks that pseudo-labels are those of clusters that are there.

    Raises:
        DamagedCheckpointError: If they are not.
    """
    if assignments.ndim != 1 or assignments.dtype.kind not in "iu" or not assignments.size:
        raise DamagedCheckpointError(f"{_CLUSTERS} holds no pseudo-labels")
    smallest, largest = assignments.min(), assignments.max()
    if smallest < 0 or largest >= num_clusters:
        raise DamagedCheckpointError(
            f"{_CLUSTERS} has pseudo-labels {smallest} to {largest} of {num_clusters} clusters"
        )
    if numbers.shape != (num_clusters,) or numbers.dtype.kind not in "iu":
        raise DamagedCheckpointError(f"{_CLUSTERS} does not number its {num_clusters} clusters")


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


def _read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
        return dict(file)


def _read_variables(
    path: pathlib.Path, variables: dict[str, keras.Variable]
) -> dict[str, np.ndarray]:
    """Reads what `_save_variables` wrote of these variables.

    Raises:
        InputError: Names the first variable that is missing or of another shape.
        DamagedCheckpointError: If all are there, and something else beside them.
    """
    arrays = _read_arrays(path)
    problem = None
    for name, variable in variables.items():
        if name not in arrays:
            problem = f"{name} is missing"
        elif arrays[name].shape != tuple(variable.shape):
            problem = f"{name} has shape {arrays[name].shape}, not {tuple(variable.shape)}"
        if problem:
            raise InputError(
                f"The checkpoint belongs to another network. Received: {path}, where {problem}. "
                "Expected one of the same --arch, --image_size, --width, --sobel and "
                "--num_clusters."
            )
        if arrays[name].dtype.kind not in "fiub":
            raise DamagedCheckpointError(f"{path.name} has no numbers for {name}")
    if unexpected := sorted(arrays.keys() - variables.keys()):
        raise DamagedCheckpointError(f"{path.name} has {unexpected[0]}, which is unexpected")
    return arrays


def _assign(variables: dict[str, keras.Variable], arrays: dict[str, np.ndarray]) -> None:
    for name, variable in variables.items():
        variable.assign(arrays[name])

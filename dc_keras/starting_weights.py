"""The weights that a run starts from: random ones, or those that --init_from names.

They can be of a run, finished or not, of a .keras file of this program, or of PyTorch. What is
taken of them is decided in `models.initial_weights`.
"""

import dataclasses
import pathlib

import keras
import numpy as np
import tensorflow as tf

from dc_keras.assembly import build_untrained
from dc_keras.config import TrainingConfig
from dc_keras.errors import InputError
from dc_keras.models.initial_weights import InitialWeights, assign, weights_that_fit
from dc_keras.models.saved_network import load_network
from dc_keras.pytorch.checkpoint import SUFFIXES, read_checkpoint
from dc_keras.runs.checkpoints import is_checkpoint, read_weights
from dc_keras.runs.run_directory import RunDirectory, first_readable
from dc_keras.runs.trained_model import NETWORK

_KERAS = ".keras"
_EXPECTED = (
    f"the folder of a run, a {_KERAS} file such as RUN/model/{NETWORK}, or a checkpoint of PyTorch "
    f"({', '.join(SUFFIXES)})"
)


@dataclasses.dataclass(frozen=True)
class StartingNetwork:
    """A network before its first step.

    Attributes:
        network: From images to logits; None stands for that of `build_untrained`.
        source: Where its weights are from; empty where all are random.
        told: What it was given, in two lines; empty where all are random.
    """

    network: keras.Model | None = None
    source: str = ""
    told: str = ""


def build_from_weights(config: TrainingConfig, strategy: tf.distribute.Strategy) -> StartingNetwork:
    """Builds the network of a run with the weights that --init_from names.

    Args:
        config: The settings.
        strategy: What will run the network.

    Raises:
        InputError: If no weights can be read there, or those of another network; see
            `weights_that_fit`.
    """
    path, arrays = read_arrays(config.init_from)
    # Only the new network is wanted on all replicas.
    with strategy.scope():
        network = build_untrained(config)
    wanted = {variable.path: tuple(variable.shape) for variable in network.weights}
    try:
        initial = weights_that_fit(wanted, arrays)
    except InputError as error:
        raise InputError(f"{error} They are from --init_from={path}.") from error
    with strategy.scope():
        assign(network, initial.taken)
    return StartingNetwork(network, str(path), describe(initial, path))


def starting_network(
    config: TrainingConfig, run: RunDirectory, strategy: tf.distribute.Strategy
) -> StartingNetwork:
    """The network that a run starts from.

    A run that goes on has its weights in checkpoints, so that what --init_from names is not read
    and may be gone.

    Args:
        config: The settings.
        run: Its folder.
        strategy: What will run the network.

    Raises:
        InputError: As `build_from_weights`, or if --resume names a checkpoint to begin with, too.
    """
    if not config.init_from or run.newest_checkpoints():
        return StartingNetwork()
    if config.resume not in ("auto", "never"):
        raise InputError(
            "A run begins with a checkpoint or with weights, and not with both. Received: "
            f"--resume={config.resume} with --init_from={config.init_from}. Leave --init_from out "
            "to go on with the other run's training, or --resume to begin one with its weights."
        )
    return build_from_weights(config, strategy)


def read_arrays(path: str) -> tuple[pathlib.Path, dict[str, np.ndarray]]:
    """Reads the weights of a network by name, such as "conv1_1/kernel".

    Args:
        path: The folder of a run or of one of its checkpoints, or a file; see `--init_from`.

    Returns:
        Where exactly they are from, and the weights.

    Raises:
        InputError: If there are none, or they are damaged, or no file is there.
    """
    source = pathlib.Path(path)
    if source.is_dir():
        return _of_folder(source)
    if not source.is_file():
        raise InputError(
            f"There is nothing to start from. Received: --init_from={path}, where nothing is. "
            f"Expected {_EXPECTED}."
        )
    if source.suffix == _KERAS:
        return source, _of_network(_load_keras(source))
    if source.suffix in SUFFIXES:
        return source, _of_network(read_checkpoint(source).network)
    raise InputError(
        f"Weights cannot be read from this file. Received: --init_from={path}. Expected "
        f"{_EXPECTED}."
    )


def describe(initial: InitialWeights, path: pathlib.Path) -> str:
    """Says in two lines what a network started from.

    >>> initial = InitialWeights({"conv1_1/kernel": np.zeros(1)}, ("fc6", "fc7", "head"), "so")
    >>> print(describe(initial, pathlib.Path("RUN")))
    Start:    convolutions and their batch norm from RUN
              random: fc6, fc7, head, since so
    """
    taken = "convolutions and their batch norm"
    if not initial.reason:
        taken += ", fully connected layers"
    since = f", since {initial.reason}" if initial.reason else ""
    return f"Start:    {taken} from {path}\n          random: {', '.join(initial.new)}{since}"


def _of_folder(folder: pathlib.Path) -> tuple[pathlib.Path, dict[str, np.ndarray]]:
    """The newest weights of a run, or those of a checkpoint."""
    if is_checkpoint(folder):
        return first_readable([folder], read_weights)
    run = RunDirectory(folder)
    if checkpoints := run.newest_checkpoints():
        return first_readable(checkpoints, read_weights)
    # Who is short of space may have kept the result alone.
    if (saved := run.model / NETWORK).is_file():
        return saved, _of_network(_load_keras(saved))
    raise InputError(
        f"There is nothing to start from in this folder. Received: --init_from={folder}, "
        f"{'a run without a checkpoint' if run.exists() else 'which holds no run'}. "
        f"Expected {_EXPECTED}."
    )


def _of_network(network: keras.Model) -> dict[str, np.ndarray]:
    return {variable.path: np.asarray(variable.numpy()) for variable in network.weights}


def _load_keras(path: pathlib.Path) -> keras.Model:
    try:
        return load_network(path)
    # A damaged file, or another program's, can make its reader raise anything.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"The network cannot be read. Received: {path} ({reason}). Expected a {_KERAS} file "
            f"that train.py or dc-keras convert wrote, such as RUN/model/{NETWORK}. Get it again, "
            "or give the run's folder."
        ) from error

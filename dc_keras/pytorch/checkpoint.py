"""Checkpoints of the published PyTorch code as runs, and back.

A checkpoint.pth.tar is a pickled dict {"epoch", "arch", "state_dict", "optimizer"}. Of it PyTorch's
restricted reader accepts tensors and plain values alone, so nothing in a file is ever executed.
The tensors become a run directory without images: flags.cfg, a checkpoint of weights, and
model/network.keras. Whitening and centroids do not exist in PyTorch's file, nor do the images.
"""

import dataclasses
import os
import pathlib
import pickle
import warnings
from collections.abc import Mapping

import keras
import numpy as np

from dc_keras.assembly import build_untrained
from dc_keras.config.training import ARCHITECTURES, TrainingConfig
from dc_keras.errors import InputError
from dc_keras.files import write_atomically, write_directory_atomically
from dc_keras.pytorch.state_dict import infer_architecture, load_state_dict, to_state_dict
from dc_keras.runs.run_directory import RunDirectory, epochs_done
from dc_keras.runs.trained_model import save_network

SUFFIXES = (".pth", ".tar", ".pt")


@dataclasses.dataclass(frozen=True)
class PublishedCheckpoint:
    """What a checkpoint of PyTorch holds.

    Attributes:
        network: The network, with the weights of the file.
        config: The settings that the file tells, else the published ones, without folders.
        epoch: How many epochs it was trained for, 0 where the file does not tell.
    """

    network: keras.Model
    config: TrainingConfig
    epoch: int


def read_checkpoint(
    source: str | os.PathLike, image_size: int | None = None
) -> PublishedCheckpoint:
    """Reads the network of a PyTorch checkpoint.

    Args:
        source: The checkpoint, in PyTorch's format of today or of before 1.6.
        image_size: Side of the input in pixels; None takes the multiple of 32 that the number of
            inputs of the first fully connected layer tells.

    Raises:
        InputError: If PyTorch is missing, or the file is damaged, holds code, or other weights
            than those of the published networks. It names the first that differs.
    """
    checkpoint = _read(source)
    arch, epoch = checkpoint.get("arch"), checkpoint.get("epoch")
    arch = arch if isinstance(arch, str) else None
    epoch = epoch if isinstance(epoch, int) and epoch > 0 else 0
    try:
        state = _arrays(checkpoint.get("state_dict", checkpoint))
        known = arch if arch in ARCHITECTURES else None
        architecture = infer_architecture(state, known, image_size)
        config = TrainingConfig(
            arch=architecture.arch,
            image_size=architecture.image_size,
            num_clusters=architecture.num_clusters,
            width=architecture.width,
            sobel=architecture.use_sobel,
            epochs=epoch or TrainingConfig.epochs,
        )
        if problems := config.problems():
            raise InputError("\n".join(problems))
        network = architecture.build()
        load_state_dict(network, state)
    except InputError as error:
        named = f"its arch is {arch}" if arch else "it names no arch"
        raise InputError(f"{error} The file is {source}; {named}.") from error
    return PublishedCheckpoint(network, config, epoch)


def import_checkpoint(
    source: str | os.PathLike, out: str | os.PathLike, image_size: int | None = None
) -> TrainingConfig:
    """Writes a run directory with the weights of a PyTorch checkpoint.

    Args:
        source: The checkpoint, in PyTorch's format of today or of before 1.6.
        out: Folder for the run; it must be absent or empty.
        image_size: Side of the input in pixels; None takes the multiple of 32 that the number of
            inputs of the first fully connected layer tells.

    Returns:
        The settings written to the run's flags.cfg: those of the file, else the published ones.

    Raises:
        InputError: If PyTorch is missing, `out` is taken, or the file is damaged, holds code, or
            other weights than those of the published networks. It names the first that differs.
    """
    out = pathlib.Path(os.path.abspath(out))
    if out.suffix in SUFFIXES:
        raise InputError(
            f"IN is a file, so a run is to be written. Received: OUT={out}. Expected the name of a "
            "folder."
        )
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(
            f"The output is there already. Received: OUT={out}. Expected a folder that is empty or "
            "does not exist yet."
        )
    published = read_checkpoint(source, image_size)
    network, config = published.network, dataclasses.replace(published.config, run_dir=str(out))
    with write_directory_atomically(out) as folder:
        run = RunDirectory(folder)
        run.model.mkdir()
        save_network(run.model, keras.Model(network.input, network.output, name="network"))
        run.save_weights(network, published.epoch)
        config.save(run.flags)
    return config


def export_checkpoint(run_dir: str | os.PathLike, out: str | os.PathLike) -> pathlib.Path:
    """Writes the newest weights of a run as a PyTorch checkpoint.

    The names are those of the published files, `features.module.N` included, which the public
    evaluation code expects. There is no "optimizer" in it.

    Args:
        run_dir: The run.
        out: The file to write, whose name ends in .pth, .tar or .pt; it must not exist.

    Returns:
        The checkpoint of the run that the weights are from.

    Raises:
        InputError: If PyTorch is missing, there is no run or checkpoint, or `out` does not do.
    """
    out = pathlib.Path(out)
    if out.suffix not in SUFFIXES:
        raise InputError(
            f"IN is a folder, so a PyTorch file is to be written. Received: OUT={out}. Expected a "
            f"name that ends in {', '.join(SUFFIXES)}."
        )
    if out.exists() or not out.absolute().parent.is_dir():
        raise InputError(
            f"The output cannot be written there. Received: OUT={out}. Expected the name of a file "
            "that does not exist yet, in a folder that does."
        )
    torch = _torch()
    run = RunDirectory(run_dir)
    settings = run.config()
    other_layers = (
        settings.arch == "compact",
        settings.whitened_patches,
        settings.fc_norm,
        settings.head != "linear",
    )
    if any(other_layers):
        raise InputError(
            "The network has other layers than the published ones, which are all that the public "
            f"PyTorch code knows. Received: a run with --arch={settings.arch} "
            f"--whitened_patches={settings.whitened_patches} --fc_norm={settings.fc_norm} "
            f"--head={settings.head}. Use its model/network.keras or the SavedModel of "
            "dc-keras export."
        )
    network = build_untrained(settings)
    checkpoint = run.load_weights(network)
    state = {
        name.replace("features.", "features.module."): torch.from_numpy(array)
        for name, array in to_state_dict(network).items()
    }
    content = {
        "epoch": epochs_done(checkpoint),
        "arch": settings.arch,
        "state_dict": state,
    }
    with write_atomically(out, "wb") as file:
        torch.save(content, file)
    return checkpoint


def _torch():
    """PyTorch, which nothing else here needs."""
    try:
        import torch
    except ImportError as error:
        raise InputError(
            f"PyTorch is needed to read and write its files. Received: {error}. Install it with: "
            "pip install -r requirements-torch.txt"
        ) from error
    return torch


def _read(path: str | os.PathLike) -> Mapping:
    """Reads a file of PyTorch without executing anything in it.

    Raises:
        InputError: If it cannot be read, or is no dict.
    """
    torch = _torch()
    try:
        # PyTorch warns of files by others; what counts is whether it reads them.
        with open(path, "rb") as file, warnings.catch_warnings(action="ignore"):
            content = torch.load(file, map_location="cpu", weights_only=True)
    # A damaged file can make the reader raise anything.
    except Exception as error:
        paragraphs = [text.strip() for text in str(error).split("\n\n") if text.strip()]
        if isinstance(error, pickle.UnpicklingError):
            # The first one advises to read the file without protection.
            paragraphs = paragraphs[1:]
        reason = (paragraphs or [type(error).__name__])[0].splitlines()[0]
        raise InputError(
            f"The file cannot be read. Received: {path} ({reason}). Expected a checkpoint of "
            "PyTorch with tensors and plain values alone; code in it is not executed. Get the file "
            "again, or save its state_dict anew with torch.save."
        ) from error
    if not isinstance(content, Mapping):
        raise InputError(
            f"The file holds no checkpoint. Received: {path} with a {type(content).__name__}. "
            'Expected a dict with "state_dict".'
        )
    return content


def _arrays(state: Mapping) -> dict[str, np.ndarray]:
    """Tensors by name as float32 arrays, without the prefixes that DataParallel gives.

    The numbers of batches that batch norms counted have no use here, and are left out.

    Raises:
        InputError: If something is no tensor, or two names are one.
    """
    import torch

    if not isinstance(state, Mapping):
        raise InputError(f"There are no weights. Received: a {type(state).__name__} as state_dict.")
    arrays = {}
    for name, tensor in state.items():
        plain = str(name).removeprefix("module.").replace("features.module.", "features.", 1)
        if plain.endswith(".num_batches_tracked"):
            continue
        if not isinstance(tensor, torch.Tensor):
            raise InputError(f"No tensor. Received: {name} is a {type(tensor).__name__}.")
        # A few bytes could be declared a tensor of any size otherwise.
        if tensor.layout != torch.strided or (
            tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()
        ):
            raise InputError(f"No usual tensor. Received: {name} is sparse or repeats its values.")
        if plain in arrays:
            raise InputError(f"Two tensors for one. Received: {name} and {plain}.")
        arrays[plain] = tensor.detach().to(torch.float32).numpy()
    return arrays

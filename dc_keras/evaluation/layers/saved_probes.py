"""Probes in files, to classify features with later."""

import dataclasses
import os
import pathlib
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np

from dc_keras.errors import InputError
from dc_keras.evaluation.linear_probe import ProbeResult
from dc_keras.files import make_folder, write_atomically

_ARRAYS = ("weights", "bias", "mean", "scale", "class_names")


@dataclasses.dataclass(frozen=True)
class SavedProbe:
    """A linear classifier of features.

    Attributes:
        weights: float32 `(d, classes)`, of standardised features.
        bias: float32 `(classes,)`.
        mean: What is taken from the features, float32 `(d,)`.
        scale: What they are divided by then, float32 `(d,)`.
        class_names: What the classes are called, in the order of the columns.
    """

    weights: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    class_names: tuple[str, ...]

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Classifies features.

        Args:
            features: float `(n, d)`, of the layer that the probe is of, pooled as
                `pooled.pooled_layers` does it.

        Returns:
            Places in `class_names`, int64 `(n,)`.

        Raises:
            InputError: If they have another number of dimensions.
        """
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise InputError(
                f"The features do not fit the probe. Received: an array {features.shape}. Expected "
                f"(n, {len(self.mean)}): those of the layer that the probe was fitted to."
            )
        standardised = (features - self.mean) / self.scale
        return np.argmax(standardised @ self.weights + self.bias, axis=1)


def save_probes(
    folder: str | os.PathLike, results: Mapping[str, ProbeResult], class_names: Sequence[str]
) -> None:
    """Writes a file LAYER.npz for each layer; files of other names stay.

    Args:
        folder: Made where it is missing.
        results: By layer; their labels are places in `class_names`.
        class_names: Of all classes.

    Raises:
        CannotWriteError: If a file cannot be written.
    """
    folder = pathlib.Path(folder)
    make_folder(folder)
    for layer, result in results.items():
        with write_atomically(folder / f"{layer}.npz", "wb") as file:
            np.savez(
                file,
                weights=result.weights,
                bias=result.bias,
                mean=result.mean,
                scale=result.scale,
                # Text of fixed length, which needs no pickle.
                class_names=np.array([class_names[label] for label in result.classes], np.str_),
            )


def load_probe(path: str | os.PathLike) -> SavedProbe:
    """Reads a probe that `save_probes` wrote. Nothing is unpickled.

    Args:
        path: FOLDER/LAYER.npz.

    Raises:
        InputError: If it is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            weights, bias, mean, scale, names = (file[name] for name in _ARRAYS)
        if weights.shape != (len(mean), len(names)) or mean.shape != scale.shape:
            raise ValueError("its arrays do not fit each other")
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"The probe cannot be read. Received: {path} ({error}). Expected a file LAYER.npz that "
            "an evaluation of all layers wrote: evaluate the run again."
        ) from error
    return SavedProbe(weights, bias, mean, scale, tuple(names.tolist()))

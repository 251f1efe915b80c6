"""A fitted whitening as a file."""

import dataclasses
import os

import numpy as np

from dc_keras.clustering.whitening import Whitening
from dc_keras.files import write_atomically


def save_whitening(path: str | os.PathLike, whitening: Whitening) -> None:
    """Writes an .npz file with the names of the attributes.

    Raises:
        CannotWriteError: If the disk is full, or does not let it be written.
    """
    with write_atomically(path, "wb") as file:
        np.savez(file, **dataclasses.asdict(whitening))


def load_whitening(path: str | os.PathLike) -> Whitening:
    """Reads what `save_whitening` wrote.

    Raises:
        ValueError: If its arrays do not fit together.
    """
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
        whitening = Whitening(
            mean=arrays["mean"],
            projection=arrays["projection"],
            eigenvalues=arrays["eigenvalues"],
            explained_variance=float(arrays["explained_variance"]),
        )
    shapes = (*whitening.mean.shape, *whitening.eigenvalues.shape)
    if whitening.projection.ndim != 2 or whitening.projection.shape != shapes:
        raise ValueError(f"{os.path.basename(path)} has arrays of shapes that do not fit together")
    return whitening

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
    """Reads what `save_whitening` wrote."""
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
        return Whitening(
            mean=arrays["mean"],
            projection=arrays["projection"],
            eigenvalues=arrays["eigenvalues"],
            explained_variance=float(arrays["explained_variance"]),
        )

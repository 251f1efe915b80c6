"""Arrays that take a pass over all images to make, kept from one start of a program to the next."""

import hashlib
import os
import pathlib
import zipfile
from collections.abc import Callable

import numpy as np
from absl import logging

from dc_keras.errors import CannotWriteError
from dc_keras.files import write_atomically


def kept_arrays(
    kind: str, origin: str, make: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """What `make` returns, from the last time where the origin is the same.

    They are kept in $XDG_CACHE_HOME/dc_keras (~/.cache/dc_keras), and nowhere if nothing can be
    written there.

    Args:
        kind: What the file's name begins with.
        origin: All that the arrays depend on, such as names, sizes and times of files.
        make: Makes the arrays by name.

    Returns:
        The arrays.
    """
    key = hashlib.sha256(origin.encode()).hexdigest()
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    kept = pathlib.Path(home, "dc_keras", f"{kind}-{key[:32]}.npz")
    try:
        # NumPy leaves a file open that it opened itself and could not read.
        with open(kept, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # There is none yet, or it is damaged and made anew.
    arrays = make()
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(kept, "wb") as written:
            np.savez(written, allow_pickle=False, **arrays)
    except (OSError, CannotWriteError) as error:
        logging.warning("The index of the images is made again next time: %s", error)
    return arrays

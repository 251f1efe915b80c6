"""Images as a Python program has them, an array or paths, as a data set that others can open."""

import hashlib
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from dc_keras.errors import InputError
from dc_keras.files import write_atomically

_EXPECTED = (
    "Expected an array of images, uint8 (n, height, width, 1 or 3) or (n, height, width); a list "
    "of paths; or one path: a folder, or what else --data_dir takes."
)


def data_set_of(images: Any, folder: str | os.PathLike) -> str:
    """Makes a data set of images, unless they are one.

    Args:
        images: An array, a list of paths, or the path of a data set.
        folder: Where an array or a list is written, under a name that its content tells.

    Returns:
        The path of the data set, for `open_source`.

    Raises:
        InputError: If it is something else.
    """
    if isinstance(images, str | os.PathLike):
        return os.path.expanduser(os.fspath(images))
    folder = pathlib.Path(folder)
    if is_list_of_paths(images):
        return _write_list(absolute_paths(images), folder)
    array = as_images(images)
    path = folder / f"images-{hashlib.sha256(array.tobytes()).hexdigest()[:16]}.npz"
    if not path.exists():
        with write_atomically(path, "wb") as file:
            np.savez(file, images=array)
    return str(path)


def as_images(images: Any) -> np.ndarray:
    """Checks an array of images.

    Args:
        images: What should be one.

    Returns:
        uint8 `(n, height, width, 1 or 3)`.

    Raises:
        InputError: If it is none, or has no images.
    """
    if isinstance(images, list | tuple) and len(images):
        images = _stacked(images)
    if not isinstance(images, np.ndarray):
        raise InputError(f"These are no images. Received: a {type(images).__name__}. {_EXPECTED}")
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise InputError(
            f"The array has another shape. Received: {images.dtype} {images.shape}. {_EXPECTED}"
        )
    if images.dtype != np.uint8:
        raise InputError(
            f"The array has another type. Received: {images.dtype}. {_EXPECTED} Of values from 0 "
            "to 1: (255 * images).round().astype('uint8')."
        )
    return images


def is_list_of_paths(images: Any) -> bool:
    """Whether something is a list, tuple or array of paths."""
    if isinstance(images, np.ndarray):
        return images.ndim == 1 and images.dtype.kind == "U" and len(images) > 0
    return (
        isinstance(images, list | tuple)
        and len(images) > 0
        and all(isinstance(path, str | os.PathLike) for path in images)
    )


def absolute_paths(images: Sequence[str | os.PathLike]) -> list[str]:
    """The paths as a data set of a list names them: absolute, in the given order.

    Raises:
        InputError: If one cannot stand in a list.
    """
    paths = [os.path.abspath(os.path.expanduser(os.fspath(path))) for path in images]
    for path in paths:
        if path.splitlines() != [path.strip()] or "\0" in path:
            raise InputError(
                f"The path cannot stand in a list. Received: {path!r}. Expected one without line "
                "ends, and without spaces at its end. Rename the file."
            )
    return paths


def _stacked(images: Sequence) -> np.ndarray:
    arrays = [np.asarray(image) for image in images]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise InputError(
            f"The images have different sizes. Received: {sorted(shapes)[0]} and "
            f"{sorted(shapes)[1]}. Expected arrays of one size, or paths of files of any size."
        )
    return np.stack(arrays)


def _write_list(paths: Sequence[str], folder: pathlib.Path) -> str:
    text = "".join(f"{path}\n" for path in paths)
    content = text.encode("utf-8", "surrogateescape")
    path = folder / f"images-{hashlib.sha256(content).hexdigest()[:16]}.txt"
    if not path.exists():
        with write_atomically(path, "wb") as file:
            file.write(content)
    return str(path)

"""The listing of a data set as a file: which index is which image.

Beside it lies a seal, `manifest.json`: how many rows it has, and its checksum. A listing that was
cut off between two rows would pass for that of fewer images.
"""

import csv
import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from dc_keras.data.sources.image_source import ImageSource
from dc_keras.errors import InputError
from dc_keras.files import write_atomically

MANIFEST_COLUMNS = ["index", "path", "label"]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The listing of a source as it was when a run began.

    Attributes:
        names: n image names, by index.
        labels: n class names; empty strings where the source had no labels.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]


def write_manifest(source: ImageSource, path: str | os.PathLike) -> None:
    """Writes which index is which image: a CSV file with the columns index, path and label.

    Its seal is written beside it.

    Args:
        source: The images.
        path: Where to write. Names that are no UTF-8 keep their bytes.
    """
    names = source.names
    if source.labels is None or source.class_names is None:
        labels = [""] * len(names)
    else:
        labels = [source.class_names[label] for label in source.labels]
    with write_atomically(path) as file:
        # The csv module's own line end: with it, names that hold "\r" or "\n" are quoted.
        writer = csv.writer(file)
        writer.writerow(MANIFEST_COLUMNS)
        writer.writerows(zip(range(len(names)), names, labels, strict=True))
    seal = {"rows": len(names), "sha256": _sha256(path)}
    with write_atomically(_seal_of(path)) as file:
        file.write(json.dumps(seal) + "\n")


def read_manifest(path: str | os.PathLike) -> Manifest:
    """Reads what `write_manifest` wrote.

    Args:
        path: The CSV file.

    Returns:
        The names and labels by index.

    Raises:
        InputError: If the file cannot be read, is no manifest, or is not as it was written. Those
            of older versions have no seal.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            header, *rows = csv.reader(file, strict=True)
            if header != MANIFEST_COLUMNS or any(
                len(row) != 3 or row[0] != str(i) for i, row in enumerate(rows)
            ):
                raise ValueError("its header or its numbering differs")
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"The manifest cannot be read. Received: {str(path)!r} ({error}). Expected: the CSV "
            "file index,path,label that a training run wrote. Check the path or train anew."
        ) from error
    _check_seal(path, len(rows))
    return Manifest(tuple(row[1] for row in rows), tuple(row[2] for row in rows))


def _seal_of(path: str | os.PathLike) -> pathlib.Path:
    return pathlib.Path(path).with_suffix(".json")


def _sha256(path: str | os.PathLike) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_seal(path: str | os.PathLike, rows: int) -> None:
    """Compares a manifest with its seal, if it has one.

    Raises:
        InputError: If it differs.
    """
    seal = _seal_of(path)
    try:
        listed = json.loads(seal.read_bytes())
        expected = int(listed["rows"]), str(listed["sha256"])
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"The seal of the manifest cannot be read. Received: {str(seal)!r} ({error}). Expected "
            "the number of rows and the checksum that were written with the manifest. Bring both "
            "files back from a backup, or start anew in another folder."
        ) from error
    if rows == expected[0] and _sha256(path) == expected[1]:
        return
    differs = "another checksum" if rows == expected[0] else f"{rows:,} of {expected[0]:,} images"
    raise InputError(
        f"The manifest is not as it was written. Received: {str(path)!r} with {differs}. Expected "
        f"what {seal.name} beside it tells of. Bring it back from a backup, or start anew in "
        "another folder."
    )


def positions_of(names: Sequence[str], source: ImageSource) -> tuple[np.ndarray, list[str]]:
    """Finds images by their names, such as those of a manifest.

    Args:
        names: Which images.
        source: Where to look for them.

    Returns:
        Indices of those that are there, int64 `(m,)`, in the order of `names`, and the names of the
        others.
    """
    place = {name: position for position, name in enumerate(source.names)}
    found = [place[name] for name in names if name in place]
    return np.array(found, np.int64), [name for name in names if name not in place]

"""What was measured of one network, and where it is kept, so that no work is done twice.

    FOLDER/ROW/TASK.npz     its figures, what they are of image by image, and a key

An evaluation that was interrupted goes on with what is missing; a second one with another task
measures that alone. The key is a checksum of all that the figures follow from: where images,
weights, settings or versions differ, so does the key.
"""

import dataclasses
import hashlib
import json
import pathlib
import re
import zipfile
from typing import Any

import numpy as np

from dc_keras.files import make_folder, write_atomically

# Among the details of a network: what a reader should know of images that it searched.
REMARKS = "retrieval_remarks"
# Of the array that holds all but the arrays.
_CONTENT = "content"


@dataclasses.dataclass(frozen=True)
class Measured:
    """Figures of a network, and what they are of.

    Attributes:
        figures: Figures by name; `X_sd` is the standard deviation of `X`.
        of_images: Arrays `(m,)` by the name of a figure: for accuracies which of the m test images
            are classified correctly, boolean; for clusters that of each, integers.
        details: More than figures: names and lists, as JSON holds them.
    """

    figures: dict[str, float] = dataclasses.field(default_factory=dict)
    of_images: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    details: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __or__(self, other: "Measured") -> "Measured":
        """Both together."""
        return Measured(
            self.figures | other.figures,
            self.of_images | other.of_images,
            self.details | other.details,
        )


def key_of(**parts: Any) -> str:
    """A checksum of all that figures follow from.

    Args:
        **parts: Arrays, or what JSON holds, or what tells itself in full as text.

    Returns:
        64 characters.

    >>> key_of(seed=1) == key_of(seed=1), key_of(seed=1) == key_of(seed=2)
    (True, False)
    """
    digest = hashlib.sha256()
    for name, part in sorted(parts.items()):
        digest.update(f"\n{name}: ".encode())
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str} {part.shape} ".encode())
            digest.update(np.ascontiguousarray(part).view(np.uint8).reshape(-1).data)
        else:
            digest.update(json.dumps(part, sort_keys=True, default=repr).encode())
    return digest.hexdigest()


class MeasuredBefore:
    """Keeps what was measured in a folder.

    Args:
        folder: Where; made when something is kept.
    """

    def __init__(self, folder: pathlib.Path):
        self._folder = folder

    def folder_of(self, row: str) -> pathlib.Path:
        """Where what was measured of a row is kept, and what is kept beside it."""
        return self._path(row, "").parent

    def find(self, row: str, task: str, key: str) -> Measured | None:
        """What was measured with this key; None where there is nothing, or nothing readable."""
        try:
            with (
                open(self._path(row, task), "rb") as file,
                np.load(file, allow_pickle=False) as arrays,
            ):
                content = json.loads(arrays[_CONTENT].tobytes())
                if content["key"] != key:
                    return None
                of_images = {name: arrays[name] for name in arrays.files if name != _CONTENT}
            return Measured(dict(content["figures"]), of_images, dict(content["details"]))
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            return None

    def keep(self, row: str, task: str, key: str, measured: Measured) -> None:
        """Keeps it, in place of what was measured before.

        Raises:
            CannotWriteError: If it cannot be written.
        """
        path = self._path(row, task)
        make_folder(path.parent)
        content = {
            "key": key,
            "figures": {name: float(value) for name, value in measured.figures.items()},
            "details": measured.details,
        }
        arrays: dict[str, Any] = dict(measured.of_images)
        arrays[_CONTENT] = np.frombuffer(json.dumps(content).encode(), np.uint8)
        with write_atomically(path, "wb") as file:
            np.savez_compressed(file, **arrays)

    def _path(self, row: str, task: str) -> pathlib.Path:
        """Rows can have the names of folders: unlike ones must not meet in one file."""
        plain = re.sub(r"[^\w.-]+", "_", row).strip(".") or "_"
        mark = "" if plain == row else f"-{key_of(row=row)[:8]}"
        return self._folder / f"{plain}{mark}" / f"{task}.npz"

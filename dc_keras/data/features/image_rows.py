"""Which row of given features belongs to which image.

By paths, where there are some. Else by order: the rows are taken for those of the sorted paths,
folder by folder, as `sorted(pathlib.Path(DATA_DIR).rglob("*.jpg"))` has them. That is not the order
in which sources number their images, which knows nothing of class folders.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence

import numpy as np

from dc_keras.data.features.feature_files import GivenFeatures, first_and_last
from dc_keras.data.sources.archives import ArchiveSource
from dc_keras.data.sources.folder import FolderSource
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.labels import entry_of
from dc_keras.data.sources.tables import is_table, read_table
from dc_keras.errors import InputError
from dc_keras.files import spreadsheet_text
from dc_keras.paths import is_remote

_GIVE_PATHS = (
    "Give the paths of the rows with --paths=FILE, a .txt file with a path on each line or a .csv "
    "file with a column path."
)


@dataclasses.dataclass(frozen=True)
class ImageRows:
    """The rows of features by image.

    Attributes:
        images: Which images of a source have features, ascending, int64 `(n,)`.
        rows: The row of each of them, int64 `(n,)`.
        told: What the user should know of it, a line each.
    """

    images: np.ndarray
    rows: np.ndarray
    told: tuple[str, ...]


def rows_of_images(features: GivenFeatures, source: ImageSource, data_dir: str) -> ImageRows:
    """Finds the features of each image.

    Args:
        features: With paths or without.
        source: The images, all that were found in `data_dir`.
        data_dir: What `open_source` was given.

    Raises:
        InputError: If paths are listed twice, none is that of an image, or, without paths, the
            order is not certain or the numbers differ.
    """
    if features.paths is None:
        return _by_order(features, source, data_dir)
    by_path = _by_path(features.paths, features.listed_in)
    found = [entry_of(name, source, by_path, features.listed_in) for name in source.names]
    images = np.array([i for i, row in enumerate(found) if row is not None], np.int64)
    rows = np.array([row for row in found if row is not None], np.int64)
    if not len(images):
        raise InputError(
            f"No path is that of an image. Received: {features.listed_in!r} with "
            f"{first_and_last(features.paths)}, and {data_dir!r} with "
            f"{first_and_last(source.names)}. Expected: paths below the data folder, from the "
            "list's folder on, or absolute ones."
        )
    told = []
    used = np.zeros(len(features), bool)
    used[rows] = True
    if unknown := int((~used).sum()):
        first = features.paths[int(np.argmin(used))]
        told.append(f"Features of no image, passed over: {unknown:,}, the first is {first!r}")
    if lacking := len(source) - len(images):
        first = source.names[found.index(None)]
        told.append(f"Images without features, left out: {lacking:,}, the first is {first!r}")
    return ImageRows(images, rows, tuple(told))


def _by_path(paths: Sequence[str], listed_in: str) -> Mapping[str, int]:
    """Rows by path, without "./" and the like, nor the apostrophes of our own tables."""
    by_path: dict[str, int] = {}
    twice = []
    for row, path in enumerate(paths):
        plain = path if is_remote(path) else os.path.normpath(path)
        if by_path.setdefault(plain, row) != row:
            twice.append(path)
    if twice:
        raise InputError(
            f"Images have several features. Received: {listed_in!r}, which names {len(twice):,} "
            f"paths again, the first is {twice[0]!r}. Expected each path once."
        )
    for path, row in list(by_path.items()):
        if path.startswith("'") and spreadsheet_text(path[1:]) == path:
            by_path.setdefault(path[1:], row)
    return by_path


def _by_order(features: GivenFeatures, source: ImageSource, data_dir: str) -> ImageRows:
    if len(features) != len(source):
        raise InputError(
            f"There are other images than features. Received: {len(features):,} rows in "
            f"{features.listed_in!r}, and {len(source):,} images in {data_dir!r}. Expected a row "
            f"for each image. {_GIVE_PATHS}"
        )
    order = _order(source, data_dir)
    rows = np.empty(len(source), np.int64)
    rows[order] = np.arange(len(source))
    told = (
        f"Rows of features are taken for {first_and_last([source.names[i] for i in order])}. "
        "If they have another order: --paths=FILE"
    )
    return ImageRows(np.arange(len(source)), rows, (told,))


def _order(source: ImageSource, data_dir: str) -> Sequence[int]:
    """The images in the order in which features without paths have them.

    Raises:
        InputError: If there are two ways to sort the paths.
    """
    if not isinstance(source, FolderSource | ArchiveSource):
        return range(len(source))
    if is_table(data_dir):
        place = {path: row for row, path in enumerate(read_table(data_dir).paths)}
        return sorted(range(len(source)), key=lambda image: place[source.names[image]])
    by_parts = sorted(range(len(source)), key=lambda image: source.names[image].split("/"))
    if by_parts != sorted(range(len(source)), key=lambda image: source.names[image]):
        raise InputError(
            "The order of the images is not certain: sorted as texts and folder by folder their "
            f"paths come differently. Received: features without paths for {data_dir!r}. "
            f"{_GIVE_PATHS}"
        )
    return by_parts

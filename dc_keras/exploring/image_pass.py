"""One pass over all images that takes from each what tables and pages show.

Each image is read and decoded once. Files are read again where they may be copies of each other:
see `digests`.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from dc_keras.data.batches.ordered import readable_batches
from dc_keras.data.pixels.center_crop import crop_and_thumbnail
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.inspection import find_unreadable
from dc_keras.models.feature_extractor import FeatureExtractor
from dc_keras.runs.trained_model import TrainedModel

THUMBNAIL = 64
_SHAPE = (THUMBNAIL, THUMBNAIL, 3)
_AT_A_TIME = 4096


@dataclasses.dataclass(frozen=True)
class SeenImages:
    """What the pass took.

    Attributes:
        kept: The images that could be read, ascending, int64 `(n,)`.
        descriptors: float32 `(n, dim)`.
        sizes: Height and width in pixels, int32 `(n, 2)`.
        unreadable: The reason by name for the others.
    """

    kept: np.ndarray
    descriptors: np.ndarray
    sizes: np.ndarray
    unreadable: dict[str, str]


def look_at_images(
    model: TrainedModel,
    source: ImageSource,
    rows: np.ndarray,
    thumbnails_file: str | os.PathLike,
    *,
    batch_size: int,
    progress: bool = False,
) -> SeenImages:
    """Takes descriptors, sizes and thumbnails of all images.

    Args:
        model: Of a finished run.
        source: The images.
        rows: Which rows of the run's manifest they are, int64 `(n,)`.
        thumbnails_file: Where thumbnails are written; see `open_thumbnails`.
        batch_size: Images in a step of feature extraction.
        progress: Whether to show a progress bar, with the time left.

    Returns:
        The images that could be read. Memory: their descriptors; thumbnails stay in the file.
    """
    count = len(source)
    thumbnails = np.memmap(thumbnails_file, np.uint8, "w+", shape=(count, *_SHAPE))
    descriptors = np.empty((count, model.whitening.output_dim), np.float32)
    sizes = np.zeros((count, 2), np.int32)
    seen = np.zeros(count, bool)
    looking = _looking(model, source, rows, batch_size)
    unreadable: dict[int, str] = {}
    # What fails once and is read well the second time, on a busy network drive, gets another try.
    with tqdm(total=count, desc="Looking at images", unit="image", disable=not progress) as bar:
        for _ in range(2):
            rest = np.setdiff1d(np.flatnonzero(~seen), list(unreadable))
            if not len(rest):
                break
            for features, (at, small, size) in looking(rest):
                descriptors[at] = model.whitening.apply(features)
                thumbnails[at], sizes[at], seen[at] = small, size, True
                bar.update(len(at))
            missing = np.flatnonzero(~seen)
            if len(missing):
                found = find_unreadable(source.select(missing), progress=False)
                unreadable = {int(missing[at]): why for at, why in found.items()}
    kept = np.flatnonzero(seen)
    _keep_rows(thumbnails, kept)
    del thumbnails
    os.truncate(thumbnails_file, len(kept) * int(np.prod(_SHAPE)))
    reasons = {
        source.names[row]: unreadable.get(row, "could not be read")
        for row in np.flatnonzero(~seen).tolist()
    }
    return SeenImages(kept, descriptors[kept], sizes[kept], reasons)


def open_thumbnails(path: str | os.PathLike, count: int) -> np.ndarray:
    """Maps thumbnails into memory, for reading.

    Args:
        path: The file that `look_at_images` wrote: the pixels, row by row, without a header.
        count: How many, n.

    Returns:
        uint8 `(n, 64, 64, 3)`.

    Raises:
        ValueError: If the file has another size.
    """
    if os.path.getsize(path) != count * int(np.prod(_SHAPE)):
        raise ValueError(f"{path} is not of {count} thumbnails")
    return np.memmap(path, np.uint8, "r", shape=(count, *_SHAPE))


def _looking(
    model: TrainedModel, source: ImageSource, rows: np.ndarray, batch_size: int
) -> Callable[[np.ndarray], Iterator[tuple[np.ndarray, Any]]]:
    """A function from indices of images to batches of features with what else is taken of them."""
    if model.features is None:
        extractor = FeatureExtractor(model.feature_network())
        return lambda these: extractor.with_others(
            _batches(source, these, extractor.image_size, batch_size)
        )
    features = model.features

    def by_given(these):
        for _, others in _batches(source, these, THUMBNAIL, batch_size).as_numpy_iterator():
            yield features[rows[others[0]]], others

    return by_given


def _batches(
    source: ImageSource, indices: np.ndarray, image_size: int, batch_size: int
) -> tf.data.Dataset:
    """Batches of crops with their indices, thumbnails and sizes, without what cannot be read."""

    def load(index):
        crop, thumbnail, size = crop_and_thumbnail(
            source.load(index), image_size, THUMBNAIL, source.options
        )
        return crop, (index, thumbnail, size)

    return readable_batches(load, indices, batch_size)


def _keep_rows(array: np.ndarray, rows: np.ndarray) -> None:
    """Moves some rows, which are ascending, to the front, in place."""
    for start in range(0, len(rows), _AT_A_TIME):
        these = rows[start : start + _AT_A_TIME]
        if these[-1] != start + len(these) - 1:
            array[start : start + len(these)] = array[these]

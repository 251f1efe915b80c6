"""How much each image makes each filter of a layer respond, and where."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from dc_keras.data.batches.ordered import readable_batches
from dc_keras.data.pixels.center_crop import preprocess_for_clustering
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.exploring.look.open_network import OpenNetwork
from dc_keras.models.feature_extractor import FeatureExtractor


@dataclasses.dataclass(frozen=True)
class Responses:
    """What a pass over images tells.

    Attributes:
        rows: Which images could be read, int64 `(n,)`.
        strongest: The largest value in each map, float32 `(n, filters)`.
        places: Where that is: number of the cell of the map, row by row, int32 `(n, filters)`.
        features: float32 `(n, d)`.
    """

    rows: np.ndarray
    strongest: np.ndarray
    places: np.ndarray
    features: np.ndarray


def respond(
    network: OpenNetwork,
    source: ImageSource,
    rows: np.ndarray,
    *,
    batch_size: int,
    progress: bool = False,
) -> Responses:
    """Passes images through a network.

    Args:
        network: Opened for one layer.
        source: The images.
        rows: Which ones, int64 `(m,)`.
        batch_size: Images in a step.
        progress: Whether to show a progress bar, with the time left.

    Returns:
        What they make of it; images that cannot be read are left out.
    """
    extractor = FeatureExtractor(_strongest(network))
    found = []
    with tqdm(total=len(rows), desc="Looking at images", unit="image", disable=not progress) as bar:
        for arrays, at in extractor.with_others(
            _batches(source, rows, network.image_size, min(batch_size, len(rows)))
        ):
            found.append((at, *arrays))
            bar.update(len(at))
    if not found:
        return Responses(np.zeros(0, np.int64), *(np.zeros((0, 0), np.float32) for _ in range(3)))
    at, strongest, places, features = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Responses(at, strongest, places.astype(np.int32), features)


def top_images(strongest: np.ndarray, count: int) -> np.ndarray:
    """The images that each filter responds to most, of equal ones the first.

    Args:
        strongest: float `(n, filters)`.
        count: How many.

    Returns:
        Rows, int64 `(filters, min(count, n))`.

    >>> top_images(np.array([[1, 5], [3, 5], [2, 0]]), count=2).tolist()
    [[1, 2], [0, 1]]
    """
    return np.argsort(-strongest, axis=0, kind="stable")[:count].T


def live_filters(strongest: np.ndarray, count: int) -> tuple[np.ndarray, int]:
    """Some filters, evenly spaced among those that respond to any image.

    Args:
        strongest: float `(n, filters)`.
        count: How many, at most.

    Returns:
        Their numbers, ascending, int64; and how many filters respond to none.

    >>> live_filters(np.array([[0, 1, 2, 0, 1], [0, 0, 1, 0, 0]]), count=2)
    (array([1, 4]), 2)
    """
    live = np.flatnonzero((strongest != 0).any(axis=0))
    picks = np.linspace(0, len(live) - 1, min(count, len(live))).astype(int)
    return live[picks], strongest.shape[1] - len(live)


def _strongest(network: OpenNetwork) -> keras.Model:
    """From uint8 images to the largest value in each map, its place, and features."""
    images = keras.Input(network.model.input_shape[1:], dtype="uint8")
    scaled = keras.layers.Rescaling(
        network.scale.tolist(), network.offset.tolist(), dtype="float32"
    )(images)
    maps, features = network.model(scaled)
    _, height, width, filters = maps.shape
    cells = keras.ops.reshape(maps, (-1, height * width, filters))
    strongest, places = keras.ops.max(cells, axis=1), keras.ops.argmax(cells, axis=1)
    return keras.Model(images, [strongest, places, features])


def _batches(
    source: ImageSource, indices: np.ndarray, image_size: int, batch_size: int
) -> tf.data.Dataset:
    """Batches of crops with their indices, without what cannot be read."""

    def load(index):
        return preprocess_for_clustering(source.load(index), image_size, source.options), index

    return readable_batches(load, indices, batch_size)

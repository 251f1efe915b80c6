"""The nearest images of each image, by their descriptors."""

import dataclasses

import faiss
import numpy as np

from dc_keras.clustering.centroids import flat_index
from dc_keras.seeds import derive_seed, numpy_rng

NEAREST = 10
# All pairs of so many images are compared; 1e10 pairs of 128 numbers take a minute on two cores.
_EXACT_UP_TO = 50_000
# Of an index of more images: cells for each sqrt(n), and the part of them that is searched.
_CELLS, _SEARCHED = 4, 0.04
_RECALL_SAMPLE = 1000
_AT_A_TIME = 16384


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """The nearest images of each image.

    Attributes:
        indices: int32 `(n, m)`, nearest first, of equal ones the smaller index; -1 where there are
            fewer.
        distances: float32 `(n, m)`; NaN where there are fewer.
        recall: Part of the true nearest that were found, measured on 1,000 images; 1 if all pairs
            were compared.
    """

    indices: np.ndarray
    distances: np.ndarray
    recall: float = 1.0


def nearest_images(
    descriptors: np.ndarray, count: int = NEAREST, *, exact_up_to: int = _EXACT_UP_TO, seed: int = 0
) -> Neighbours:
    """Finds the nearest other images of each image.

    Args:
        descriptors: float32 `(n, dim)`, C-contiguous.
        count: How many, m.
        exact_up_to: With more images than this, an inverted file of Faiss is searched in place of
            all pairs.
        seed: Draws the cells of that file, and the images its recall is measured on.

    Returns:
        The nearest images; distances are worked out anew, so that equal descriptors have 0.

    Time: n^2 comparisons up to `exact_up_to`, about n^2 / 25 beyond. Memory: the descriptors twice
    and m numbers an image.

    >>> nearest_images(np.float32([[0], [1], [3]]), 3).indices
    array([[ 1,  2, -1],
           [ 0,  2, -1],
           [ 1,  0, -1]], dtype=int32)
    """
    exact = len(descriptors) <= exact_up_to
    index = flat_index(descriptors.shape[1]) if exact else _inverted_file(descriptors, seed)
    index.add(descriptors)
    found = _search(index, descriptors, np.arange(len(descriptors)), count)
    recall = 1.0
    if not exact:
        sample = numpy_rng(seed, "recall of neighbours").choice(
            len(descriptors), min(_RECALL_SAMPLE, len(descriptors)), replace=False
        )
        true_index = flat_index(descriptors.shape[1])
        true_index.add(descriptors)
        true = _search(true_index, descriptors, sample, count).indices
        common = (found.indices[sample][:, :, np.newaxis] == true[:, np.newaxis]).any(axis=2)
        recall = float(common[true >= 0].mean())
    return dataclasses.replace(found, recall=recall)


def comparisons(num_images: int) -> float:
    """With how many others `nearest_images` compares each image, about.

    >>> comparisons(10_000), comparisons(1_000_000)
    (10000, 40000.0)
    """
    return num_images if num_images <= _EXACT_UP_TO else _SEARCHED * num_images


def _inverted_file(descriptors: np.ndarray, seed: int) -> faiss.IndexIVFFlat:
    cells = int(_CELLS * len(descriptors) ** 0.5)
    # Its Python object keeps the quantizer alive.
    quantizer = faiss.IndexFlatL2(descriptors.shape[1])
    index = faiss.IndexIVFFlat(quantizer, descriptors.shape[1], cells)
    index.cp.seed = derive_seed(seed, "cells of neighbours")
    index.cp.min_points_per_centroid = 1
    index.train(descriptors)
    index.nprobe = max(8, round(_SEARCHED * cells))
    return index


def _search(
    index: faiss.Index, descriptors: np.ndarray, queries: np.ndarray, count: int
) -> Neighbours:
    """Looks for the nearest others of some of the images."""
    indices = np.full((len(queries), count), -1, np.int32)
    distances = np.full((len(queries), count), np.nan, np.float32)
    asked = min(count + 1, len(descriptors))
    for start in range(0, len(queries), _AT_A_TIME):
        these = queries[start : start + _AT_A_TIME]
        _, found = index.search(descriptors[these], asked)
        away = _distances(descriptors, these, found)
        # The image itself goes to the end, wherever rounding has put it.
        away[(found == these[:, np.newaxis]) | (found < 0)] = np.inf
        order = np.lexsort((found, away))[:, :count]
        found, away = (np.take_along_axis(a, order, axis=1) for a in (found, away))
        there = np.isfinite(away)
        block = slice(start, start + len(these))
        indices[block, : order.shape[1]] = np.where(there, found, -1)
        distances[block, : order.shape[1]] = np.where(there, away, np.nan)
    return Neighbours(indices, distances)


def _distances(descriptors: np.ndarray, queries: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Distances of each of some images to others, float32, by differences: Faiss rounds more."""
    away = np.empty(found.shape, np.float32)
    for column in range(found.shape[1]):
        difference = descriptors[queries] - descriptors[found[:, column]]
        away[:, column] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    return away

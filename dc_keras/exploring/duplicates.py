"""Copies among images, in three tiers that are kept apart.

1. The same bytes: one file under several names.
2. The same pixels: decoded, no value differs, whatever the file format.
3. Near: encoded anew, resized, brightened or cut at the edges. Both the network and the eye must
   agree: features are close, fingerprints differ in few bits, and grey pixels correlate.

Images that are alike and no copies share a cluster, and are not in here.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph

from dc_keras.clustering.near_copies import (
    NEAR_BITS,
    NEAR_CORRELATION,
    correlations,
    near_pairs,
    perceptual_hashes,
)

# Distance of descriptors, from 0 to 2, that near copies have at most.
NEAR_DISTANCE = 0.5
# Fingerprints of the same pixels differ by rounding alone, as of a JPEG that was decoded smaller.
_SAME_PIXELS_BITS = 3
# Parts of the side that an image may have lost at each edge, and those that two are compared at.
_MARGINS = (0.0, 0.025, 0.05)
_CUTS = ((0.0, 0.0), (0.0, 0.025), (0.025, 0.0), (0.0, 0.05), (0.05, 0.0))
_AT_A_TIME = 1024


@dataclasses.dataclass(frozen=True)
class NearOptions:
    """When two images are near copies.

    Attributes:
        distance: Largest distance of their descriptors, from 0 to 2.
        bits: Bits of 63 in which their fingerprints may differ.
        correlation: Smallest correlation of their grey pixels.
    """

    distance: float = NEAR_DISTANCE
    bits: int = NEAR_BITS
    correlation: float = NEAR_CORRELATION


@dataclasses.dataclass(frozen=True)
class Duplicates:
    """Which images are copies of each other.

    Attributes:
        groups: int32 `(n,)`, number of the group of copies that an image is in, or -1; numbered by
            their first images.
        kinds: int8 `(n,)`, an index into `DUPLICATE_KINDS`: the strictest sense in which another
            image of the group is its copy.
        pairs: int64 `(m, 2)`, the pairs that make the groups, each with the smaller index first.
        pair_kinds: int8 `(m,)`.
    """

    groups: np.ndarray
    kinds: np.ndarray
    pairs: np.ndarray
    pair_kinds: np.ndarray


def find_duplicates(
    same_bytes: Sequence[bytes], same_pixels: Sequence[bytes], near: np.ndarray
) -> Duplicates:
    """Groups copies.

    Args:
        same_bytes: n digests of the files, empty where an image is known to have no such copy.
        same_pixels: n digests of the decoded pixels, or empty.
        near: int64 `(m, 2)`, near copies.

    Returns:
        The groups: images that are connected by copies of any kind.

    >>> found = find_duplicates([b"a", b"a", b"", b""], [b""] * 4, np.array([[1, 3]]))
    >>> found.groups.tolist(), [DUPLICATE_KINDS[kind] for kind in found.kinds]
    ([0, 0, -1, 0], ['same bytes', 'same bytes', '', 'near'])
    """
    count = len(same_bytes)
    tiers = [_with_first(same_bytes), _with_first(same_pixels), near.reshape(-1, 2)]
    kinds = np.full(count, len(tiers) + 1, np.int8)
    for kind, pairs in enumerate(tiers, 1):
        members = np.unique(pairs)
        kinds[members] = np.minimum(kinds[members], kind)
    kinds[kinds == len(tiers) + 1] = 0
    pairs = np.concatenate(tiers).astype(np.int64)
    pair_kinds = np.repeat(np.arange(1, 4, dtype=np.int8), [len(tier) for tier in tiers])
    # What is known in a stricter sense is left out of the looser ones.
    _, first = np.unique(pairs, axis=0, return_index=True)
    first.sort()
    return Duplicates(connected(pairs, count), kinds, pairs[first], pair_kinds[first])


def connected(pairs: np.ndarray, count: int) -> np.ndarray:
    """Numbers the groups of images that pairs connect.

    Args:
        pairs: Integers `(m, 2)`.
        count: Number of images, n.

    Returns:
        int32 `(n,)`, numbered by their first images; -1 for images in no pair.

    >>> connected(np.array([[1, 4], [2, 3], [3, 4]]), 6).tolist()
    [-1, 0, 0, 0, 0, -1]
    """
    graph = scipy.sparse.coo_array(
        (np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count)
    )
    _, components = scipy.sparse.csgraph.connected_components(graph, directed=False)
    groups = np.full(count, -1, np.int32)
    members = np.unique(pairs)
    _, first, inverse = np.unique(components[members], return_index=True, return_inverse=True)
    # np.unique numbers by component; the place of the first member gives the order.
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(len(first))
    groups[members] = rank[inverse]
    return groups


def may_have_same_pixels(thumbnails: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Tells which images have to be compared pixel by pixel with others.

    Copies have the same size and nearly the same thumbnail, so that few files are read again.

    Args:
        thumbnails: uint8 `(n, t, t, 3)`; may be mapped from a file.
        sizes: Height and width of each image, int32 `(n, 2)`.

    Returns:
        bool `(n,)`.

    Time: n^2 comparisons of 64 bits, 1e9 in about a second.
    """
    hashes = perceptual_hashes(thumbnails)
    groups = connected(near_pairs(hashes, _SAME_PIXELS_BITS), len(hashes))
    keys = np.concatenate([groups[:, np.newaxis], sizes], axis=1)
    _, inverse, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    return (groups >= 0) & (counts[inverse.reshape(-1)] > 1)


def near_copies(
    nearest: np.ndarray,
    nearest_distances: np.ndarray,
    thumbnails: np.ndarray,
    options: NearOptions,
) -> np.ndarray:
    """Finds near copies among the nearest images of each.

    An image with ten copies or more has none but them among its ten nearest, which connects all of
    them; so nothing is lost by looking no further.

    Args:
        nearest: int32 `(n, m)`; see `neighbours.Neighbours`.
        nearest_distances: float32 `(n, m)`.
        thumbnails: uint8 `(n, t, t, 3)`; may be mapped from a file.
        options: When two images are near copies.

    Returns:
        Pairs, int64 `(p, 2)`, sorted, the smaller index first.
    """
    # NaN, where there is no image, compares as false.
    rows, columns = np.nonzero(nearest_distances <= options.distance)
    pairs = np.sort(np.stack([rows, nearest[rows, columns]], axis=1).astype(np.int64), axis=1)
    pairs = np.unique(pairs, axis=0)
    if not len(pairs):
        return pairs
    images, places = np.unique(pairs, return_inverse=True)
    hashes = _hashes(thumbnails, images)
    first, second = hashes[places.reshape(-1, 2)].transpose(1, 0, 2)
    near = np.zeros(len(pairs), bool)
    for own, other in _CUTS:
        bits = np.bitwise_count(first[:, _MARGINS.index(own)] ^ second[:, _MARGINS.index(other)])
        asked = np.flatnonzero((bits <= options.bits) & ~near)
        for start in range(0, len(asked), _AT_A_TIME):
            these = asked[start : start + _AT_A_TIME]
            shown, others = thumbnails[pairs[these, 0]], thumbnails[pairs[these, 1]]
            near[these] = correlations(shown, others, own, other) >= options.correlation
    return pairs[near]


def _hashes(thumbnails: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Fingerprints of some images at each margin, uint64 `(m, 3)`."""
    hashes = np.empty((len(images), len(_MARGINS)), np.uint64)
    for start in range(0, len(images), _AT_A_TIME):
        block = slice(start, start + _AT_A_TIME)
        shown = thumbnails[images[block]]
        for column, margin in enumerate(_MARGINS):
            hashes[block, column] = perceptual_hashes(shown, margin)
    return hashes


def _with_first(digests: Sequence[bytes]) -> np.ndarray:
    """Pairs each image with the first one of the same digest, int64 `(m, 2)`."""
    first: dict[bytes, int] = {}
    pairs = [
        (first[digest], index)
        for index, digest in enumerate(digests)
        if digest and first.setdefault(digest, index) != index
    ]
    return np.array(pairs, np.int64).reshape(-1, 2)

"""Copies among images, in three tiers that are kept apart.

1. The same bytes: one file under several names.
2. The same pixels: decoded, no value differs, whatever the file format.
3. Near: encoded anew, resized, brightened or cut at the edges. Both the network and the eye must
   agree: features are close, fingerprints differ in few bits, and grey pixels correlate.

Images that are alike and no copies share a cluster, and are not in here.
"""

import dataclasses
from collections.abc import Sequence

import faiss
import numpy as np
import scipy.sparse
import scipy.sparse.csgraph

from dc_keras.clustering.near_copies import (
    NEAR_BITS,
    correlations,
    near_pairs,
    perceptual_hashes,
)

# Distance of descriptors, from 0 to 2, that near copies have at most.
NEAR_DISTANCE = 0.8
# Correlation of their grey pixels, at least. Of 6,851 images of CIFAR-10 and Caltech-101 every pair
# of different originals that passes is the same picture to the eye; with 0.97, two of 25 are not.
NEAR_CORRELATION = 0.98
# Fingerprints of the same pixels differ by rounding alone, as of a JPEG that was decoded smaller.
_SAME_PIXELS_BITS = 3
# Images nearest by fingerprint that are looked at, beside those nearest by features.
_ALIKE = 10
# All pairs of fingerprints are compared for so many images; of more, this part of all.
_EXACT_UP_TO, _SEARCHED = 50_000, 0.1
# What is left of an image that was cut, in parts of its side: the whole, its middle without a
# margin, and as much from each corner on. Two images are compared whole, and either one in part.
_CUT = 0.05
_MARGINS = (0.0, _CUT / 2, _CUT)
_CORNERS = ((0.0, 0.0), (0.0, _CUT), (_CUT, 0.0), (_CUT, _CUT))
_WINDOWS = len(_MARGINS) + len(_CORNERS)
_COMPARED = ((0, 0), *(pair for cut in range(1, _WINDOWS) for pair in ((0, cut), (cut, 0))))
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
    >>> found.groups.tolist(), found.kinds.tolist()
    ([0, 0, -1, 0], [1, 1, 0, 3])
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


def fingerprints(thumbnails: np.ndarray) -> np.ndarray:
    """Perceptual hashes of images, whole and cut at the edges.

    Args:
        thumbnails: uint8 `(n, t, t, 3)`; may be mapped from a file.

    Returns:
        uint64 `(n, 7)`, of the whole image in the first column.
    """
    found = np.empty((len(thumbnails), _WINDOWS), np.uint64)
    for start in range(0, len(thumbnails), _AT_A_TIME):
        shown = thumbnails[start : start + _AT_A_TIME]
        for column in range(_WINDOWS):
            part, margin = _window(shown, column)
            found[start : start + _AT_A_TIME, column] = perceptual_hashes(part, margin)
    return found


def nearest_by_fingerprint(hashes: np.ndarray, exact_up_to: int = _EXACT_UP_TO) -> np.ndarray:
    """The images whose fingerprints differ in the fewest bits, int32 `(n, m)`, -1 for none.

    Args:
        hashes: uint64 `(n,)`.
        exact_up_to: With more images than this, an inverted file of Faiss is searched.

    Time: n^2 comparisons of 64 bits, 1e8 in about a second, and a tenth of them in an inverted
    file. Memory: m numbers an image.
    """
    codes = np.ascontiguousarray(hashes).view(np.uint8).reshape(-1, 8)
    index: faiss.IndexBinary = faiss.IndexBinaryFlat(64)
    if len(codes) > exact_up_to:
        cells = int(len(codes) ** 0.5)
        index = faiss.IndexBinaryIVF(index, 64, cells)
        index.nprobe = max(8, round(_SEARCHED * cells))
        index.cp.min_points_per_centroid = 1
        index.train(codes)
    index.add(codes)
    _, found = index.search(codes, min(_ALIKE + 1, len(codes)))
    found[found == np.arange(len(codes))[:, np.newaxis]] = -1
    return found.astype(np.int32)


def may_have_same_pixels(hashes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Tells which images have to be compared pixel by pixel with others.

    Copies have the same size and nearly the same fingerprint, so that few files are read again.

    Args:
        hashes: uint64 `(n,)`.
        sizes: Height and width of each image, int32 `(n, 2)`.

    Returns:
        bool `(n,)`.

    Time: n^2 comparisons of 64 bits, 1e9 in about a second.
    """
    groups = connected(near_pairs(hashes, _SAME_PIXELS_BITS), len(hashes))
    keys = np.concatenate([groups[:, np.newaxis], sizes], axis=1)
    _, inverse, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    return (groups >= 0) & (counts[inverse.reshape(-1)] > 1)


def near_copies(
    descriptors: np.ndarray,
    candidates: Sequence[np.ndarray],
    hashes: np.ndarray,
    thumbnails: np.ndarray,
    options: NearOptions,
) -> np.ndarray:
    """Finds near copies among images that are nearest to each other in some sense.

    An image with ten copies or more has none but them among its ten nearest, which connects all of
    them; so little is lost by looking no further.

    Args:
        descriptors: float32 `(n, dim)`.
        candidates: The nearest images of each, int32 `(n, m)`, -1 for none.
        hashes: What `fingerprints` gave.
        thumbnails: uint8 `(n, t, t, 3)`; may be mapped from a file.
        options: When two images are near copies.

    Returns:
        Pairs, int64 `(p, 2)`, sorted, the smaller index first.
    """
    pairs = _pairs(candidates)
    close = np.zeros(len(pairs), bool)
    for start in range(0, len(pairs), _AT_A_TIME):
        first, second = pairs[start : start + _AT_A_TIME].T
        away = np.linalg.norm(descriptors[first] - descriptors[second], axis=1)
        close[start : start + _AT_A_TIME] = away <= options.distance
    pairs = pairs[close]
    near = np.zeros(len(pairs), bool)
    for own, other in _COMPARED:
        bits = np.bitwise_count(hashes[pairs[:, 0], own] ^ hashes[pairs[:, 1], other])
        asked = np.flatnonzero((bits <= options.bits) & ~near)
        for start in range(0, len(asked), _AT_A_TIME):
            these = asked[start : start + _AT_A_TIME]
            shown, margin = _window(thumbnails[pairs[these, 0]], own)
            others, other_margin = _window(thumbnails[pairs[these, 1]], other)
            alike = correlations(shown, others, margin, other_margin)
            near[these] = alike >= options.correlation
    return pairs[near]


def _pairs(candidates: Sequence[np.ndarray]) -> np.ndarray:
    """All pairs of images and their nearest, once each, sorted, int64 `(p, 2)`."""
    found = []
    for nearest in candidates:
        rows, columns = np.nonzero(nearest >= 0)
        found.append(np.stack([rows, nearest[rows, columns]], axis=1).astype(np.int64))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def _window(thumbnails: np.ndarray, number: int) -> tuple[np.ndarray, float]:
    """A part of thumbnails, and the margin to be cut off it at each edge."""
    if number < len(_MARGINS):
        return thumbnails, _MARGINS[number]
    side = thumbnails.shape[1]
    width = round((1 - _CUT) * side)
    top, left = (side - width if place else 0 for place in _CORNERS[number - len(_MARGINS)])
    return thumbnails[:, top : top + width, left : left + width], 0.0


def _with_first(digests: Sequence[bytes]) -> np.ndarray:
    """Pairs each image with the first one of the same digest, int64 `(m, 2)`."""
    first: dict[bytes, int] = {}
    pairs = [
        (first[digest], index)
        for index, digest in enumerate(digests)
        if digest and first.setdefault(digest, index) != index
    ]
    return np.array(pairs, np.int64).reshape(-1, 2)

"""R-MAC: one vector for an image of any size, of the maxima of its feature maps in many regions.

    maps  ->  maximum in each region  ->  L2  ->  PCA-whitening  ->  L2  ->  sum  ->  L2

What this adds to the maxima of the whole maps is that a thing which takes a part of an image has
regions to itself.

Reference: Tolias, Sicre and Jegou 2016, "Particular object retrieval with integral max-pooling of
CNN activations", section 3.2.
"""

import dataclasses

import numpy as np

from dc_keras.clustering.whitening import Whitening, fit_whitening
from dc_keras.errors import DegenerateDataError, InputError

# Sizes of regions, and the part that neighbours among the largest shall have in common.
LEVELS = 3
OVERLAP = 0.4
# Dimensions of the whitened vectors: all that VGG16's last convolution has.
DIM = 512
# The largest regions along the longer side are between these numbers, unless the map is square.
_FEWEST, _MOST = 2, 7
# Whitening divides by no variance below this part of the largest.
_EIGENVALUE_FLOOR = 1e-5


def regions(height: int, width: int, levels: int = LEVELS) -> np.ndarray:
    """The square regions of a map.

    Those of level 1 are as large as the shorter side. There are as many of them along the longer
    side as bring their overlap closest to 40 per cent; the fewer of two numbers that do equally
    well. Level l has regions of 2 / (l + 1) of that size, and l - 1 more in either direction.

    Args:
        height: Of the map.
        width: Of the map.
        levels: How many sizes of regions; those that would be empty on a tiny map are left out.

    Returns:
        y, x and side of each, int64 `(r, 3)`, the largest first.

    >>> regions(4, 6, levels=2).tolist()
    [[0, 0, 4], [0, 2, 4], [0, 0, 2], [0, 2, 2], [0, 4, 2], [2, 0, 2], [2, 2, 2], [2, 4, 2]]
    """
    shorter, longer = sorted((height, width))
    more_down, more_across = 0, 0
    if longer > shorter:
        numbers = np.arange(_FEWEST, _MOST + 1)
        overlaps = 1 - (longer - shorter) / (numbers - 1) / shorter
        more = int(numbers[np.abs(overlaps - OVERLAP).argmin()]) - 1
        more_down, more_across = (more, 0) if height > width else (0, more)
    found = []
    for level in range(1, levels + 1):
        side = 2 * shorter // (level + 1)
        if side:
            found += [
                (y, x, side)
                for y in _starts(height, side, level + more_down)
                for x in _starts(width, side, level + more_across)
            ]
    return np.array(found, np.int64)


def _starts(length: int, side: int, count: int) -> list[int]:
    """Where regions begin, from one end of the map to the other."""
    # In integers: rounding of fractions would put some of them a place too early.
    return [number * (length - side) // max(count - 1, 1) for number in range(count)]


def region_vectors(maps: np.ndarray) -> np.ndarray:
    """The maximum of each channel in each region, of unit length.

    Args:
        maps: Of one image, float `(h, w, c)`, h and w at least 1.

    Returns:
        float32 `(r, c)`; a region where all is zero stays zero.

    Raises:
        InputError: If the maps are not finite.
    """
    if not np.isfinite(maps).all():
        raise InputError(
            "Feature maps are not finite, so nothing can be found by them. Received: NaN or "
            "infinity from the last convolution. The training has diverged: evaluate another run."
        )
    maxima = [
        maps[y : y + side, x : x + side].max(axis=(0, 1)) for y, x, side in regions(*maps.shape[:2])
    ]
    return _unit_length(np.stack(maxima))


def fit_region_whitening(vectors: np.ndarray, dim: int = DIM) -> Whitening:
    """Fits PCA-whitening on the regions of other images than those that are searched.

    Args:
        vectors: What `region_vectors` gives, of all these images, float32 `(n, c)`; overwritten, to
            save a copy.
        dim: Dimensions wanted.

    Returns:
        The whitening, whose `apply` gives unit length. Variances below 1e-5 of the largest count as
        that much, so that what hardly varies is not blown up.

    Raises:
        InputError: If all regions are alike.
    """
    try:
        found = fit_whitening(vectors, dim, copy=False)
    except DegenerateDataError as error:
        raise InputError(
            f"The regions of all images are alike to the network. Received: {len(vectors):,} "
            "regions of the images that whitening is learned on, whose feature maps are the same. "
            "Expected a network that tells images apart, and images that differ: if this is a "
            "trained network, it has collapsed."
        ) from error
    floored = np.maximum(found.eigenvalues, _EIGENVALUE_FLOOR * found.eigenvalues[0])
    weaker = np.sqrt(found.eigenvalues / floored)
    return dataclasses.replace(found, projection=(found.projection * weaker).astype(np.float32))


def aggregate(vectors: np.ndarray, whitening: Whitening) -> np.ndarray:
    """Sums the whitened regions of one image.

    Args:
        vectors: What `region_vectors` gives, float32 `(r, c)`.
        whitening: What `fit_region_whitening` gives.

    Returns:
        float32 `(d,)`, of unit length.
    """
    return _unit_length(whitening.apply(vectors).sum(axis=0, keepdims=True))[0]


def _unit_length(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    # The smallest normal number keeps a row of zeros zero instead of NaN.
    return (rows / np.maximum(lengths, np.finfo(np.float64).tiny)).astype(np.float32)

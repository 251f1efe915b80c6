"""Near copies of an image: encoded anew, resized, brightened or cut by a few per cent at the edges.

Each image is a fingerprint of 64 bits, the signs of its lowest frequencies, and those of near
copies differ in few bits. Where a count matters, the grey pixels have the last word: digits and
other images of little detail share frequencies and are no copies.
"""

import faiss
import numpy as np

# Bits of 63 in which fingerprints of near copies differ at most. Measured: JPEG of quality 30, half
# the size and a fifth brighter change 0 to 6 bits of photographs and 4 to 8 of noisy textures; the
# nearest of 4,000 other photographs differ in 8 to 14.
NEAR_BITS = 8
# Correlation of grey pixels that near copies have at least. Measured: 0.99 for what is above; of
# 1,797 digits of 8x8 pixels, 33 have another one as near, where 0.95 would take 876 for copies.
NEAR_CORRELATION = 0.985
# Parts of the side that are cut off: two images are compared as they are and with either cut.
_MARGINS = (0.0, 0.02, 0.04)

_SIDE, _FREQUENCIES = 16, 8
# The nearest fingerprints whose pixels are looked at.
_LOOKED_AT = 4
_AT_A_TIME = 4096
# Of red, green and blue, as image formats turn them into grey (ITU-R BT.601).
_LUMA = np.array([0.299, 0.587, 0.114])
# Frequencies that are rounding alone, in grey levels.
_DECIMALS = 2


def perceptual_hashes(thumbnails: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """Fingerprints of images: of near copies they differ in a few bits, of others in about half.

    Args:
        thumbnails: uint8 `(n, s, s)` or `(n, s, s, 3)`, s from 16 on, 32 at best; reduced with
            antialiasing.
        margin: Part of the side that is cut off at each edge first.

    Returns:
        uint64 `(n,)`. Images of one colour have the fingerprint 0.

    >>> ramp = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (1, 32, 1))
    >>> int(perceptual_hashes(ramp)[0] ^ perceptual_hashes(ramp // 2)[0]).bit_count() <= 2
    True

    Reference:
        The perceptual hash of C. Zauner, Implementation and Benchmarking of Perceptual Image Hash
        Functions (2010): the 8x8 lowest frequencies of the cosine transform, each above the median
        or not. The mean is left out.
    """
    angles = np.pi * np.arange(_FREQUENCIES)[:, np.newaxis] * (np.arange(_SIDE) + 0.5) / _SIDE
    waves = np.cos(angles)
    hashes = np.empty(len(thumbnails), np.uint64)
    for start in range(0, len(thumbnails), _AT_A_TIME):
        grey = _grey(thumbnails[start : start + _AT_A_TIME], margin)
        strengths = np.round(waves @ grey @ waves.T, _DECIMALS).reshape(len(grey), -1)
        bits = strengths > np.median(strengths[:, 1:], axis=1, keepdims=True)
        bits[:, 0] = False
        hashes[start : start + _AT_A_TIME] = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return hashes


def near_pairs(hashes: np.ndarray, max_bits: int) -> np.ndarray:
    """Pairs of images whose fingerprints differ in few bits.

    Args:
        hashes: uint64 `(n,)`.
        max_bits: Bits that may differ, from 0 to 64.

    Returns:
        int64 `(m, 2)`, sorted, the smaller index first. Images of equal fingerprints are paired
        with the first of them alone, and that one with the first of others: so a thousand copies
        make 999 pairs, and images that are connected by pairs are found together.

    >>> near_pairs(np.array([0b0, 0b1111, 0b0, 0b1], np.uint64), max_bits=1)
    array([[0, 2],
           [0, 3]])

    Time: n^2 comparisons of 64 bits, 1e9 in about a second. Memory: that of the pairs.
    """
    values, firsts, groups = np.unique(hashes, return_index=True, return_inverse=True)
    members = np.stack([firsts[groups], np.arange(len(hashes))], axis=1)
    pairs = [members[members[:, 0] != members[:, 1]]]
    index = _index(values)
    codes = _codes(values)
    for start in range(0, len(values), _AT_A_TIME):
        # Faiss finds what is below the radius.
        ends, _, found = index.range_search(codes[start : start + _AT_A_TIME], max_bits + 1)
        queries = np.repeat(np.arange(len(ends) - 1) + start, np.diff(ends.astype(np.int64)))
        once = queries < found
        pairs.append(np.sort(firsts[np.stack([queries[once], found[once]], axis=1)], axis=1))
    found = np.concatenate(pairs).astype(np.int64)
    return found[np.lexsort((found[:, 1], found[:, 0]))]


def find_near_copies(images: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Looks for a near copy of each image among others.

    Args:
        images: Thumbnails, uint8 `(n, s, s)` or `(n, s, s, 3)`; see `perceptual_hashes`.
        among: Others, `(m, s, s)` or `(m, s, s, 3)`.

    Returns:
        int64 `(n,)`, an index into `among`, or -1 where there is none. Images of one colour have
        none.

    Time: 6 n m comparisons of 64 bits, 1e9 in about a second. Memory: 1 KB an image.
    """
    copies = np.full(len(images), -1, np.int64)
    if not len(among):
        return copies
    cuts = [(0.0, margin) for margin in _MARGINS] + [(margin, 0.0) for margin in _MARGINS[1:]]
    for own, other in cuts:
        _look_for_copies(copies, images, among, (own, other))
    return copies


def _look_for_copies(
    copies: np.ndarray, images: np.ndarray, among: np.ndarray, margins: tuple[float, float]
) -> None:
    """Fills in near copies for images that have none yet, with margins of either cut off."""
    index = _index(perceptual_hashes(among, margins[1]))
    count = min(_LOOKED_AT, len(among))
    missing = np.flatnonzero(copies < 0)
    for start in range(0, len(missing), _AT_A_TIME):
        asked = missing[start : start + _AT_A_TIME]
        bits, found = index.search(_codes(perceptual_hashes(images[asked], margins[0])), count)
        for nearest in range(count):
            near = (bits[:, nearest] <= NEAR_BITS) & (copies[asked] < 0)
            these, those = asked[near], found[near, nearest]
            alike = correlations(images[these], among[those], *margins) >= NEAR_CORRELATION
            copies[these[alike]] = those[alike]


def correlations(
    first: np.ndarray, second: np.ndarray, first_margin: float = 0.0, second_margin: float = 0.0
) -> np.ndarray:
    """Correlation of the grey pixels of two images each, whatever their brightness and contrast.

    Args:
        first: Thumbnails, uint8 `(n, s, s)` or `(n, s, s, 3)`.
        second: As many others.
        first_margin: Part of the side that is cut off the first of each pair.
        second_margin: The same, of the second.

    Returns:
        float `(n,)` from -1 to 1; 0 where an image is of one colour.
    """
    product = _normalised(first, first_margin) * _normalised(second, second_margin)
    return product.sum(axis=(1, 2))


def _normalised(thumbnails: np.ndarray, margin: float) -> np.ndarray:
    grey = _grey(thumbnails, margin)
    grey -= grey.mean(axis=(1, 2), keepdims=True)
    length = np.sqrt(np.square(grey).sum(axis=(1, 2), keepdims=True))
    return np.divide(grey, length, out=np.zeros_like(grey), where=length > 10.0**-_DECIMALS)


def _grey(thumbnails: np.ndarray, margin: float) -> np.ndarray:
    """The middle of each image as 16x16 grey levels, float64, by the mean over areas."""
    grey = thumbnails.astype(np.float64)
    if grey.ndim == 4:
        grey = grey @ _LUMA
    side = grey.shape[1]
    edges = np.linspace(margin * side, side - margin * side, _SIDE + 1)[:, np.newaxis]
    pixels = np.arange(side)
    shares = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    shares = np.maximum(shares, 0)
    shares /= shares.sum(axis=1, keepdims=True)
    return shares @ grey @ shares.T


def _codes(hashes: np.ndarray) -> np.ndarray:
    """The bytes of each fingerprint, as Faiss takes them."""
    return np.ascontiguousarray(hashes, np.uint64).view(np.uint8).reshape(-1, 8)


def _index(hashes: np.ndarray) -> faiss.IndexBinaryFlat:
    index = faiss.IndexBinaryFlat(64)
    index.add(_codes(hashes))
    return index

"""Features of patches by k-means: what needs no network, and minutes alone.

Small random patches of the images are contrast-normalised and ZCA-whitened, k-means finds centroids
among them, and an image is described by how near its patches are to each of these, summed over its
four quadrants. A network that tells less than this has learned nothing that is worth its time.

    f_k(x) = max(0, mean_j z_j - z_k),   z_k = || x - c_k ||

Reference:
    Coates, Lee and Ng 2011, "An Analysis of Single-Layer Networks in Unsupervised Feature
    Learning", with its patches of 6 x 6 pixels at every position and its constants.
"""

import dataclasses
import sys

import numpy as np
import scipy.linalg
from tqdm import tqdm

from dc_keras.clustering.kmeans import KMeansOptions, kmeans
from dc_keras.errors import InputError
from dc_keras.seeds import derive_seed, numpy_rng

# Side of the patches in pixels, and of the images that they are taken from at most.
PATCH_SIZE, MAX_SIDE = 6, 32
NUM_CENTROIDS = 800
# Patches that whitening and centroids are learned from, at most: 43 MB.
NUM_PATCHES = 100_000

# Added to the variance of a patch, in grey levels squared, and to those of the whitened directions.
_CONTRAST_FLOOR, _WHITENING_FLOOR = 10.0, 0.1
_KMEANS = KMeansOptions(iterations=50)
# Distances of patches to centroids that are in memory at once: 64 MB in float32.
_BLOCK_CELLS = 2**24


@dataclasses.dataclass(frozen=True)
class PatchFeatures:
    """What an image is described with.

    Attributes:
        mean: Of the contrast-normalised patches, float32 `(108,)`.
        whitening: ZCA, float32 `(108, 108)`.
        centroids: Of the whitened patches, float32 `(k, 108)`.
    """

    mean: np.ndarray
    whitening: np.ndarray
    centroids: np.ndarray

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Describes images.

        Args:
            images: uint8 `(n, s, s, 3)`, with s of at least 6, as those that were fitted to.

        Returns:
            float32 `(n, 4 k)`: the upper left, upper right, lower left and lower right quadrant,
            in each the mean over its patches of how much nearer than on average a centroid is.
            Takes 216 k operations a patch, of which an image has (s - 5)^2; memory is that of the
            features and 128 MB.
        """
        num_centroids = len(self.centroids)
        positions = (images.shape[1] - PATCH_SIZE + 1) ** 2
        block = max(1, _BLOCK_CELLS // (positions * num_centroids))
        pooling = _quadrants(images.shape[1] - PATCH_SIZE + 1)
        features = np.empty((len(images), 4 * num_centroids), np.float32)
        with tqdm(
            total=len(images), desc="patches", disable=not sys.stderr.isatty(), leave=False
        ) as bar:
            for start in range(0, len(images), block):
                some = images[start : start + block]
                patches = contrast_normalised(_all_patches(some))
                active = self._activations((patches - self.mean) @ self.whitening)
                pooled = pooling @ active.reshape(len(some), positions, num_centroids)
                features[start : start + block] = pooled.reshape(len(some), -1)
                bar.update(len(some))
        return features

    def _activations(self, patches: np.ndarray) -> np.ndarray:
        """How much nearer than on average each centroid is, float32 `(m, k)`."""
        # In place, since this is what takes the time and the memory.
        distances = patches @ self.centroids.T
        distances *= -2
        distances += np.einsum("ij,ij->i", self.centroids, self.centroids)
        distances += np.einsum("ij,ij->i", patches, patches)[:, None]
        np.maximum(distances, 0, out=distances)
        np.sqrt(distances, out=distances)
        np.subtract(distances.mean(axis=1, keepdims=True), distances, out=distances)
        return np.maximum(distances, 0, out=distances)


def fit_patches(
    images: np.ndarray, *, seed: int, num_centroids: int = NUM_CENTROIDS
) -> PatchFeatures:
    """Learns whitening and centroids from random patches.

    Args:
        images: uint8 `(n, s, s, 3)`.
        seed: Draws patches and what k-means starts from.
        num_centroids: Centroids to find; as many as there are patches if those are fewer.

    Returns:
        The `PatchFeatures`, in about 20 seconds on two cores.

    Raises:
        InputError: If images are smaller than a patch.

    >>> images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    >>> fit_patches(images, seed=31, num_centroids=5).apply(images).shape
    (4, 20)
    """
    check_side(images.shape[1])
    patches = contrast_normalised(_random_patches(images, seed))
    mean = patches.mean(axis=0, dtype=np.float64).astype(np.float32)
    whitening = zca(patches - mean)
    found = kmeans(
        (patches - mean) @ whitening,
        min(num_centroids, len(patches)),
        _KMEANS,
        seed=derive_seed(seed, "patch centroids"),
        progress=sys.stderr.isatty(),
    )
    return PatchFeatures(mean, whitening, found.centroids)


def check_side(side: int) -> None:
    """Checks that images of so many pixels a side have a patch.

    Raises:
        InputError: If they are smaller.
    """
    if side < PATCH_SIZE:
        raise InputError(
            f"Images are smaller than a patch. Received: --baseline=patches for a run of {side} x "
            f"{side} pixels. Expected at least {PATCH_SIZE} x {PATCH_SIZE}. Leave patches out."
        )


def contrast_normalised(patches: np.ndarray) -> np.ndarray:
    """Patches less their mean, over the root of their variance plus 10.

    Args:
        patches: Grey levels from 0 to 255, `(m, d)`.

    Returns:
        float32 `(m, d)`.

    >>> contrast_normalised(np.array([[7, 7], [10, 20]], np.uint8)).astype(float).round(1).tolist()
    [[0.0, 0.0], [-0.8, 0.8]]
    """
    patches = patches.astype(np.float32)
    patches -= patches.mean(axis=1, keepdims=True)
    variances = np.einsum("ij,ij->i", patches, patches)[:, None] / patches.shape[1]
    return patches / np.sqrt(variances + np.float32(_CONTRAST_FLOOR))


def zca(centred: np.ndarray) -> np.ndarray:
    """The symmetric matrix that makes all directions alike: V diag(l + 0.1)^(-1/2) V'.

    Args:
        centred: float32 `(m, d)` of mean 0, whose covariance has eigenvalues l and vectors V.

    Returns:
        float32 `(d, d)`.
    """
    covariance = (centred.T @ centred).astype(np.float64) / len(centred)
    eigenvalues, vectors = scipy.linalg.eigh(covariance)
    scales = 1 / np.sqrt(np.maximum(eigenvalues, 0) + _WHITENING_FLOOR)
    return ((vectors * scales) @ vectors.T).astype(np.float32)


def _random_patches(images: np.ndarray, seed: int) -> np.ndarray:
    """Patches of random places in random images, uint8 `(m, 108)`, as many as learning takes."""
    rng = numpy_rng(seed, "patches")
    places = images.shape[1] - PATCH_SIZE + 1
    drawn = rng.permutation(len(images) * places**2)[:NUM_PATCHES]
    image, row, column = np.unravel_index(drawn, (len(images), places, places))
    windows = np.lib.stride_tricks.sliding_window_view(images, (PATCH_SIZE,) * 2, axis=(1, 2))
    return windows[image, row, column].reshape(len(drawn), -1)


def _all_patches(images: np.ndarray) -> np.ndarray:
    """The patches of each place, image by image and row by row, uint8 `(n * places, 108)`."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (PATCH_SIZE,) * 2, axis=(1, 2))
    return windows.reshape(-1, PATCH_SIZE**2 * images.shape[3])


def _quadrants(places: int) -> np.ndarray:
    """Weights float32 `(4, places^2)` that average each quadrant; its middle goes to the first."""
    first = np.arange(places) < (places + 1) // 2
    # A single place has no second half.
    halves = [first, ~first if places > 1 else first]
    masks = np.stack([np.outer(rows, columns).ravel() for rows in halves for columns in halves])
    return (masks / masks.sum(axis=1, keepdims=True)).astype(np.float32)

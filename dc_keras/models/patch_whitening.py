"""A fixed first layer from the images themselves: their patches, whitened.

Neighbouring pixels are nearly alike, so that the first convolution of a network spends its time on
learning to subtract them. The statistics of small patches give that at once: each filter looks
along a principal direction of the patches, scaled to equal variance, so that edges and colours,
which are rare, count as much as brightness. Like Sobel filters it is fixed, but keeps colours.

    filter i = v_i / sqrt(l_i + FLOOR),   outputs ReLU(filter i), ReLU(-filter i)

with eigenvectors v and eigenvalues l of the covariance of normalised patches.

Reference:
    Coates, Lee and Ng 2011, "An Analysis of Single-Layer Networks in Unsupervised Feature
    Learning", for what whitening is worth to k-means; Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds
    on a Single GPU", section 3.2, for the layer.
"""

from collections.abc import Iterable

import keras
import numpy as np

from dc_keras.models.layers import Convolution
from dc_keras.models.sobel import PIXEL_MEAN, PIXEL_STD

PATCHES = "patches"
# Added to variances of normalised pixels, which are about 1 along the strongest direction: weaker
# ones than this are noise of the camera, or of JPEG.
FLOOR = 1e-2


def patches(x: keras.KerasTensor, size: int) -> keras.KerasTensor:
    """The layer, whose filters are zero until `fit_filters` gives them.

    Args:
        x: Normalised colours, float `(n, h, w, 3)`.
        size: Side of the patches, odd.

    Returns:
        Responses to all filters and to their opposites, float `(n, h, w, 6 size^2)`.
    """
    x = Convolution(
        6 * size**2,
        size,
        padding="same",
        use_bias=False,
        kernel_initializer="zeros",
        trainable=False,
        name=PATCHES,
    )(x)
    return keras.layers.ReLU(name="relu_patches")(x)


def fit_filters(batches: Iterable[np.ndarray], size: int) -> np.ndarray:
    """Filters that whiten the patches of images.

    Args:
        batches: Images, uint8 `(b, h, w, 3)`, no smaller than the patches.
        size: Side of the patches.

    Returns:
        float32 `(size, size, 3, 6 size^2)`: by decreasing variance, then their opposites.
        Directions without variance are scaled as far as `FLOOR` allows.

    >>> images = np.random.default_rng(0).integers(0, 256, (8, 9, 9, 3)).astype(np.uint8)
    >>> fit_filters([images], size=3).shape
    (3, 3, 3, 54)
    """
    values = 3 * size**2
    count, total, products = 0, np.zeros(values), np.zeros((values, values))
    mean, std = (255 * np.array(one, np.float32) for one in (PIXEL_MEAN, PIXEL_STD))
    for images in batches:
        pixels = (images.astype(np.float32) - mean) / std
        windows = np.lib.stride_tricks.sliding_window_view(pixels, (size, size), axis=(1, 2))
        # (n, y, x, colour, row, column); patches that do not overlap tell as much.
        rows = windows[:, ::size, ::size].transpose(0, 1, 2, 4, 5, 3).reshape(-1, values)
        count += len(rows)
        total += rows.sum(axis=0, dtype=np.float64)
        products += (rows.T @ rows).astype(np.float64)
    covariance = products / count - np.outer(total, total) / count**2
    variances, directions = np.linalg.eigh(covariance)
    filters = directions / np.sqrt(np.maximum(variances, 0) + FLOOR)
    filters = filters[:, ::-1].reshape(size, size, 3, values)
    return np.concatenate([filters, -filters], axis=-1).astype(np.float32)

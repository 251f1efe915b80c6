"""Where in an image a network sees what puts it into its cluster.

Two ways that know nothing of each other: gradients, which are quick and may mislead, and covering
parts of the image, which measures. For the first, a cluster's score is linear in the features x, as
that of a row of the head would be:

    score(x) = (x - mean) P c

with the projection P of the whitening and the cluster's final centroid c. Divided by the length of
(x - mean) P, the same for all clusters, it is the product of descriptor and centroid, by whose
size images are given to clusters. The saved head is no help: it was trained for the clusters of the
last turn, which are not the final ones.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from PIL import Image
from scipy.ndimage import gaussian_filter

from dc_keras.clustering.whitening import Whitening
from dc_keras.exploring.look.open_network import OpenNetwork

# Places in a row where an image is covered, and the standard deviations of the cover and of the
# blur that it shows, as parts of the image's side.
_PLACES, _COVER, _BLUR = 7, 0.09, 0.2
# Nothing, some, much: dark to bright, so that it can be read without colours too.
_HEAT = np.array(
    [[0, 0, 10], [60, 15, 110], [150, 40, 110], [230, 90, 50], [252, 180, 30], [255, 255, 160]]
)


def cluster_rows(whitening: Whitening, centroids: np.ndarray) -> np.ndarray:
    """The direction in feature space that raises each cluster's score.

    Of whitened features this is not where the cluster's mean lies (`Whitening.features_at`): a
    direction in which all images vary much tells little of the cluster.

    Args:
        whitening: From features to descriptors.
        centroids: float32 `(k, dim)`.

    Returns:
        float32 `(k, feature_dim)`.
    """
    return (centroids @ whitening.projection.T).astype(np.float32)


def gradient_heat(maps: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Multiplies maps by their gradients, place by place, and keeps what speaks for the score.

    Grad-CAM weighs each map by the mean of its gradients instead. Behind a global average pooling
    that is the same. Behind fully connected layers, which weigh each place in its own way, the mean
    forgets where: docs/look.md has figures.

    Args:
        maps: float `(n, h, w, c)`.
        gradients: Of the score by the maps, the same shape.

    Returns:
        float32 `(n, h, w)`, not negative.

    Reference:
        Selvaraju et al. 2017, "Grad-CAM"; Draelos and Carin 2020, "HiResCAM", equation 3.
    """
    return np.maximum((gradients * maps).sum(axis=-1), 0.0).astype(np.float32)


def heat_maps(network: OpenNetwork, images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Heat by gradients, for a score that is linear in the features of images.

    Args:
        network: Opened for the layer whose maps are taken.
        images: uint8 `(n, s, s, 3)`.
        rows: Direction of the score for each image, float32 `(n, feature_dim)`.

    Returns:
        float32 `(n, h, w)`, the largest of each image 1; where nothing speaks for the score, all
        are 0.
    """
    pixels = network.normalized(images)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        maps, features = network.model(pixels, training=False)
        score = tf.reduce_sum(tf.cast(features, tf.float32) * rows)
    found = gradient_heat(
        *(tf.cast(one, tf.float32).numpy() for one in (maps, tape.gradient(score, maps)))
    )
    return _scaled(found)


def covering_maps(images: np.ndarray, score: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """How much the score falls where an image is covered.

    The cover is soft and shows the image blurred, since its own edges would be seen, too.

    Args:
        images: uint8 `(n, s, s, 3)`.
        score: From images `(m, s, s, 3)` to their scores `(m,)`.

    Returns:
        float32 `(n, 7, 7)`, the largest of each image 1; 0 where the score does not fall.

    Reference:
        Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2;
        the blur of Fong and Vedaldi 2017, "Meaningful Perturbation".
    """
    masks = cover_masks(images.shape[1])
    found = []
    for image in images:
        hidden = _covered(image, masks)
        # The image itself among them, so that equal images get equal scores.
        scores = score(np.concatenate([image[np.newaxis], hidden]))
        found.append(scores[0] - scores[1:])
    falls = np.maximum(np.array(found, np.float32), 0.0)
    return _scaled(falls.reshape(-1, _PLACES, _PLACES))


def cover_masks(side: int) -> np.ndarray:
    """How much of each pixel is hidden, for each place of the cover, row by row.

    Args:
        side: Of the image in pixels.

    Returns:
        float32 `(49, side, side)`, 0 to 1.
    """
    pixels = (np.arange(side) + 0.5) / side
    centres = (np.arange(_PLACES) + 0.5) / _PLACES
    bumps = np.exp(-((pixels - centres[:, np.newaxis]) ** 2) / (2 * _COVER**2))
    masks = np.einsum("iy,jx->ijyx", bumps, bumps)
    return masks.reshape(-1, side, side).astype(np.float32)


def _covered(image: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """An image under each mask, uint8 `(masks, s, s, 3)`."""
    width = _BLUR * len(image)
    blurred = gaussian_filter(image.astype(np.float32), (width, width, 0))
    shown = masks[..., np.newaxis]
    return np.rint((1.0 - shown) * image + shown * blurred).astype(np.uint8)


def _scaled(maps: np.ndarray) -> np.ndarray:
    """Maps, not negative, with a largest value of one, where it is not zero."""
    largest = maps.max(axis=(1, 2), keepdims=True)
    return maps / np.maximum(largest, np.finfo(np.float32).tiny)


def with_heat(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lays a heat map over an image, which loses its colours.

    Args:
        image: uint8 `(s, s, 3)`.
        heat: float32 `(h, w)`, 0 to 1.

    Returns:
        uint8 `(s, s, 3)`.
    """
    height, width = image.shape[:2]
    wide = Image.fromarray(heat).resize((width, height), Image.Resampling.BILINEAR)
    values = np.clip(np.asarray(wide), 0.0, 1.0)[..., np.newaxis]
    grey = image.mean(axis=2, keepdims=True)
    opacity = 0.25 + 0.45 * values
    mixed = (1.0 - opacity) * grey + opacity * heat_colours(values[..., 0])
    return np.rint(mixed).astype(np.uint8)


def heat_colours(values: np.ndarray) -> np.ndarray:
    """Colours of values in 0..1, float64 `(..., 3)` in 0..255, the brighter the larger.

    >>> heat_colours(np.array([0.0, 0.2, 1.0])).tolist()
    [[0.0, 0.0, 10.0], [60.0, 15.0, 110.0], [255.0, 255.0, 160.0]]
    """
    places = np.linspace(0.0, 1.0, len(_HEAT))
    return np.stack([np.interp(values, places, channel) for channel in _HEAT.T], axis=-1)

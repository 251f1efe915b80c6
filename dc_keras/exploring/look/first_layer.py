"""Pictures of the filters that see the image."""

import numpy as np
from scipy.signal import convolve2d

from dc_keras.models.sobel import SOBEL


def filters_on_pixels(kernel: np.ndarray) -> np.ndarray:
    """What filters behind the Sobel filters are on grey pixels.

    Two linear filters, one after the other, are one: the convolution of both.

    Args:
        kernel: float `(h, w, 2, filters)`: for horizontal and vertical change.

    Returns:
        float32 `(h + 2, w + 2, filters)`.

    >>> centre = np.zeros((3, 3, 2, 1), np.float32)
    >>> centre[1, 1, 0, 0] = 1  # the horizontal change as it is
    >>> filters_on_pixels(centre)[1:4, 1:4, 0].tolist()
    [[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]]
    """
    made = [
        sum(convolve2d(kernel[:, :, side, one], SOBEL[side]) for side in range(2))
        for one in range(kernel.shape[-1])
    ]
    return np.stack(made, axis=-1).astype(np.float32)


def filter_pictures(kernel: np.ndarray, *, behind_sobel: bool) -> list[list[np.ndarray]]:
    """Pictures of each filter: in colours where it sees them, else one for each of its inputs.

    Zero is the grey in the middle, and the largest weight of a filter, by size, black or white.

    Args:
        kernel: float `(h, w, inputs, filters)`.
        behind_sobel: Whether the inputs are the two gradients of the image; what the filter makes
            of grey pixels then comes third.

    Returns:
        For each filter its pictures, uint8 `(height, width, 3)`.

    >>> edge = np.array([[-1, 1]], np.float32).reshape(1, 2, 1, 1).repeat(3, axis=2)
    >>> filter_pictures(edge, behind_sobel=False)[0][0][0].tolist()
    [[0, 0, 0], [255, 255, 255]]
    """
    filters = range(kernel.shape[-1])
    if kernel.shape[2] == 3:
        return [[_picture(kernel[..., one])] for one in filters]
    found = []
    on_pixels = filters_on_pixels(kernel) if behind_sobel else None
    for one in filters:
        largest = np.abs(kernel[..., one]).max()
        pictures = [_picture(each, largest) for each in np.moveaxis(kernel[..., one], -1, 0)]
        if on_pixels is not None:
            pictures.append(_picture(on_pixels[..., one]))
        found.append(pictures)
    return found


def _picture(weights: np.ndarray, largest: float = 0.0) -> np.ndarray:
    """Weights `(h, w)` or `(h, w, 3)` as colours."""
    largest = largest or float(np.abs(weights).max()) or 1.0
    values = np.rint(127.5 + 127.5 * weights / largest).astype(np.uint8)
    return values if values.ndim == 3 else values[..., np.newaxis].repeat(3, axis=2)

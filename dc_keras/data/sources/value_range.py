"""What is black and what is white in images of 16 bits, of which cameras use some.

A camera of 12 bits writes files of 16, and its pictures may use eighty of the 65,536 values. In
most files nothing tells so; the images together do.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from dc_keras.data.pipelines import in_threads, unchanged
from dc_keras.data.pixels.options import ALL_OF_16_BITS
from dc_keras.data.sources.image_source import ImageSource

SEE_FLAG = ", see --value_range"

_SAMPLE = 256
# Part of an image's pixels that may lie below the range, and as many above: dead and hot pixels of
# a sensor would else be the range.
_OUTLIERS = 0.001
# Images that use half of all values are taken as they are.
_ENOUGH = (ALL_OF_16_BITS[1] + 1) // 2


def find_value_range(source: ImageSource, is_deep: np.ndarray) -> tuple[int, int]:
    """Finds the range of the 16-bit images of a data set.

    Args:
        source: The images.
        is_deep: Which of them have 16 bits, (n,), some at least.

    Returns:
        The values from the darkest to the brightest of at most 256 of these images, evenly spaced,
        each without the thousandth of its pixels at either end; or all of 16 bits if that is half
        of them or nothing. What is fully transparent does not count.
    """
    deep = np.flatnonzero(is_deep)
    sample = deep[np.linspace(0, len(deep) - 1, min(_SAMPLE, len(deep))).astype(int)]
    images = unchanged(
        tf.data.Dataset.from_tensor_slices(sample)
        .apply(in_threads(lambda i: tf.io.decode_png(source.load(i), channels=4, dtype=tf.uint16)))
        .ignore_errors(log_warning=False)
    )
    found = [ends for image in images.as_numpy_iterator() if (ends := _ends(image))]
    if not found:
        return ALL_OF_16_BITS
    low, high = min(low for low, _ in found), max(high for _, high in found)
    return (low, high) if 0 < high - low < _ENOUGH else ALL_OF_16_BITS


def with_value_range(
    source: ImageSource, is_deep: np.ndarray, told: str = ""
) -> tuple[ImageSource, str]:
    """Gives a source the range of its images, if they have 16 bits and it is not known.

    Args:
        source: The images.
        is_deep: Which of them have 16 bits, (n,).
        told: How to end the sentence about it.

    Returns:
        The same images, with the range among their options, and a sentence about it; as they are,
        and nothing, if none has 16 bits.
    """
    if not is_deep.any():
        return source, ""
    value_range = source.options.value_range or find_value_range(source, is_deep)
    low, high = value_range
    source.read_with(dataclasses.replace(source.options, value_range=value_range))
    return source, f"16-bit images: values {low} to {high} become black to white{told}"


def _ends(image: np.ndarray) -> tuple[int, int] | None:
    """The range of an image (h, w, 4), or nothing if all of it is transparent."""
    colors = image[image[..., 3] > 0][:, :3]
    if not colors.size:
        return None
    reached = np.cumsum(np.bincount(colors.ravel()))
    few = int(_OUTLIERS * reached[-1])
    low = int(np.searchsorted(reached, few, side="right"))
    return low, int(np.searchsorted(reached, reached[-1] - few))

"""Copies of training images among the test images: probes and neighbours know their classes."""

import hashlib
from typing import NamedTuple

import numpy as np

from dc_keras.clustering.near_copies import LUMA, find_near_copies
from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.data.sources.image_source import ImageSource

# Side of the thumbnails that near copies are looked for with; sides of inputs are multiples of it.
_THUMBNAIL = 32


class Copies(NamedTuple):
    """How many test images are copies of training images.

    Attributes:
        exact: Those whose centre crop is that of a training image, pixel by pixel: the same file,
            under whatever name, or another one with the same pixels.
        near: Others whose centre crop shows the same, see `near_copies`: encoded anew, resized,
            brightened or cut by a few per cent.
        images: A checksum of all centre crops, in order.
    """

    exact: int
    near: int
    images: str = ""


def count_copies(
    train: ImageSource, test: ImageSource, *, image_size: int, batch_size: int
) -> Copies:
    """Counts the test images that are training images, too, or nearly.

    Args:
        train: Training images.
        test: Test images.
        image_size: Side of the network's input in pixels, a multiple of 32.
        batch_size: Images that are read at a time.

    Returns:
        The numbers. All images are read once; memory is 1 KB an image.
    """
    of_train, among = _look_at(train, image_size, batch_size)
    of_test, thumbnails = _look_at(test, image_size, batch_size)
    known = set(of_train)
    others = np.array([digest not in known for digest in of_test], bool)
    near = find_near_copies(thumbnails[others], among) >= 0
    images = hashlib.blake2b(b"".join([*of_train, b"|", *of_test]), digest_size=16).hexdigest()
    return Copies(int((~others).sum()), int(near.sum()), images)


def _look_at(
    source: ImageSource, image_size: int, batch_size: int
) -> tuple[list[bytes], np.ndarray]:
    """Checksums of all centre crops, and these as grey thumbnails, uint8 (n, 32, 32)."""
    batches = ordered_batches(
        source, np.arange(len(source)), image_size=image_size, batch_size=batch_size
    )
    digests: list[bytes] = []
    thumbnails = np.empty((len(source), _THUMBNAIL, _THUMBNAIL), np.uint8)
    for batch in batches.as_numpy_iterator():
        cells = image_size // _THUMBNAIL
        grey = (batch @ LUMA).reshape(-1, _THUMBNAIL, cells, _THUMBNAIL, cells).mean((2, 4))
        thumbnails[len(digests) : len(digests) + len(batch)] = np.round(grey)
        digests += [hashlib.blake2b(crop.tobytes(), digest_size=16).digest() for crop in batch]
    return digests, thumbnails

"""Copies of training images among the test images: probes and neighbours know their classes."""

import hashlib
from collections.abc import Iterator

import numpy as np

from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.data.sources.image_source import ImageSource


def count_copies(train: ImageSource, test: ImageSource, *, image_size: int, batch_size: int) -> int:
    """Counts the test images that a network cannot tell from a training image.

    Args:
        train: Training images.
        test: Test images.
        image_size: Side of the network's input in pixels.
        batch_size: Images that are read at a time.

    Returns:
        How many test images have a centre crop that a training image has too, pixel by pixel: the
        same file, under whatever name, or another one with the same pixels. All images are read
        once; memory is 16 bytes a training image.
    """
    known = set(_digests(train, image_size, batch_size))
    return sum(digest in known for digest in _digests(test, image_size, batch_size))


def _digests(source: ImageSource, image_size: int, batch_size: int) -> Iterator[bytes]:
    batches = ordered_batches(
        source, np.arange(len(source)), image_size=image_size, batch_size=batch_size
    )
    for batch in batches.as_numpy_iterator():
        for crop in batch:
            yield hashlib.blake2b(crop.tobytes(), digest_size=16).digest()

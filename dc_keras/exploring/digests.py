"""Digests of files and of decoded pixels, for those images that may be copies of each other."""

import hashlib
import os
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from dc_keras.data.pipelines import in_threads, unchanged
from dc_keras.data.pixels.decoding import decode
from dc_keras.data.sources.image_source import ImageSource

# Hexadecimal digits: 128 bits, in which no two files meet by chance.
_DIGITS = 32


def file_digests(root: str, names: tuple[str, ...], which: np.ndarray) -> np.ndarray:
    """Digests of the bytes of some files, which are read in pieces.

    Args:
        root: Their folder; empty where images are no files, which have no digests.
        names: n paths from there on.
        which: Indices of those to read, integers `(m,)`.

    Returns:
        Hexadecimal digits, bytes `(n,)`; empty for the others and for what cannot be read.
    """
    digests = np.zeros(len(names), f"S{_DIGITS}")
    for index in which if root else ():
        try:
            with open(os.path.join(root, names[index]), "rb") as file:
                digests[index] = hashlib.file_digest(file, _hash).hexdigest().encode()
        except OSError:
            continue
    return digests


def pixel_digests(source: ImageSource, which: np.ndarray, *, progress: bool = False) -> np.ndarray:
    """Digests of the decoded pixels of some images, at their full size.

    Args:
        source: n images.
        which: Indices of those to decode, integers `(m,)`.
        progress: Whether to show a progress bar.

    Returns:
        Hexadecimal digits, bytes `(n,)`; empty for the others and for what cannot be read.
    """
    digests = np.zeros(len(source), f"S{_DIGITS}")

    def load(index):
        pixels = decode(source.load(index), source.options)
        return index, tf.numpy_function(_digest, [pixels], tf.string)

    dataset = unchanged(
        tf.data.Dataset.from_tensor_slices(np.asarray(which, np.int64))
        .apply(in_threads(load, in_order=False))
        .ignore_errors(log_warning=False)
    )
    with tqdm(
        total=len(which), desc="Comparing pixels", unit="image", disable=not progress, leave=False
    ) as bar:
        for index, digest in dataset.as_numpy_iterator():
            digests[index] = digest
            bar.update()
    return digests


def firsts(digests: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Those of some images that are the first of their digest.

    Args:
        digests: bytes `(n,)`; images without one are the first of their own.
        among: Indices, integers `(m,)`, ascending.

    Returns:
        Indices, ascending.
    """
    without = among[digests[among] == b""]
    rest = among[digests[among] != b""]
    _, first = np.unique(digests[rest], return_index=True)
    return np.sort(np.concatenate([without, rest[first]]))


def _hash() -> Any:
    return hashlib.blake2b(digest_size=_DIGITS // 2)


def _digest(pixels: np.ndarray) -> bytes:
    digest = _hash()
    # Pictures of 2x8 and 4x4 pixels may have the same bytes.
    digest.update(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest().encode()

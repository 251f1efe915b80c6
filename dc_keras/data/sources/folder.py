"""Image files below a folder, with classes by its sub-folders or without."""

import collections
import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from dc_keras.data.sources.converted import with_known_start
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.paths import is_absolute


class FolderSource(ImageSource):
    """Image files below a folder. Memory: about 250 bytes an image."""

    def __init__(
        self,
        root: str,
        names: Sequence[str],
        labels: np.ndarray | None = None,
        class_names: tuple[str, ...] | None = None,
    ):
        """Makes a source of known files; `open_source` is the one that searches for them.

        Args:
            root: The data folder.
            names: Paths from `root` on; a list may also name absolute ones.
            labels: int32 (n,) or None.
            class_names: Names of the classes or None.
        """
        self.root = root
        super().__init__(names, labels, class_names)
        prefix = os.fsencode(os.path.join(root, ""))
        # An eager tensor is captured by a graph as an input. As a constant of the graph, the paths
        # of ImageNet would exceed the 2 GB that a graph may have.
        with tf.device("/cpu:0"):
            self._paths = tf.constant(
                [
                    os.fsencode(name) if is_absolute(name) else prefix + os.fsencode(name)
                    for name in self.names
                ],
                tf.string,
                [len(self.names)],
            )

    def load(self, index: tf.Tensor) -> tf.Tensor:
        """Reads the encoded file, as PNG if Pillow alone reads it; see `ImageSource.load`."""
        return with_known_start(
            tf.io.read_file(tf.gather(self._paths, index)), self.options.max_pixels
        )

    def _some(self, keep: np.ndarray) -> "FolderSource":
        """The source of some of the files; see `ImageSource.select`."""
        return FolderSource(
            self.root,
            *self.names_and_labels(keep),
        )


@dataclasses.dataclass(frozen=True)
class TieBreaks:
    """What images of the same path within their classes are sorted by.

    Attributes:
        size: The size of a file in bytes; -1 if it cannot be read, which the inspection reports.
        digest: A checksum of its content; empty likewise.
    """

    size: Callable[[tuple[str, ...]], int]
    digest: Callable[[tuple[str, ...]], bytes]


def of_files(root: str) -> TieBreaks:
    """Those of files below a folder of any file system."""

    def size(parts):
        try:
            return tf.io.gfile.stat(os.fsencode(os.path.join(root, *parts))).length
        except tf.errors.OpError:
            return -1

    def digest(parts):
        try:
            with tf.io.gfile.GFile(os.fsencode(os.path.join(root, *parts)), "rb") as file:
                return hashlib.sha256(file.read()).digest()
        except tf.errors.OpError:
            return b""

    return TieBreaks(size, digest)


def in_order(
    paths: list[tuple[str, ...]], ties: TieBreaks
) -> tuple[list[tuple[str, ...]], list[str] | None]:
    """Sorts files, and tells the first folder of each if all lie in one.

    Args:
        paths: Paths as their parts, sorted.
        ties: What files of equal paths are sorted by.
    """
    if any(len(parts) == 1 for parts in paths):
        return paths, None
    paths = sorted_without_classes(paths, ties)
    return paths, [parts[0] for parts in paths]


def sorted_without_classes(paths: list[tuple[str, ...]], ties: TieBreaks) -> list[tuple[str, ...]]:
    """Sorts files of class folders so that the names of the classes do not matter.

    The place of an image decides which random draws it gets, so in an order by full path the labels
    would reach the training. Files are sorted by their path within the class folder; those that
    share it, such as a/0001.jpg and b/0001.jpg, by size and, if need be, by content.
    """
    keys: dict[tuple[str, ...], tuple] = {parts: (parts[1:],) for parts in paths}
    for tie_break in (ties.size, ties.digest):
        shared = collections.Counter(keys.values())
        keys = {
            parts: key if shared[key] == 1 else (*key, tie_break(parts))
            for parts, key in keys.items()
        }
    return sorted(paths, key=lambda parts: (keys[parts], parts))

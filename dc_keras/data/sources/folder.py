"""Image files below a folder, with classes by its sub-folders or without."""

import collections
import hashlib
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from dc_keras.data.sources.converted import with_known_start
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.paths import is_absolute


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


def in_order(
    root: str, paths: list[tuple[str, ...]]
) -> tuple[list[tuple[str, ...]], list[str] | None]:
    """Sorts files below a folder, and tells the first sub-folder of each if all lie in one.

    Args:
        root: The folder.
        paths: Paths as their parts, sorted.
    """
    if any(len(parts) == 1 for parts in paths):
        return paths, None
    paths = sorted_without_classes(root, paths)
    return paths, [parts[0] for parts in paths]


def sorted_without_classes(root: str, paths: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Sorts files of class folders so that the names of the classes do not matter.

    The place of an image decides which random draws it gets, so in an order by full path the labels
    would reach the training. Files are sorted by their path within the class folder; those that
    share it, such as a/0001.jpg and b/0001.jpg, by size and, if need be, by content.
    """

    def size(parts):
        try:
            return tf.io.gfile.stat(os.fsencode(os.path.join(root, *parts))).length
        except tf.errors.OpError:
            return -1  # A broken link: the inspection will report it.

    def digest(parts):
        try:
            with tf.io.gfile.GFile(os.fsencode(os.path.join(root, *parts)), "rb") as file:
                return hashlib.sha256(file.read()).digest()
        except tf.errors.OpError:
            return b""

    keys: dict[tuple[str, ...], tuple] = {parts: (parts[1:],) for parts in paths}
    for tie_break in (size, digest):
        shared = collections.Counter(keys.values())
        keys = {
            parts: key if shared[key] == 1 else (*key, tie_break(parts))
            for parts, key in keys.items()
        }
    return sorted(paths, key=lambda parts: (keys[parts], parts))

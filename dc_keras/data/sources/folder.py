"""Image files below a folder, with classes by its sub-folders or without."""

import collections
import hashlib
import heapq
import os
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from dc_keras.data.sources.image_source import ImageSource

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")


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
            names: Paths below `root`.
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
                [prefix + os.fsencode(name) for name in self.names],
                tf.string,
                [len(self.names)],
            )

    def load(self, index: tf.Tensor) -> tf.Tensor:
        """Reads the encoded file; see `ImageSource.load`."""
        return tf.io.read_file(tf.gather(self._paths, index))

    def select(self, keep: np.ndarray) -> "FolderSource":
        """The source of some of the files; see `ImageSource.select`."""
        return FolderSource(
            self.root,
            *self.names_and_labels(keep),
        )


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


def walk(root: str) -> Iterator[tuple[str, ...]]:
    """Yields the path of every image file as its parts.

    A folder is read once, whatever leads to it: at its own place if that is below the root, else by
    the first of its links by name. So links in circles end, and folders that all link to each other
    are not listed once for each way through them.
    """
    seen = set()
    folders: list[tuple[str, ...]] = [()]
    links: list[tuple[str, ...]] = []
    while folders or links:
        parts = folders.pop() if folders else heapq.heappop(links)
        folder = os.path.join(root, *parts)
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                path = (*parts, entry.name)
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    if entry.is_symlink():
                        heapq.heappush(links, path)
                    else:
                        folders.append(path)
                # A broken link is listed, so that it is reported and not passed over in silence.
                elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                    yield path


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # A link to itself leads nowhere, like one to a file that is gone.


def walk_remote(root: str) -> Iterator[tuple[str, ...]]:
    """`walk` for file systems that have no links."""
    for folder, _, files in tf.io.gfile.walk(root):
        parts = tuple(filter(None, folder.removeprefix(root).split("/")))
        for name in files:
            hidden = any(part.startswith(".") for part in (*parts, name))
            if name.lower().endswith(IMAGE_SUFFIXES) and not hidden:
                yield (*parts, name)

"""Where the images come from: folders, arrays, TFRecord shards, packed folders, TFDS.

Every stage of the loop names an image by its index, the position in a source's sorted listing.
A source turns that index into encoded bytes or pixels inside a tf.data pipeline. Class labels,
where the source has them, serve evaluation alone.
"""

import collections
import csv
import dataclasses
import hashlib
import heapq
import os
import pathlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from dc_keras.data import array_records, tfds, tfrecords
from dc_keras.data.image_source import ImageSource, numbered
from dc_keras.errors import InputError
from dc_keras.files import write_atomically

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
DIGITS = "sklearn:digits"
MANIFEST_COLUMNS = ["index", "path", "label"]


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
            *self.described(keep),
        )


class ArraySource(ImageSource):
    """Images of one size held in memory."""

    def __init__(
        self,
        images: np.ndarray,
        names: Sequence[str],
        labels: np.ndarray | None = None,
        class_names: tuple[str, ...] | None = None,
    ):
        """Makes a source of an array.

        Args:
            images: uint8 (n, h, w, 1 or 3).
            names: n names.
            labels: int32 (n,) or None.
            class_names: Names of the classes or None.
        """
        self.images = images
        super().__init__(names, labels, class_names)
        # Without the device, a machine with a GPU would keep the images in the GPU's memory. As a
        # variable, because pipelines copy the tensors that they use.
        with tf.device("/cpu:0"):
            self._pixels = tf.Variable(images, trainable=False)

    def load(self, index: tf.Tensor) -> tf.Tensor:
        """Takes one image out of the array, grey repeated to RGB; see `ImageSource.load`."""
        image = tf.gather(self._pixels, index)
        return image if self.images.shape[-1] == 3 else tf.repeat(image, 3, axis=-1)

    def select(self, keep: np.ndarray) -> "ArraySource":
        """The source of some of the images, copied; see `ImageSource.select`."""
        return ArraySource(
            self.images[keep],
            *self.described(keep),
        )


def open_source(data_dir: str) -> ImageSource:
    """Opens a data set.

    Args:
        data_dir: One of
            a folder: its image files (JPEG, PNG, BMP, GIF, WebP by suffix, in upper or lower case)
            at any depth, links followed (what several lead to is read once), hidden files and
            folders and all other files skipped.
            There are labels when every image lies in a sub-folder: the first one names the class;
            an `.npz` file: `images` uint8 (n, h, w, 1 or 3), and perhaps `labels`, integers (n,);
            a folder of TFRecord shards, or a pattern such as `/data/train-*-of-*`; see `tfrecords`;
            a folder that `dc_keras.data.pack` made; see `array_records`;
            `tfds:NAME` or `tfds:NAME@SPLIT`: a data set of TensorFlow Datasets; see `tfds`;
            `sklearn:digits`: the 1,797 grey 8x8 digits that come with scikit-learn.
            All but packed folders may be on any file system of `tf.io.gfile`, such as `gs://`.

    Returns:
        The source, with at least one image.

    Raises:
        InputError: If there is no such folder or file, or it holds no images, or the arrays have
            another shape or dtype, or shards are missing or damaged.
    """
    if data_dir == DIGITS:
        return _open_digits()
    if data_dir.startswith(tfds.PREFIX):
        return tfds.open_tfds(data_dir)
    try:
        # As bytes, paths need not be UTF-8.
        is_folder = tf.io.gfile.isdir(os.fsencode(data_dir))
        exists = tf.io.gfile.exists(os.fsencode(data_dir))
        matches = [] if exists else tf.io.gfile.glob([os.fsencode(data_dir)])
    except tf.errors.OpError as error:
        raise InputError(
            f"The data set cannot be reached. Received: {data_dir!r} ({error.message}). "
            "Check the path and the permissions."
        ) from error
    if is_folder:
        return _open_folder(data_dir)
    if data_dir.lower().endswith(".npz"):
        return _open_npz(data_dir)
    paths = [os.fsdecode(path) for path in matches] or [data_dir] * exists
    if paths and all(tfrecords.is_shard(path) for path in paths):
        return tfrecords.open_tfrecords(paths)
    what = "The data set is a file" if paths else "The data folder is not there"
    raise InputError(
        f"{what}. Received: {data_dir!r} (that is {_absolute(data_dir)!r}). Expected: a folder of "
        "images, an .npz file, TFRecord shards (a folder of them, or a pattern such as "
        f"train-*-of-*), a packed folder, tfds:NAME, or {DIGITS!r}. Check the path."
    )


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The listing of a source as it was when a run began.

    Attributes:
        names: n image names, by index.
        labels: n class names; empty strings where the source had no labels.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]


def write_manifest(source: ImageSource, path: str | os.PathLike) -> None:
    """Writes which index is which image: a CSV file with the columns index, path and label.

    Args:
        source: The images.
        path: Where to write. Names that are no UTF-8 keep their bytes.
    """
    names = source.names
    if source.labels is None:
        labels = [""] * len(names)
    else:
        labels = [source.class_names[label] for label in source.labels]
    with write_atomically(path) as file:
        # The csv module's own line end: with it, names that hold "\r" or "\n" are quoted.
        writer = csv.writer(file)
        writer.writerow(MANIFEST_COLUMNS)
        writer.writerows(zip(range(len(names)), names, labels, strict=True))


def read_manifest(path: str | os.PathLike) -> Manifest:
    """Reads what `write_manifest` wrote.

    Args:
        path: The CSV file.

    Returns:
        The names and labels by index.

    Raises:
        InputError: If the file cannot be read or is no manifest.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            header, *rows = csv.reader(file, strict=True)
            if header != MANIFEST_COLUMNS or any(
                len(row) != 3 or row[0] != str(i) for i, row in enumerate(rows)
            ):
                raise ValueError("its header or its numbering differs")
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"The manifest cannot be read. Received: {str(path)!r} ({error}). Expected: the CSV "
            "file index,path,label that a training run wrote. Check the path or train anew."
        ) from error
    return Manifest(tuple(row[1] for row in rows), tuple(row[2] for row in rows))


def positions_of(names: Sequence[str], source: ImageSource) -> tuple[np.ndarray, list[str]]:
    """Finds images by their names, such as those of a manifest.

    Args:
        names: Which images.
        source: Where to look for them.

    Returns:
        Indices of those that are there, int64 `(m,)`, in the order of `names`, and the names of the
        others.
    """
    place = {name: position for position, name in enumerate(source.names)}
    found = [place[name] for name in names if name in place]
    return np.array(found, np.int64), [name for name in names if name not in place]


def _is_remote(path: str) -> bool:
    """Whether a path is for TensorFlow's file systems alone, such as gs://bucket/folder."""
    return "://" in path


def _absolute(path: str) -> str:
    return path if _is_remote(path) else os.path.abspath(path)


def _open_folder(root: str) -> ImageSource:
    if tf.io.gfile.exists(os.fsencode(os.path.join(root, array_records.PACKED))):
        return _open_packed(root)
    try:
        entries = tf.io.gfile.listdir(root) if _is_remote(root) else os.listdir(root)
        shards = [os.path.join(root, name) for name in entries if tfrecords.is_shard(name)]
        shards = [path for path in shards if not tf.io.gfile.isdir(os.fsencode(path))]
        if shards:
            return tfrecords.open_tfrecords(shards)
        paths = sorted(_walk_remote(root) if _is_remote(root) else _walk(root))
    except (OSError, tf.errors.OpError) as error:
        raise InputError(
            f"The data folder cannot be listed. Received: {root!r} ({error}). "
            "Expected: folders that may be read. Check their permissions."
        ) from error
    if not paths:
        raise InputError(
            f"There are no images in the data folder. Received: {root!r} (that is "
            f"{_absolute(root)!r}). Expected: files ending in {', '.join(IMAGE_SUFFIXES)}, "
            "in the folder or its sub-folders. Check the path."
        )
    if any(len(parts) == 1 for parts in paths):
        return FolderSource(root, ["/".join(parts) for parts in paths])
    paths = _sorted_without_classes(root, paths)
    names = ["/".join(parts) for parts in paths]
    class_names, labels = np.unique([parts[0] for parts in paths], return_inverse=True)
    return FolderSource(root, names, labels.astype(np.int32), tuple(class_names.tolist()))


def _sorted_without_classes(root: str, paths: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
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

    keys = {parts: (parts[1:],) for parts in paths}
    for tie_break in (size, digest):
        shared = collections.Counter(keys.values())
        keys = {
            parts: key if shared[key] == 1 else (*key, tie_break(parts))
            for parts, key in keys.items()
        }
    return sorted(paths, key=lambda parts: (keys[parts], parts))


def _walk(root: str) -> Iterator[tuple[str, ...]]:
    """Yields the path of every image file as its parts.

    A folder is read once, whatever leads to it: at its own place if that is below the root, else by
    the first of its links by name. So links in circles end, and folders that all link to each other
    are not listed once for each way through them.
    """
    seen = set()
    folders, links = [()], []
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


def _walk_remote(root: str) -> Iterator[tuple[str, ...]]:
    """`_walk` for file systems that have no links."""
    for folder, _, files in tf.io.gfile.walk(root):
        parts = tuple(filter(None, folder.removeprefix(root).split("/")))
        for name in files:
            hidden = any(part.startswith(".") for part in (*parts, name))
            if name.lower().endswith(IMAGE_SUFFIXES) and not hidden:
                yield (*parts, name)


def _open_packed(root: str) -> array_records.ArrayRecordSource:
    if _is_remote(root):
        raise InputError(
            f"A packed data set must be on a local or mounted disk. Received: {root!r}. The "
            "library array_record reads no other. Copy the folder, or use TFRecord shards."
        )
    manifest = read_manifest(os.path.join(root, array_records.MANIFEST))
    return array_records.open_packed(root, manifest.names, manifest.labels)


def _open_npz(path: str) -> ArraySource:
    expected = (
        "Expected: an .npz file with `images`, uint8 (n, height, width, 1 or 3), and, if there are "
        "any, `labels`, integers (n,). Write it with numpy.savez(path, images=..., labels=...)."
    )
    try:
        # NumPy leaves a file open that it opened itself and could not read.
        opened = tf.io.gfile.GFile(path, "rb") if _is_remote(path) else open(path, "rb")
        with opened as file, np.load(file, allow_pickle=False) as arrays:
            _check_fits_memory(arrays)
            if "images" not in arrays:
                raise InputError(
                    f"The file has no array `images`. Received: {path!r} with "
                    f"{', '.join(arrays.files) or 'no arrays'}. {expected}"
                )
            images = arrays["images"]
            labels = arrays.get("labels")
    except InputError:
        raise
    # A TypeError comes of an .npy file by the name of .npz: one array, which cannot be entered.
    except (
        OSError,
        ValueError,
        TypeError,
        EOFError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
        tf.errors.OpError,
    ) as error:
        raise InputError(
            f"The array file cannot be read. Received: {path!r} ({error}). {expected}"
        ) from error
    if (
        images.dtype != np.uint8
        or images.ndim != 4
        or images.shape[-1] not in (1, 3)
        or images.size == 0
    ):
        raise InputError(
            f"The array `images` has a wrong shape or dtype. Received: {path!r} with "
            f"{images.dtype} {images.shape}. {expected}"
        )
    class_names = None
    if labels is not None:
        if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
            raise InputError(
                f"The array `labels` has a wrong shape or dtype. Received: {path!r} with "
                f"{labels.dtype} {labels.shape} for {len(images)} images. {expected}"
            )
        values, labels = np.unique(labels, return_inverse=True)
        labels, class_names = (
            labels.astype(np.int32),
            tuple(str(value) for value in values),
        )
    return ArraySource(images, numbered(pathlib.Path(path).stem, len(images)), labels, class_names)


def _check_fits_memory(arrays: np.lib.npyio.NpzFile) -> None:
    """Looks at what a compressed file would become before it fills the memory.

    Raises:
        ValueError: If its arrays are larger than the machine's memory.
    """
    size = sum(member.file_size for member in arrays.zip.infolist())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        raise ValueError(
            f"its arrays take {size / 1e9:.0f} GB, and the machine has {memory / 1e9:.0f}: use a "
            "folder of images"
        )


def _open_digits() -> ArraySource:
    # scikit-learn takes a second to import and only this data set needs it.
    from sklearn.datasets import load_digits

    digits = load_digits()
    # Grey levels 0..16 to 0..255.
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    return ArraySource(
        images,
        numbered("digits", len(images)),
        digits.target.astype(np.int32),
        tuple(str(name) for name in digits.target_names),
    )

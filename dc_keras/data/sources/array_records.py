"""Packed data sets: images in a few large ArrayRecord shards, read by index.

`dc-keras pack` makes them. A packed folder holds

    packed.json                             the shards, with their images and bytes
    manifest.csv                            index, path and label, as of a training run
    sha256.txt                              the checksum of each image, a line an index
    images-00000-of-00140.array_record ...  the encoded images, by index

The files are read by the library `array_record`, which is optional.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from dc_keras.data.sources.image_source import ImageSource
from dc_keras.errors import InputError

PACKED, MANIFEST, CHECKSUMS = "packed.json", "manifest.csv", "sha256.txt"
# Each image in a chunk of its own, as it is: JPEG cannot be compressed further.
WRITER_OPTIONS = "group_size:1,uncompressed"
# Images are asked for in no order, so reading ahead would be in vain.
_READER_OPTIONS = "readahead_buffer_size:0"


@dataclasses.dataclass(frozen=True)
class Shard:
    """One file of a packed data set.

    Attributes:
        file: Its name.
        images: How many it holds.
        bytes: Its size.
    """

    file: str
    images: int
    bytes: int


class ArrayRecordSource(ImageSource):
    """Images of a packed folder. One file stays open a shard.

    Reading goes through Python, whose lock is let go while the file is read: a quarter of the
    speed of plain files that are in memory, and several times what decoding needs.
    """

    def __init__(
        self,
        readers: Sequence,
        places: np.ndarray,
        names: Sequence[str],
        labels: np.ndarray | None = None,
        class_names: tuple[str, ...] | None = None,
    ):
        """Makes a source of open shards; `open_packed` is the one that opens them.

        Args:
            readers: `ArrayRecordReader`s.
            places: Shard and position in it of each image, int64 (n, 2).
            names: n names.
            labels: int32 (n,) or None.
            class_names: Names of the classes or None.
        """
        super().__init__(names, labels, class_names)
        self._readers = readers
        self._places = places

    def load(self, index: tf.Tensor) -> tf.Tensor:
        """Reads the encoded image; see `ImageSource.load`."""
        return tf.ensure_shape(tf.numpy_function(self.read, [index], tf.string), [])

    def read(self, index: int) -> bytes:
        """The bytes of one image.

        Args:
            index: In [0, n).

        Raises:
            tf.errors.DataLossError: If the shard is damaged at this place.
        """
        shard, position = self._places[index].tolist()
        try:
            return self._readers[shard].read([position])[0]
        except (IndexError, RuntimeError, ValueError) as error:
            raise tf.errors.DataLossError(None, None, f"damaged shard: {error}") from error

    def _some(self, keep: np.ndarray) -> "ArrayRecordSource":
        """The source of some of the images; see `ImageSource.select`."""
        return ArrayRecordSource(
            self._readers,
            self._places[keep],
            *self.names_and_labels(keep),
        )


def open_packed(
    folder: str | os.PathLike, names: Sequence[str], labels: Sequence[str]
) -> ArrayRecordSource:
    """Opens a packed folder. Takes a fraction of a second a hundred shards.

    Args:
        folder: What `dc-keras pack` wrote.
        names: Its manifest's names.
        labels: Its manifest's class names, all empty where there are none.

    Returns:
        The source, with the names, order and labels of what was packed.

    Raises:
        InputError: If the library is missing, or a shard is missing, cut or of another size; the
            message names it.
    """
    module = import_array_record()
    shards = read_shards(folder)
    readers, found = [], []
    for number, shard in enumerate(shards):
        path = os.path.join(folder, shard.file)
        size = os.path.getsize(path) if os.path.exists(path) else None
        if size != shard.bytes:
            problem = "is missing" if size is None else f"has {size:,} bytes"
            raise _damaged(path, f"it {problem}; packed were {shard.bytes:,} bytes")
        try:
            readers.append(module.ArrayRecordReader(path, _READER_OPTIONS))
            images = readers[-1].num_records()
        except (RuntimeError, ValueError) as error:
            raise _damaged(path, str(error)) from error
        if images != shard.images:
            raise _damaged(path, f"it has {images:,} images; packed were {shard.images:,}")
        found.append(np.stack([np.full(images, number), np.arange(images)], axis=1))
    places = np.concatenate(found)
    if not len(places) == len(names) == len(labels):
        raise _damaged(
            os.path.join(folder, MANIFEST), f"it names {len(names):,} of {len(places):,} images"
        )
    if not any(labels):
        return ArrayRecordSource(readers, places, names)
    class_names, numbers = np.unique(labels, return_inverse=True)
    return ArrayRecordSource(
        readers, places, names, numbers.astype(np.int32), tuple(class_names.tolist())
    )


def verify_packed(folder: str | os.PathLike, source: ArrayRecordSource) -> list[str]:
    """Reads all images and compares their checksums with those of the packing.

    Args:
        folder: The packed folder.
        source: What `open_packed` made of it.

    Returns:
        The names of the images that differ or cannot be read.

    Raises:
        InputError: If the list of checksums does not fit.
    """
    path = os.path.join(folder, CHECKSUMS)
    expected = _read_text(path).split()
    if len(expected) != len(source):
        raise _damaged(path, f"it has {len(expected):,} checksums for {len(source):,} images")
    wrong = []
    for index, name in enumerate(source.names):
        try:
            found = hashlib.sha256(source.read(index)).hexdigest()
        except tf.errors.DataLossError:
            found = None
        if found != expected[index]:
            wrong.append(name)
    return wrong


def read_shards(folder: str | os.PathLike) -> list[Shard]:
    """The shards that a packed folder should have.

    Raises:
        InputError: If its list cannot be read, or leads out of the folder.
    """
    path = os.path.join(folder, PACKED)
    try:
        shards = [Shard(**shard) for shard in json.loads(_read_text(path))["shards"]]
        for shard in shards:
            if not (isinstance(shard.images, int) and isinstance(shard.bytes, int)):
                raise ValueError(f"{shard} has no numbers of images and bytes")
            if not shard.file or os.path.basename(shard.file) != shard.file:
                raise ValueError(f"{shard.file!r} is no name of a file in this folder")
        if not shards:
            raise ValueError("it names no shards")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    return shards


def import_array_record():
    """The module of the library.

    Raises:
        InputError: If it is not installed.
    """
    try:
        from array_record.python import array_record_module
    except ImportError as error:
        raise InputError(
            f"Packed data sets need the library array_record. Received: {error}. "
            "Install it: pip install -r requirements-data.txt"
        ) from error
    return array_record_module


def _read_text(path: str) -> str:
    try:
        return pathlib.Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: str, problem: str) -> InputError:
    return InputError(
        f"The packed data set is damaged. Received: {path!r} ({problem}). Expected: the folder as "
        "`dc-keras pack` wrote it. Copy this file again, or pack anew."
    )

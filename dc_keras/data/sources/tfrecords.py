"""TFRecord shards in the layout of ImageNet's, read by index.

A record is a `tf.train.Example` with `image/encoded`, the bytes of an image file, and perhaps
`image/class/label`. Records lie one behind the other, each behind its length, so the place of the
n-th is known once all before it were seen: an index is made once and kept. TensorFlow then reads a
record at its offset, checksum included, without leaving the graph and without Python's lock.
"""

import collections
import os
import re
import struct
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tqdm

from dc_keras.data.pipelines import in_threads, unchanged
from dc_keras.data.sources.image_source import ImageSource, numbered
from dc_keras.data.sources.index_cache import kept_arrays
from dc_keras.errors import InputError
from dc_keras.paths import is_remote

IMAGE, LABEL = "image/encoded", "image/class/label"
# Length (8 bytes) and its checksum (4) before the data, the checksum of the data (4) behind.
RECORD_OVERHEAD = 16

# train-00000-of-01024, train.tfrecord-00000-of-01024, train-00000-of-01024.tfrecord, x.tfrecord
_SHARD = re.compile(r"(.*?)(\.tfrecords?)?(?:-(\d+)-of-(\d+))?(\.tfrecords?)?", re.DOTALL)
_NO_LABEL = np.iinfo(np.int64).min
_SCANNED_AT_A_TIME = 256
# Bytes: most images in one request where the shards are on a network.
_READ_AT_A_TIME = 1 << 18


class TFRecordSource(ImageSource):
    """Images in TFRecord shards. Memory: 12 bytes an image, and its name."""

    def __init__(
        self,
        paths: Sequence[str],
        shards: np.ndarray,
        offsets: np.ndarray,
        names: Sequence[str],
        labels: np.ndarray | None = None,
        class_names: tuple[str, ...] | None = None,
    ):
        """Makes a source of known records; `open_tfrecords` is the one that looks for them.

        Args:
            paths: The files.
            shards: Which of them each image is in, int32 (n,).
            offsets: Where its record begins in bytes, int64 (n,).
            names: n names.
            labels: int32 (n,) or None.
            class_names: Names of the classes or None.
        """
        super().__init__(names, labels, class_names)
        self._parts = tuple(paths), shards, offsets
        with tf.device("/cpu:0"):
            self._paths = tf.constant(list(paths))
            self._shards = tf.constant(shards, tf.int32)
            self._offsets = tf.constant(offsets, tf.int64)

    def load(self, index: tf.Tensor) -> tf.Tensor:
        """Reads the encoded image and checks its record; see `ImageSource.load`."""
        # tf.data.TFRecordDataset has no parameter for the offset that its operation takes.
        records = tf.raw_ops.TFRecordDatasetV2(
            filenames=[tf.gather(self._paths, tf.gather(self._shards, index))],
            compression_type="",
            buffer_size=tf.constant(_READ_AT_A_TIME, tf.int64),
            byte_offsets=[tf.gather(self._offsets, index)],
        )
        first = tf.raw_ops.TakeDataset(
            input_dataset=records,
            count=tf.constant(1, tf.int64),
            output_types=[tf.string],
            output_shapes=[[]],
        )
        (record,) = tf.raw_ops.DatasetToSingleElement(
            dataset=first, output_types=[tf.string], output_shapes=[[]]
        )
        image = {IMAGE: tf.io.FixedLenFeature([], tf.string)}
        return tf.io.parse_single_example(record, image)[IMAGE]

    def _some(self, keep: np.ndarray) -> "TFRecordSource":
        """The source of some of the records; see `ImageSource.select`."""
        paths, shards, offsets = self._parts
        return TFRecordSource(
            paths,
            shards[keep],
            offsets[keep],
            *self.names_and_labels(keep),
        )


def is_shard(path: str) -> bool:
    """Whether a file is named like a TFRecord shard."""
    name = os.path.basename(path)
    return not name.startswith(".") and any(_parts_of_name(name)[1:])


def _parts_of_name(name: str) -> tuple[str, ...]:
    """What a shard's name consists of, by `_SHARD`, which any name matches."""
    match = _SHARD.fullmatch(name)
    return () if match is None else match.groups()


def open_tfrecords(paths: Sequence[str]) -> TFRecordSource:
    """Opens shards, which are indexed when they are seen for the first time.

    Images are in the order of the sorted shards and of the records in them, which knows nothing of
    the labels' values. Indexing reads every shard once and checks all checksums; the index is kept
    in $XDG_CACHE_HOME/dc_keras (~/.cache/dc_keras) until the shards change.

    Args:
        paths: Files, on any file system of `tf.io.gfile`.

    Returns:
        The source, with names such as "train-00000-of-01024/000017". There are labels when all
        records have one: the sorted values are the classes.

    Raises:
        InputError: If a shard is missing, damaged or cut in the middle of a record, is compressed,
            or holds something else; the message names it.
    """
    paths = sorted(paths)
    _check_complete(paths)
    counts, lengths, labels = _cached_index(paths)
    if not len(lengths):
        raise InputError(f"There are no records in the shards. Received: {paths[0]!r} and others.")
    starts = np.cumsum(lengths) - lengths
    shards = np.repeat(np.arange(len(paths), dtype=np.int32), counts)
    # Offsets count from the start of each shard. The `minimum` is for empty shards at the end.
    first = np.minimum(np.cumsum(counts) - counts, len(lengths) - 1)
    offsets = starts - starts[first][shards]
    stems = map(os.path.basename, paths)
    names = [n for stem, count in zip(stems, counts, strict=True) for n in numbered(stem, count)]
    missing = np.count_nonzero(labels == _NO_LABEL)
    if missing == len(labels):
        return TFRecordSource(paths, shards, offsets, names)
    if missing:
        raise InputError(
            f"Some records have no label. Received: {missing:,} of {len(labels):,} without "
            f"`{LABEL}`, the first is {names[np.argmax(labels == _NO_LABEL)]}. "
            "Expected: a label in all or in none. Write the shards anew."
        )
    values, labels = np.unique(labels, return_inverse=True)
    class_names = tuple(str(value) for value in values)
    return TFRecordSource(paths, shards, offsets, names, labels.astype(np.int32), class_names)


def _check_complete(paths: Sequence[str]) -> None:
    """Raises unless the shards belong to one set and none of those that it counts is missing."""
    names = [os.path.basename(path) for path in paths]
    sets = collections.defaultdict(set)
    for name in names:
        stem, before, number, total, behind = _parts_of_name(name)
        sets[stem if total else "", before, total, behind].add(int(number or 0))
    if len(sets) > 1 or len(set(names)) < len(names):
        raise InputError(
            f"The shards are of several data sets. Received: {', '.join(names[:1] + names[-1:])} "
            "among others. Expected: one. Name it with a pattern such as "
            "--data_dir=FOLDER/train-*-of-*"
        )
    (((_, _, total, _), present),) = sets.items()
    missing = sorted(set(range(int(total or 0))) - present)
    if missing:
        raise InputError(
            f"Shards are missing. Received: {len(present):,} of {int(total):,} in "
            f"{os.path.dirname(paths[0])!r}, without number {missing[0]:,}"
            f"{f' and {len(missing) - 1:,} others' if missing[1:] else ''}. "
            "Expected: all of them. Check the pattern, or fetch them again."
        )


def _cached_index(paths: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `_scan` finds, from the last time if the shards are as they were."""
    sizes = [_status(path) for path in paths]
    names = ("counts", "lengths", "labels")
    arrays = kept_arrays(
        "tfrecords",
        repr(list(zip(paths, sizes, strict=True))),
        lambda: dict(zip(names, _scan(paths, sum(size for size, _ in sizes)), strict=True)),
    )
    return arrays["counts"], arrays["lengths"], arrays["labels"]


def _status(path: str) -> tuple[int, int]:
    try:
        status = tf.io.gfile.stat(path)
    except tf.errors.OpError as error:
        raise InputError(
            f"A shard cannot be read. Received: {path!r} ({error.message}). Check the path."
        ) from error
    return status.length, status.mtime_nsec


def _check_lengths(path: str) -> None:
    """Looks at the lengths that the records of a local shard declare.

    TensorFlow takes as much memory as a record declares, and crashes where there is less. The
    lengths carry checksums, so that chance does not make such a record, but bad will can. On other
    file systems this would take a request for each record and is left out.

    Raises:
        InputError: If a record is longer than the whole shard.
    """
    if is_remote(path):
        return
    with open(path, "rb", buffering=0) as file:
        size, position, count = os.fstat(file.fileno()).st_size, 0, 0
        while len(length := os.pread(file.fileno(), 8, position)) == 8:
            (length,) = struct.unpack("<Q", length)
            if length > size:
                raise InputError(
                    f"A shard cannot be read. Received: {path!r}, whose first {count:,} records "
                    f"are good and whose next one declares {length:,} bytes, of {size:,} in all. "
                    f"Expected: uncompressed TFRecords of tf.train.Example with `{IMAGE}`. Fetch "
                    "or write this file again."
                )
            position += length + RECORD_OVERHEAD
            count += 1


def _scan(paths: Sequence[str], size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reads all shards.

    Args:
        paths: The shards.
        size: Their size in bytes, for the progress bar.

    Returns:
        Records in each shard, int64 (shards,); bytes that each record takes and its label, int64
        (n,), the label `_NO_LABEL` where there is none.
    """

    def describe(record):
        features = {
            IMAGE: tf.io.FixedLenFeature([], tf.string),
            LABEL: tf.io.FixedLenFeature([], tf.int64, default_value=_NO_LABEL),
        }
        label = tf.io.parse_single_example(record, features)[LABEL]
        return tf.cast(tf.strings.length(record), tf.int64) + RECORD_OVERHEAD, label

    counts, parts = [], [np.zeros((2, 0), np.int64)]
    # Without a terminal there is no bar.
    with tqdm.tqdm(
        total=size, desc="Indexing shards", unit="B", unit_scale=True, disable=None
    ) as bar:
        for path in paths:
            _check_lengths(path)
            records = unchanged(
                tf.data.TFRecordDataset(path, buffer_size=1 << 23)
                .apply(in_threads(describe))
                .batch(_SCANNED_AT_A_TIME)
                .prefetch(2)
            )
            count = 0
            try:
                for lengths, labels in records.as_numpy_iterator():
                    parts.append(np.stack([lengths, labels]))
                    count += len(lengths)
                    bar.update(int(lengths.sum()))
            except tf.errors.OpError as error:
                _check_keys(path)
                raise InputError(
                    f"A shard cannot be read. Received: {path!r}, whose first {count:,} records "
                    f"are good ({error.message}). Expected: uncompressed TFRecords of "
                    f"tf.train.Example with `{IMAGE}`. Fetch or write this file again."
                ) from error
            counts.append(count)
    lengths, labels = np.concatenate(parts, axis=1)
    return np.array(counts, np.int64), lengths, labels


def _check_keys(path: str) -> None:
    """Tells the keys of a shard's first record if the image is not among them.

    Raises:
        InputError: If the record is a `tf.train.Example` of other keys.
    """
    try:
        (record,) = tf.data.TFRecordDataset(path).take(1).as_numpy_iterator()
        features = tf.train.Example.FromString(record).features.feature
    # What cannot be read at all is reported by the caller. The error of the parser is one of a
    # package that is TensorFlow's own affair.
    except Exception:
        return
    if not features or IMAGE in features:
        return
    keys = [
        f"{name} ({(features[name].WhichOneof('kind') or 'empty').removesuffix('_list')})"
        for name in sorted(features)
    ]
    raise InputError(
        f"The records have other keys. Received: {path!r} with {', '.join(keys)}. Expected: "
        f"`{IMAGE}`, the bytes of an image file, and perhaps `{LABEL}`, an integer. Write the "
        "shards with these keys."
    )

"""Data sets of TensorFlow Datasets, prepared as ArrayRecord shards and read by index.

The library `tensorflow_datasets` is optional. It finds the data set in $TFDS_DATA_DIR
(~/tensorflow_datasets) and reads its records; images stay encoded.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm

from dc_keras.data.sources.array_records import import_array_record
from dc_keras.data.sources.image_source import ImageSource, numbered
from dc_keras.data.sources.index_cache import kept_arrays
from dc_keras.errors import InputError

PREFIX = "tfds:"
_SPLIT = "train"
_READ_AT_A_TIME = 256


class TfdsSource(ImageSource):
    """Images of a data set of TensorFlow Datasets. Reading goes through Python."""

    def __init__(
        self,
        records: Sequence[bytes],
        feature: str,
        places: np.ndarray,
        names: Sequence[str],
        labels: np.ndarray | None = None,
        class_names: tuple[str, ...] | None = None,
    ):
        """Makes a source of an open data set; `open_tfds` is the one that opens it.

        Args:
            records: Serialized `tf.train.Example`s.
            feature: What the images are called in them.
            places: Position of each image in `records`, int64 (n,).
            names: n names.
            labels: int32 (n,) or None.
            class_names: Names of the classes or None.
        """
        super().__init__(names, labels, class_names)
        self._records = records
        self._feature = feature
        self._places = places

    def load(self, index: tf.Tensor) -> tf.Tensor:
        """Reads the encoded image; see `ImageSource.load`."""
        record = tf.ensure_shape(tf.numpy_function(self._read, [index], tf.string), [])
        image = {self._feature: tf.io.FixedLenFeature([], tf.string)}
        return tf.io.parse_single_example(record, image)[self._feature]

    def _read(self, index: int) -> bytes:
        try:
            return self._records[int(self._places[index])]
        except (IndexError, RuntimeError, ValueError) as error:
            raise tf.errors.DataLossError(None, None, f"damaged record: {error}") from error

    def _some(self, keep: np.ndarray) -> "TfdsSource":
        """The source of some of the images; see `ImageSource.select`."""
        return TfdsSource(
            self._records, self._feature, self._places[keep], *self.names_and_labels(keep)
        )


def open_tfds(data_dir: str) -> TfdsSource:
    """Opens a data set that was prepared before.

    When it is seen for the first time, all its records are read once for their labels, which are
    then kept; see `kept_arrays`.

    Args:
        data_dir: "tfds:NAME" or "tfds:NAME@SPLIT", where NAME is what `tfds.load` takes, such as
            "cifar10" or "imagenet_v2/topimages:3.0.0", and SPLIT is "train" unless given.

    Returns:
        The source, in the order of the records, with names such as "cifar10@train/000017". There
        are labels where the data set has one feature of classes.

    Raises:
        InputError: If the library is missing, there is no such data set or split, it is not
            prepared as ArrayRecord, a shard is missing or cut, or it has not one image a record.
    """
    tfds = _import_tfds()
    name, _, split = data_dir.removeprefix(PREFIX).partition("@")
    split = split or _SPLIT
    # The library itself looks at the environment once, when it is loaded.
    home = os.environ.get("TFDS_DATA_DIR")
    try:
        info = tfds.builder(name, data_dir=home, file_format="array_record").info
    # AssertionError is what the library raises for versions that it does not know.
    except (AssertionError, ValueError, KeyError, OSError) as error:
        raise _not_there(data_dir, str(error).partition("\n")[0]) from error
    if split not in info.splits:
        found = ", ".join(info.splits) or "no splits: it was not prepared"
        raise _not_there(data_dir, f"{info.data_dir} has {found}")
    image, label = _features_of(tfds, info, data_dir)
    _check_shards(data_dir, info.splits[split], image)
    try:
        records = tfds.data_source(
            name,
            split=split,
            data_dir=home,
            download=False,
            builder_kwargs={"file_format": "array_record"},
        ).data_source
        count = len(records)
    except (ValueError, KeyError, RuntimeError, NotImplementedError, OSError) as error:
        raise _not_there(data_dir, str(error)) from error
    if not count:
        raise _not_there(data_dir, f"{split} has no records")
    places, names = np.arange(count), numbered(f"{name}@{split}", count)
    if label is None:
        return TfdsSource(records, image, places, names)
    files = [(path, os.stat(path)) for path in map(os.fspath, info.splits[split].filepaths)]
    origin = repr([(path, status.st_size, status.st_mtime_ns) for path, status in files])
    kept = kept_arrays("tfds", origin, lambda: {"labels": _read_labels(records, label)})
    class_names = tuple(str(value) for value in info.features[label].names)
    return TfdsSource(records, image, places, names, kept["labels"], class_names)


def _features_of(tfds, info, data_dir: str) -> tuple[str, str | None]:
    """What the image and the class are called."""
    images = [key for key, value in info.features.items() if type(value) is tfds.features.Image]
    classes = [
        key for key, value in info.features.items() if isinstance(value, tfds.features.ClassLabel)
    ]
    if len(images) != 1:
        raise InputError(
            f"The data set has not one image a record. Received: {data_dir!r} with the features "
            f"{', '.join(info.features)}. Expected: one of them a tfds.features.Image. Use another "
            "data set."
        )
    return images[0], classes[0] if len(classes) == 1 else None


def _check_shards(data_dir: str, split, feature: str) -> None:
    """Raises unless all shards of a split are there and hold what they should."""
    module = import_array_record()
    for path, expected in zip(split.filepaths, split.shard_lengths, strict=True):
        try:
            reader = module.ArrayRecordReader(os.fspath(path))
            found = reader.num_records()
            # What was cut off can read as nothing or as something else.
            last = reader.read([found - 1]) if found else []
            for record in last:
                tf.io.parse_single_example(record, {feature: tf.io.FixedLenFeature([], tf.string)})
            reader.close()
            whole = found == expected and len(last) == min(found, 1)
            problem = "" if whole else f"it has {found:,} records of {expected:,}, or fewer"
        except tf.errors.OpError:
            problem = "its last record has no image"
        except (OSError, RuntimeError, ValueError) as error:
            problem = str(error).partition("\n")[0]
        if problem:
            raise InputError(
                f"A shard of the data set is missing or damaged. Received: {data_dir!r} with "
                f"{os.fspath(path)!r} ({problem}). Expected: the shards as TensorFlow Datasets "
                "prepared them. Prepare the data set again."
            )


def _read_labels(records: Any, label: str) -> np.ndarray:
    """The labels of all records, int32 (n,)."""
    example = {label: tf.io.FixedLenFeature([], tf.int64)}
    labels = []
    with tqdm.tqdm(total=len(records), desc="Reading labels", unit="image", disable=None) as bar:
        for begin in range(0, len(records), _READ_AT_A_TIME):
            positions = range(begin, min(begin + _READ_AT_A_TIME, len(records)))
            stored = records.__getitems__(list(positions))
            try:
                labels.append(tf.io.parse_example(stored, example)[label].numpy())
            except tf.errors.OpError as error:
                raise InputError(
                    f"A shard of the data set is missing or damaged. Received: records {begin:,} "
                    f"to {begin + len(positions) - 1:,}, of which one has no label. "
                    "Expected: the shards as TensorFlow Datasets prepared them. Prepare the data "
                    "set again."
                ) from error
            bar.update(len(positions))
    return np.concatenate(labels).astype(np.int32)


def _import_tfds():
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise InputError(
            f"Data sets named tfds:... need the library tensorflow_datasets. Received: {error}. "
            "Install it: pip install -r requirements-data.txt"
        ) from error
    return tensorflow_datasets


def _not_there(data_dir: str, problem: str) -> InputError:
    name = data_dir.removeprefix(PREFIX).partition("@")[0]
    return InputError(
        "The data set of TensorFlow Datasets cannot be opened. Received: "
        f"{data_dir!r} ({problem}). Expected: tfds:NAME or tfds:NAME@SPLIT, prepared as "
        "ArrayRecord in $TFDS_DATA_DIR or ~/tensorflow_datasets. Prepare it: "
        f"tfds build {name} --file_format=array_record"
    )

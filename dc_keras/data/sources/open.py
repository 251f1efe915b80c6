"""Opens a data set of any kind by what the user calls it."""

import os

import numpy as np
import tensorflow as tf

from dc_keras.data.sources import array_records, tfds, tfrecords
from dc_keras.data.sources.arrays import open_digits, open_npz
from dc_keras.data.sources.folder import (
    IMAGE_SUFFIXES,
    FolderSource,
    sorted_without_classes,
    walk,
    walk_remote,
)
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.manifest import read_manifest
from dc_keras.data.sources.paths import absolute, is_remote
from dc_keras.errors import InputError

DIGITS = "sklearn:digits"


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
            a folder that `dc-keras pack` made; see `array_records`;
            `tfds:NAME` or `tfds:NAME@SPLIT`: a data set of TensorFlow Datasets; see `tfds`;
            `sklearn:digits`: the 1,797 grey 8x8 digits that come with scikit-learn.
            All but packed folders may be on any file system of `tf.io.gfile`, such as `gs://`.

    Returns:
        The source, with at least one image.

    Raises:
        InputError: If there is no such folder or file, or it holds no images, or the arrays have
            another shape or dtype, or shards are missing or damaged.

    >>> source = open_source("sklearn:digits")
    >>> len(source), source.names[0], source.class_names[:3]
    (1797, 'digits/000000', ('0', '1', '2'))
    """
    if data_dir == DIGITS:
        return open_digits()
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
        return open_npz(data_dir)
    paths = [os.fsdecode(path) for path in matches] or [data_dir] * exists
    if paths and all(tfrecords.is_shard(path) for path in paths):
        return tfrecords.open_tfrecords(paths)
    what = "The data set is a file" if paths else "The data folder is not there"
    raise InputError(
        f"{what}. Received: {data_dir!r} (that is {absolute(data_dir)!r}). Expected: a folder of "
        "images, an .npz file, TFRecord shards (a folder of them, or a pattern such as "
        f"train-*-of-*), a packed folder, tfds:NAME, or {DIGITS!r}. Check the path."
    )


def _open_folder(root: str) -> ImageSource:
    if tf.io.gfile.exists(os.fsencode(os.path.join(root, array_records.PACKED))):
        return _open_packed(root)
    try:
        entries = tf.io.gfile.listdir(root) if is_remote(root) else os.listdir(root)
        shards = [os.path.join(root, name) for name in entries if tfrecords.is_shard(name)]
        shards = [path for path in shards if not tf.io.gfile.isdir(os.fsencode(path))]
        if shards:
            return tfrecords.open_tfrecords(shards)
        paths = sorted(walk_remote(root) if is_remote(root) else walk(root))
    except (OSError, tf.errors.OpError) as error:
        raise InputError(
            f"The data folder cannot be listed. Received: {root!r} ({error}). "
            "Expected: folders that may be read. Check their permissions."
        ) from error
    if not paths:
        raise InputError(
            f"There are no images in the data folder. Received: {root!r} (that is "
            f"{absolute(root)!r}). Expected: files ending in {', '.join(IMAGE_SUFFIXES)}, "
            "in the folder or its sub-folders. Check the path."
        )
    if any(len(parts) == 1 for parts in paths):
        return FolderSource(root, ["/".join(parts) for parts in paths])
    paths = sorted_without_classes(root, paths)
    names = ["/".join(parts) for parts in paths]
    class_names, labels = np.unique([parts[0] for parts in paths], return_inverse=True)
    return FolderSource(root, names, labels.astype(np.int32), tuple(class_names.tolist()))


def _open_packed(root: str) -> array_records.ArrayRecordSource:
    if is_remote(root):
        raise InputError(
            f"A packed data set must be on a local or mounted disk. Received: {root!r}. The "
            "library array_record reads no other. Copy the folder, or use TFRecord shards."
        )
    manifest = read_manifest(os.path.join(root, array_records.MANIFEST))
    return array_records.open_packed(root, manifest.names, manifest.labels)

"""The same images as each kind of data set, for tests."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.open import open_source
from dc_keras.data.sources.packing import pack


def loaded(source: ImageSource) -> list:
    """Everything that `load` gives inside a tf.data pipeline, in order, as NumPy values."""
    dataset = tf.data.Dataset.range(len(source)).map(source.load, num_parallel_calls=2)
    return list(dataset.as_numpy_iterator())


def load_eagerly(source: ImageSource) -> list[tf.Tensor]:
    """Everything that `load` gives outside of a pipeline, in order."""
    return [source.load(tf.constant(index)) for index in range(len(source))]


def flat_pictures(count: int) -> ArraySource:
    """Pictures of one grey level each, which tells their index; at most 256."""
    levels = np.arange(count, dtype=np.uint8)[:, None, None, None]
    images = np.broadcast_to(levels, (count, 8, 8, 3)).copy()
    return ArraySource(images, [str(i) for i in range(count)])


def write_image(path: pathlib.Path) -> None:
    """A black PNG of 4 x 4 pixels, whatever its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tf.io.encode_png(np.zeros((4, 4, 3), np.uint8)).numpy())


def write_photograph(path: pathlib.Path, height: int, width: int) -> None:
    """A JPEG with structure in all channels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:height, :width]
    image = np.stack([x % 256, y % 256, (x + y) // 4 % 256], -1).astype(np.uint8)
    path.write_bytes(tf.io.encode_jpeg(image, quality=90).numpy())


def write_folder(root: str, images: Mapping[str, bytes]) -> str:
    """Files below a folder of any file system."""
    for name, content in images.items():
        path = f"{root}/{name}"
        tf.io.gfile.makedirs(path.rpartition("/")[0])
        with tf.io.gfile.GFile(path, "wb") as file:
            file.write(content)
    return root


def write_tfrecords(
    root: str,
    images: Sequence[bytes],
    labels: Sequence[int | None],
    *,
    shards: int = 3,
    stem: str = "train",
) -> str:
    """TFRecord shards in ImageNet's layout; None leaves the label out."""
    tf.io.gfile.makedirs(root)
    per_shard = -(-len(images) // shards)
    for shard in range(shards):
        with tf.io.TFRecordWriter(f"{root}/{stem}-{shard:05d}-of-{shards:05d}") as writer:
            chosen = slice(shard * per_shard, (shard + 1) * per_shard)
            for image, label in zip(images[chosen], labels[chosen], strict=True):
                feature = {"image/encoded": _bytes(image), "image/filename": _bytes(b"ignored")}
                if label is not None:
                    numbers = tf.train.Int64List(value=[label])
                    feature["image/class/label"] = tf.train.Feature(int64_list=numbers)
                example = tf.train.Example(features=tf.train.Features(feature=feature))
                writer.write(example.SerializeToString())
    return root


def write_packed(out: pathlib.Path, images: Mapping[str, bytes], **settings) -> str:
    """A packed folder; the files that it is made of stay beside it."""
    folder = write_folder(f"{out}-files", images)
    pack(open_source(folder), str(out), progress=False, **settings)
    return str(out)


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

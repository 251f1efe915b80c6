"""Writes packed data sets; `array_records` says how they look and reads them."""

import dataclasses
import hashlib
import json
import pathlib

import tensorflow as tf
import tqdm

from dc_keras.data.pipelines import READERS, in_threads, unchanged
from dc_keras.data.pixels.decoding import decode
from dc_keras.data.pixels.options import USUAL, PixelOptions
from dc_keras.data.pixels.png import is_deep_png
from dc_keras.data.sources.array_records import (
    CHECKSUMS,
    MANIFEST,
    PACKED,
    WRITER_OPTIONS,
    Shard,
    import_array_record,
)
from dc_keras.data.sources.decoded import decoded_sizes, threads_that_fit
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.manifest import write_manifest
from dc_keras.errors import InputError
from dc_keras.files import write_directory_atomically
from dc_keras.memory import free_memory

JPEG_QUALITY = 95
# What reducing an image takes, in times of its decoded size: itself, as float32, and row by row.
_COPIES = 8


def pack(
    source: ImageSource,
    out: str,
    *,
    short_side: int = 0,
    shard_images: int = 10_000,
    progress: bool = True,
) -> list[Shard]:
    """Writes all images of a source into a new folder; see `array_records` for its layout.

    Args:
        source: The images, all readable. Arrays are packed as PNG, and so are images of 16 bits
            whose range is known, of which 8 are left.
        out: The folder; it appears when it is complete.
        short_side: Shorter side in pixels that larger images are reduced to; 0 leaves all as they
            are.
        shard_images: Images in a shard.
        progress: Whether to show a progress bar.

    Returns:
        The shards.

    Raises:
        InputError: If `out` is there already, or the library is missing.
        CannotWriteError: If the disk is full.
    """
    module = import_array_record()
    if pathlib.Path(out).exists():
        raise InputError(f"The folder is there already. Received: {out!r}. Name another one.")
    count = len(source)
    files = -(-count // shard_images)
    threads = _threads(source) if short_side else READERS
    images = unchanged(
        tf.data.Dataset.range(count)
        .apply(
            in_threads(
                lambda index: _to_pack(source.load(index), short_side, source.options),
                num_threads=threads,
            )
        )
        .prefetch(16)
    ).as_numpy_iterator()
    shards, checksums = [], []
    with (
        write_directory_atomically(out) as folder,
        tqdm.tqdm(total=count, desc="Packing", unit="image", disable=not progress) as bar,
    ):
        for number in range(files):
            path = folder / f"images-{number:05d}-of-{files:05d}.array_record"
            writer = module.ArrayRecordWriter(str(path), WRITER_OPTIONS)
            size = min(shard_images, count - number * shard_images)
            for _ in range(size):
                image = next(images)
                writer.write(image)
                checksums.append(hashlib.sha256(image).hexdigest())
                bar.update()
            writer.close()
            shards.append(Shard(path.name, size, path.stat().st_size))
        write_manifest(source, folder / MANIFEST)
        (folder / CHECKSUMS).write_text("".join(f"{checksum}\n" for checksum in checksums))
        listed = {"shards": [dataclasses.asdict(shard) for shard in shards]}
        (folder / PACKED).write_text(json.dumps(listed, indent=1) + "\n")
    return shards


def _threads(source: ImageSource) -> int:
    """How many images may be decoded and reduced at a time, in the memory that is free."""
    sizes = decoded_sizes(source, seed=0)
    return threads_that_fit(free_memory().bytes, _COPIES * max(sizes, default=0))


def _to_pack(image: tf.Tensor, short_side: int, options: PixelOptions = USUAL) -> tf.Tensor:
    """The bytes to store of a loaded image."""
    if short_side == 0:
        if image.dtype == tf.uint8:
            return tf.io.encode_png(image)
        if options.value_range is None:
            return image
        # Those that are reduced are of 8 bits, and would else be of another range.
        return tf.cond(
            is_deep_png(image),
            lambda: tf.io.encode_png(decode(image, options)),
            lambda: image,
        )
    pixels = decode(image, options)
    shape = tf.shape(pixels)[:2]
    shorter = tf.reduce_min(shape)

    def reduce():
        sides = tf.cast(shape, tf.float32) * (short_side / tf.cast(shorter, tf.float32))
        sides = tf.cast(tf.round(sides), tf.int32)
        resized = tf.image.resize(pixels, sides, antialias=True)
        return tf.io.encode_jpeg(tf.cast(resized + 0.5, tf.uint8), quality=JPEG_QUALITY)

    return tf.cond(shorter > short_side, reduce, lambda: _to_pack(image, 0, options))

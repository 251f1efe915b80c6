"""Images decoded once and held in memory, where they fit.

Small images take longer to decode than to crop, and every epoch reads each of them twice: for its
features and to be trained on.
"""

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from dc_keras.data.image_source import ImageSource
from dc_keras.data.preprocessing import decode
from dc_keras.data.sources import ArraySource
from dc_keras.data.stand_ins import READ_ERRORS
from dc_keras.errors import InputError

# Part of the free memory that decoded images take at most, where nobody asks for more.
_SHARE = 0.25
# Images whose mean size stands for that of all.
_SAMPLE = 256


class DecodedSource(ImageSource):
    """Decoded images of any sizes, one behind the other in memory."""

    def __init__(
        self,
        pixels: np.ndarray,
        shapes: np.ndarray,
        names: Sequence[str],
        labels: np.ndarray | None = None,
        class_names: tuple[str, ...] | None = None,
    ):
        """Makes a source of what `decode_into_memory` has decoded.

        Args:
            pixels: All images, uint8 `(bytes,)`.
            shapes: Height and width of each, integers `(n, 2)`.
            names: n names.
            labels: int32 `(n,)` or None.
            class_names: Names of the classes or None.
        """
        super().__init__(names, labels, class_names)
        self._bounds = np.concatenate([[0], np.cumsum(3 * shapes.prod(axis=1, dtype=np.int64))])
        with tf.device("CPU:0"):
            self._pixels = tf.constant(pixels)
            self._shapes = tf.constant(shapes, tf.int32)
            self._starts = tf.constant(self._bounds[:-1])

    def load(self, index: tf.Tensor) -> tf.Tensor:
        """Takes one image out of the memory; see `ImageSource.load`."""
        shape = tf.concat([tf.gather(self._shapes, index), [3]], 0)
        size = tf.cast(tf.reduce_prod(shape), tf.int64)
        pixels = tf.slice(self._pixels, [tf.gather(self._starts, index)], [size])
        return tf.ensure_shape(tf.reshape(pixels, shape), (None, None, 3))

    def select(self, keep: np.ndarray) -> "DecodedSource":
        """The source of some of the images, copied; see `ImageSource.select`."""
        pixels = self._pixels.numpy()
        chosen = [pixels[self._bounds[i] : self._bounds[i + 1]] for i in keep]
        shapes = self._shapes.numpy()[keep]
        return DecodedSource(np.concatenate(chosen), shapes, *self.described(keep))


def decode_into_memory(
    source: ImageSource, mode: str, *, seed: int, progress: bool
) -> tuple[ImageSource, str]:
    """Decodes all images into memory, if they fit.

    Args:
        source: The images, all of which can be read.
        mode: "auto": if they take at most a quarter of the free memory; "ram": if they fit at all;
            "off": never.
        seed: Chooses the images that the size is estimated from.
        progress: Whether to show a progress bar.

    Returns:
        The decoded images, or `source` as it is; and a few words about it for the log,
        none for arrays.

    Raises:
        InputError: If mode is "ram" and they do not fit.

    Memory: while they are handed over to TensorFlow, twice the decoded images.
    """
    if isinstance(source, ArraySource):
        return source, ""
    if mode == "off":
        return source, "read from their files each time"
    needed, free = _decoded_bytes(source, seed), _free_memory()
    sizes = f"{needed / 1e9:.2g} GB decoded, {free / 1e9:.2g} GB of memory free"
    if needed > free * _SHARE and mode == "auto":
        return source, f"read from their files each time ({sizes})"
    # Twice while they are handed over.
    if needed > free / 2:
        raise InputError(
            f"The decoded images do not fit into memory. Received: --cache=ram for {sizes}. "
            "Expected less than half of it; use --cache=auto."
        )
    try:
        return _decode_all(source, progress), f"decoded into memory once ({sizes})"
    except READ_ERRORS:
        # A file has gone since it was looked at: the run knows what to do when it comes to it.
        return source, "read from their files each time"


def _decode_all(source: ImageSource, progress: bool) -> DecodedSource:
    def decode_one(index):
        image = decode(source.load(index))
        return tf.reshape(image, [-1]), tf.shape(image)[:2]

    images = tf.data.Dataset.range(len(source)).map(
        decode_one, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    pixels, shapes = [], []
    bar = tqdm(total=len(source), desc="Decoding", unit="image", disable=not progress, leave=False)
    with bar:
        for flat, shape in images.prefetch(64).as_numpy_iterator():
            pixels.append(flat)
            shapes.append(shape)
            bar.update()
    everything = np.arange(len(source))
    return DecodedSource(np.concatenate(pixels), np.array(shapes), *source.described(everything))


def _decoded_bytes(source: ImageSource, seed: int) -> float:
    """Estimate of what all images take, from a sample."""
    rng = np.random.default_rng(seed)
    sample = rng.choice(len(source), min(_SAMPLE, len(source)), replace=False)
    sizes = tf.data.Dataset.from_tensor_slices(sample).map(
        lambda index: tf.size(decode(source.load(index))), num_parallel_calls=tf.data.AUTOTUNE
    )
    known = list(sizes.ignore_errors(log_warning=False).as_numpy_iterator())
    return float(np.mean(known)) * len(source) if known else float("inf")


def _free_memory() -> int:
    """Bytes that the system could give to this process."""
    try:
        with open("/proc/meminfo") as file:
            fields = dict(line.split(":") for line in file)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2

"""Images decoded once and held in memory or in a file on the disk, where they fit.

Small images take longer to decode than to crop, and every epoch reads each of them twice: for its
features and to be trained on.

The file has no name: the system removes it when the process ends, however it ends, and it can never
be taken for that of other images.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from dc_keras.data.pipelines import in_threads, unchanged
from dc_keras.data.pixels.decoding import decode
from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.stand_ins import READ_ERRORS
from dc_keras.errors import InputError

# Part of the free memory that decoded images take at most, where nobody asks for more, and of the
# free disk, where checkpoints need room as well.
_SHARE = 0.25
_DISK_SHARE = 0.5
# Images whose mean size stands for that of all.
_SAMPLE = 256
_FROM_FILES = "read from their files each time"


class DecodedSource(ImageSource):
    """Decoded images of any sizes, one behind the other."""

    def __init__(
        self,
        pixels: np.ndarray | tf.Tensor | tf.Variable,
        starts: np.ndarray,
        shapes: np.ndarray,
        names: Sequence[str],
        labels: np.ndarray | None = None,
        class_names: tuple[str, ...] | None = None,
    ):
        """Makes a source of what `hold_decoded` has decoded.

        Args:
            pixels: All images, uint8 `(bytes,)`: an array, a tensor, or a variable on the CPU.
            starts: Where each image begins in them, int64 `(n,)`.
            shapes: Height and width of each, integers `(n, 2)`.
            names: n names.
            labels: int32 `(n,)` or None.
            class_names: Names of the classes or None.
        """
        super().__init__(names, labels, class_names)
        self._parts = starts, shapes
        with tf.device("CPU:0"):
            # As a variable, which takes over the memory. Pipelines copy tensors that they use.
            self._pixels = pixels
            if not isinstance(pixels, tf.Variable):
                self._pixels = tf.Variable(pixels, trainable=False)
            self._starts = tf.constant(starts, tf.int64)
            self._shapes = tf.constant(shapes, tf.int32)

    def load(self, index: tf.Tensor) -> tf.Tensor:
        """Takes one image out of what is held; see `ImageSource.load`."""
        shape = tf.concat([tf.gather(self._shapes, index), [3]], 0)
        size = tf.cast(tf.reduce_prod(shape), tf.int64)
        pixels = tf.slice(self._pixels, [tf.gather(self._starts, index)], [size])
        return tf.ensure_shape(tf.reshape(pixels, shape), (None, None, 3))

    def select(self, keep: np.ndarray) -> "DecodedSource":
        """The source of some of the images, which are not copied; see `ImageSource.select`."""
        starts, shapes = self._parts
        return DecodedSource(self._pixels, starts[keep], shapes[keep], *self.names_and_labels(keep))


def hold_decoded(
    source: ImageSource, mode: str, folder: str | os.PathLike, *, seed: int, progress: bool
) -> tuple[ImageSource, str]:
    """Decodes all images once and holds them, if they fit.

    Args:
        source: The images, all of which can be read.
        mode: "auto": in memory, if they take at most a quarter of what is free; "ram": in memory,
            if they fit at all; "disk": in a file, if they take at most half of the free disk;
            "off": not at all.
        folder: Where the file of "disk" lies, without a name and until the process ends.
        seed: Chooses the images that the size is estimated from.
        progress: Whether to show a progress bar.

    Returns:
        The decoded images, or `source` as it is; and a few words about it for the log,
        none for arrays.

    Raises:
        InputError: If mode is "ram" and they do not fit.

    Memory: while they are handed over to TensorFlow, twice the decoded images. With "disk" the
    system holds in memory what it has room for.
    """
    if isinstance(source, ArraySource):
        return source, ""
    if mode == "off":
        return source, _FROM_FILES
    needed = _decoded_bytes(source, seed)
    on_disk = mode == "disk"
    free = shutil.disk_usage(folder).free if on_disk else _free_memory()
    sizes = (
        f"{needed / 1e9:.2g} GB decoded, "
        f"{free / 1e9:.2g} GB {'on the disk' if on_disk else 'of memory'} free"
    )
    if (on_disk and needed > free * _DISK_SHARE) or (mode == "auto" and needed > free * _SHARE):
        return source, f"{_FROM_FILES} ({sizes})"
    # Twice while they are handed over.
    if mode == "ram" and needed > free / 2:
        raise InputError(
            f"The decoded images do not fit into memory. Received: --cache=ram for {sizes}. "
            "Expected less than half of it; use --cache=auto or --cache=disk."
        )
    images = _decode_all(source, progress)
    try:
        if on_disk:
            held = _in_file(source, images, folder), f"decoded into a file once ({sizes})"
        else:
            held = _in_memory(source, images), f"decoded into memory once ({sizes})"
    except READ_ERRORS:
        # A file has gone since it was looked at: the run knows what to do when it comes to it.
        return source, _FROM_FILES
    except OSError as error:
        return source, f"{_FROM_FILES}: decoded, they cannot be written ({error})"
    return held


def _decode_all(source: ImageSource, progress: bool) -> Iterator[np.ndarray]:
    """Yields every image, uint8 (h, w, 3), in order."""
    images = unchanged(
        tf.data.Dataset.range(len(source))
        .apply(in_threads(lambda index: decode(source.load(index))))
        .prefetch(64)
    )
    bar = tqdm(total=len(source), desc="Decoding", unit="image", disable=not progress, leave=False)
    with bar:
        for image in images.as_numpy_iterator():
            yield image
            bar.update()


def _in_memory(source: ImageSource, images: Iterator[np.ndarray]) -> DecodedSource:
    flat, shapes = [], []
    for image in images:
        flat.append(image.reshape(-1))
        shapes.append(image.shape[:2])
    return _source_of(source, np.concatenate(flat), shapes)


def _in_file(
    source: ImageSource, images: Iterator[np.ndarray], folder: str | os.PathLike
) -> DecodedSource:
    """Writes the images and maps the file into memory.

    Raises:
        OSError: If the disk is full or cannot be written.
    """
    shapes = []
    with tempfile.TemporaryFile(dir=os.fspath(folder)) as file:
        for image in images:
            file.write(image.data)
            shapes.append(image.shape[:2])
        file.flush()
        # Some file systems find out only now that they are full; pages that cannot be read later
        # would end the process.
        os.fsync(file.fileno())
        # Writable, because NumPy hands over nothing else; nobody writes.
        mapped = np.memmap(file, np.uint8, "r+")
    # TensorFlow takes the very memory; a constant would be a copy.
    with tf.device("CPU:0"):
        pixels = tf.experimental.dlpack.from_dlpack(mapped.__dlpack__())
    return _source_of(source, pixels, shapes)


def _source_of(
    source: ImageSource, pixels: np.ndarray | tf.Tensor, shapes: list[tuple[int, int]]
) -> DecodedSource:
    sides = np.array(shapes)
    sizes = 3 * sides.prod(axis=1, dtype=np.int64)
    everything = np.arange(len(source))
    return DecodedSource(
        pixels, np.cumsum(sizes) - sizes, sides, *source.names_and_labels(everything)
    )


def _decoded_bytes(source: ImageSource, seed: int) -> float:
    """Estimate of what all images take, from a sample."""
    rng = np.random.default_rng(seed)
    sample = rng.choice(len(source), min(_SAMPLE, len(source)), replace=False)
    sizes = tf.data.Dataset.from_tensor_slices(sample).apply(
        in_threads(lambda index: tf.size(decode(source.load(index))))
    )
    known = list(unchanged(sizes.ignore_errors(log_warning=False)).as_numpy_iterator())
    return float(np.mean(known)) * len(source) if known else float("inf")


def _free_memory() -> int:
    """Bytes that the system could give to this process."""
    try:
        with open("/proc/meminfo") as file:
            fields = dict(line.split(":") for line in file)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2

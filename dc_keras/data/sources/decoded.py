"""Images decoded once and held in memory or in a file on the disk, where they fit.

Small images take longer to decode than to crop, and every epoch reads each of them twice: for its
features and to be trained on.

The file has no name: the system removes it when the process ends, however it ends, and it can never
be taken for that of other images.
"""

import mmap
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from dc_keras.data.pipelines import READERS, in_threads, unchanged
from dc_keras.data.pixels.decoding import decode
from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.stand_ins import READ_ERRORS
from dc_keras.errors import InputError
from dc_keras.memory import FreeMemory, free_address_space, free_memory

# Part of the free memory that decoded images take at most, where nobody asks for more.
DECODED_SHARE = 0.25
# Part of the free memory or disk that they take at most, whoever asks: the network, batches and
# checkpoints need room as well.
_LARGEST_SHARE = 0.5
# What a thread that decodes holds at a time: the file, the image, one that waits to be taken.
_IMAGES_A_THREAD = 3
# Images whose mean size stands for that of all.
_SAMPLE = 256
_FROM_FILES = "read from their files each time"


class DecodedSource(ImageSource):
    """Decoded images of any sizes, one behind the other."""

    def __init__(
        self,
        pixels: tf.Tensor | tf.Variable,
        starts: np.ndarray,
        shapes: np.ndarray,
        names: Sequence[str],
        labels: np.ndarray | None = None,
        class_names: tuple[str, ...] | None = None,
    ):
        """Makes a source of what `hold_decoded` has decoded.

        Args:
            pixels: All images, uint8 `(bytes,)`, on the CPU.
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

    def _some(self, keep: np.ndarray) -> "DecodedSource":
        """The source of some of the images, which are not copied; see `ImageSource.select`."""
        starts, shapes = self._parts
        return DecodedSource(self._pixels, starts[keep], shapes[keep], *self.names_and_labels(keep))


def hold_decoded(
    source: ImageSource,
    mode: str,
    folder: str | os.PathLike,
    *,
    seed: int,
    progress: bool,
    say: Callable[[str], None] = lambda text: None,
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
        say: Called with what will be taken, before it is.

    Returns:
        The decoded images, or `source` as it is; and a few words about it for the log,
        none for arrays.

    Raises:
        InputError: If mode is "ram" and they do not fit.

    Memory: the decoded images once, and while they are decoded a few more of them, one behind the
    other where they are large. What is free is the least of what the system has, control groups
    leave and limits of the process do (`memory.free_memory`). With "disk" the system holds in
    memory what it has room for.
    """
    if isinstance(source, ArraySource):
        return source, ""
    if mode == "off":
        return source, _FROM_FILES
    sample = decoded_sizes(source, seed)
    if not len(sample):
        return source, _FROM_FILES
    needed = float(np.mean(sample)) * len(source)
    on_disk = mode == "disk"
    free = _free_for_a_file(folder) if on_disk else free_memory()
    sizes = f"{needed / 1e9:.2g} GB decoded, {free.bytes / 1e9:.2g} GB {free.told}"
    most = free.bytes * _LARGEST_SHARE
    too_large = InputError(
        f"The decoded images do not fit into memory. Received: --cache=ram for {sizes}. "
        "Expected less than half of it; use --cache=auto or --cache=disk."
    )
    if mode == "ram" and needed > most:
        raise too_large
    if needed > most or (mode == "auto" and needed > free.bytes * DECODED_SHARE):
        return source, f"{_FROM_FILES} ({sizes})"
    where = "into a file" if on_disk else "into memory"
    say(f"Decoding all images once, {where}: {sizes}")
    threads = threads_that_fit(free_memory().bytes - needed, _IMAGES_A_THREAD * max(sample))
    images = _decode_all(source, threads, progress)
    try:
        if on_disk:
            held = _in_file(source, images, most, folder)
        else:
            held = _in_memory(source, images, most, needed)
    except _DoesNotFitError as error:
        if mode == "ram":
            raise too_large from error
        return source, f"{_FROM_FILES} ({sizes}, which turned out to be more)"
    except READ_ERRORS:
        # A file has gone since it was looked at: the run knows what to do when it comes to it.
        return source, _FROM_FILES
    except OSError as error:
        return source, f"{_FROM_FILES}: decoded, they cannot be written ({error})"
    return held, f"decoded {where} once ({sizes})"


class _DoesNotFitError(Exception):
    """The images turn out to be larger than there is room for."""


def _free_for_a_file(folder: str | os.PathLike) -> FreeMemory:
    """What is free on the disk, or in the address space into which the file is mapped."""
    on_disk = FreeMemory(shutil.disk_usage(folder).free, "on the disk free")
    return min(on_disk, free_address_space() or on_disk)


def _decode_all(source: ImageSource, threads: int, progress: bool) -> Iterator[np.ndarray]:
    """Yields every image, uint8 (h, w, 3), in order."""
    images = unchanged(
        tf.data.Dataset.range(len(source)).apply(
            in_threads(
                lambda index: decode(source.load(index), source.options), num_threads=threads
            )
        )
    )
    bar = tqdm(total=len(source), desc="Decoding", unit="image", disable=not progress, leave=False)
    with bar:
        for image in images.as_numpy_iterator():
            yield image
            bar.update()


def _in_memory(
    source: ImageSource, images: Iterator[np.ndarray], most: float, expected: float
) -> DecodedSource:
    """Writes the images into memory that grows where it is: the system moves no pages.

    Raises:
        OSError: If there is less memory than it seemed.
        _DoesNotFitError: If they take more than `most` bytes.
    """
    shapes, end = [], 0
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    memory = mmap.mmap(-1, int(expected) + mmap.PAGESIZE, flags=private)
    for image in images:
        start, end = end, end + image.nbytes
        if end > most:
            raise _DoesNotFitError
        if end > len(memory):
            memory.resize(end + len(memory) // 8)
        memory[start:end] = image.data
        shapes.append(image.shape[:2])
    memory.resize(end)
    return _source_of(source, np.frombuffer(memory, np.uint8), shapes)


def _in_file(
    source: ImageSource, images: Iterator[np.ndarray], most: float, folder: str | os.PathLike
) -> DecodedSource:
    """Writes the images and maps the file into memory.

    Raises:
        OSError: If the disk is full or cannot be written.
        _DoesNotFitError: If they take more than `most` bytes.
    """
    shapes, end = [], 0
    with tempfile.TemporaryFile(dir=os.fspath(folder)) as file:
        for image in images:
            end += image.nbytes
            if end > most:
                raise _DoesNotFitError
            file.write(image.data)
            shapes.append(image.shape[:2])
        file.flush()
        # Some file systems find out only now that they are full; pages that cannot be read later
        # would end the process.
        os.fsync(file.fileno())
        # Writable, because NumPy hands over nothing else; nobody writes.
        mapped = np.memmap(file, np.uint8, "r+")
    return _source_of(source, mapped, shapes)


def _source_of(
    source: ImageSource, pixels: np.ndarray, shapes: list[tuple[int, int]]
) -> DecodedSource:
    # TensorFlow takes the very memory; a constant would be a copy.
    with tf.device("CPU:0"):
        taken = tf.experimental.dlpack.from_dlpack(pixels.__dlpack__())
    sides = np.array(shapes)
    sizes = 3 * sides.prod(axis=1, dtype=np.int64)
    everything = np.arange(len(source))
    held = DecodedSource(
        taken, np.cumsum(sizes) - sizes, sides, *source.names_and_labels(everything)
    )
    return held.read_with(source.options)


def threads_that_fit(free: float, bytes_a_thread: float) -> int:
    """How many threads may work at a time, one for each image that is read where they fit.

    Args:
        free: Bytes of memory that are free. Half of them are left to others.
        bytes_a_thread: What a thread holds at a time.

    >>> threads_that_fit(free=1e9, bytes_a_thread=4e8)
    1
    """
    return max(1, min(int(free / 2 / max(bytes_a_thread, 1)), READERS))


def decoded_sizes(source: ImageSource, seed: int) -> list[int]:
    """Bytes that each of some images takes, of which those that can be read stand for all."""
    rng = np.random.default_rng(seed)
    sample = rng.choice(len(source), min(_SAMPLE, len(source)), replace=False)
    sizes = tf.data.Dataset.from_tensor_slices(sample).apply(
        in_threads(lambda index: tf.size(decode(source.load(index), source.options)))
    )
    return list(unchanged(sizes.ignore_errors(log_warning=False)).as_numpy_iterator())

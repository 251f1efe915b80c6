"""Images of one size as an array: an .npz file, or scikit-learn's digits."""

import pathlib
import zipfile
import zlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from dc_keras.data.sources.image_source import ImageSource, numbered
from dc_keras.errors import InputError
from dc_keras.memory import free_memory
from dc_keras.paths import is_remote


class ArraySource(ImageSource):
    """Images of one size held in memory, once: sources of some of them share it."""

    def __init__(
        self,
        images: np.ndarray | tf.Variable,
        names: Sequence[str],
        labels: np.ndarray | None = None,
        class_names: tuple[str, ...] | None = None,
        *,
        rows: np.ndarray | None = None,
    ):
        """Makes a source of an array, which is copied.

        Args:
            images: uint8 (m, h, w, 1 or 3); a variable is taken as it is.
            names: n names.
            labels: int32 (n,) or None.
            class_names: Names of the classes or None.
            rows: Where the n images are in the array, integers (n,); None for m images in order.
        """
        super().__init__(names, labels, class_names)
        self._rows = np.arange(len(self.names)) if rows is None else rows
        # Without the device, a machine with a GPU would keep the images in the GPU's memory. As a
        # variable, because pipelines copy the tensors that they use.
        with tf.device("/cpu:0"):
            is_held = isinstance(images, tf.Variable)
            self._pixels: tf.Variable = images if is_held else tf.Variable(images, trainable=False)
            self._places = tf.constant(self._rows, tf.int64)

    @property
    def images(self) -> np.ndarray:
        """The images, uint8 (n, h, w, 1 or 3), copied."""
        return self._pixels.numpy()[self._rows]

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of each image in pixels; nothing is copied."""
        return tuple(self._pixels.shape[1:3])

    def load(self, index: tf.Tensor) -> tf.Tensor:
        """Takes one image out of the array, grey repeated to RGB; see `ImageSource.load`."""
        image = tf.gather(self._pixels, tf.gather(self._places, index))
        return image if self._pixels.shape[-1] == 3 else tf.repeat(image, 3, axis=-1)

    def _some(self, keep: np.ndarray) -> "ArraySource":
        """The source of some of the images, which are not copied; see `ImageSource.select`."""
        return ArraySource(self._pixels, *self.names_and_labels(keep), rows=self._rows[keep])


def open_npz(path: str) -> ArraySource:
    """Opens an array file; see `open_source`.

    Raises:
        InputError: If it cannot be read, or its arrays have another shape or dtype.
    """
    expected = (
        "Expected: an .npz file with `images`, uint8 (n, height, width, 1 or 3), and, if there are "
        "any, `labels`, integers (n,). Write it with numpy.savez(path, images=..., labels=...)."
    )
    try:
        # NumPy leaves a file open that it opened itself and could not read.
        opened = tf.io.gfile.GFile(path, "rb") if is_remote(path) else open(path, "rb")
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

    TensorFlow gets a copy of the array, so it takes twice its size.

    Raises:
        ValueError: If that is more than the memory that can be had.
    """
    size = sum(member.file_size for member in arrays.zip.infolist()) if arrays.zip else 0
    free = free_memory()
    if 2 * size > free.bytes:
        raise ValueError(
            f"its arrays take {size / 1e9:.2g} GB, twice while TensorFlow takes them over, of the "
            f"{free.bytes / 1e9:.2g} GB {free.told}: use a folder of images"
        )


def open_digits() -> ArraySource:
    """The 1,797 handwritten digits that come with scikit-learn, grey, 8x8 pixels."""
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

"""Images numbered 0 to n - 1: what every kind of data set gives to the stages of the loop."""

import abc
from collections.abc import Sequence
from typing import Self

import numpy as np
import tensorflow as tf

from dc_keras.data.pixels.options import USUAL, PixelOptions
from dc_keras.data.sources.findings import Findings


class ImageSource(abc.ABC):
    """Images numbered 0 to n - 1, in an order that stays the same from run to run.

    Attributes:
        names: n names, unique: the path below the data folder with "/" between its parts (bytes
            that are no UTF-8 as surrogate escapes), or the like of "digits/000017" for arrays.
        labels: int32 (n,) class of each image, an index into `class_names`, or None.
        class_names: Names of the classes, sorted, or None where there are no labels.
        findings: What was found beside the images when the source was opened.
        options: How all that reads the images makes pixels of them.
    """

    findings = Findings()
    options: PixelOptions = USUAL

    def __init__(
        self,
        names: Sequence[str],
        labels: np.ndarray | None = None,
        class_names: tuple[str, ...] | None = None,
    ):
        """Takes what all kinds of sources have.

        Args:
            names: n names.
            labels: int32 (n,) or None.
            class_names: Names of the classes or None.
        """
        self.names = tuple(names)
        self.labels = labels
        self.class_names = class_names

    def __len__(self) -> int:
        return len(self.names)

    @abc.abstractmethod
    def load(self, index: tf.Tensor) -> tf.Tensor:
        """Reads one image. Works eagerly and inside `tf.data.Dataset.map`.

        Args:
            index: Scalar int32 or int64 tensor in [0, n).

        Returns:
            A scalar string tensor with the encoded file, or a uint8 tensor (h, w, 3).
            `decoding.decode` takes either.
        """

    def select(self, keep: np.ndarray) -> "ImageSource":
        """The source that holds only some of the images.

        Args:
            keep: Integer indices (m,) of the images to keep. Image i of the result is `keep[i]`.

        Returns:
            A source of m images of the same kind, with the same `class_names` and `options`.
        """
        return self._some(keep).read_with(self.options)

    @abc.abstractmethod
    def _some(self, keep: np.ndarray) -> "ImageSource":
        """`select` without the options."""

    def read_with(self, options: PixelOptions) -> Self:
        """Sets how pixels are made of the images, before any is read; returns the source."""
        self.options = options
        return self

    def names_and_labels(
        self, keep: np.ndarray
    ) -> tuple[list[str], np.ndarray | None, tuple[str, ...] | None]:
        """Names, labels and class names of some of the images, for another source of them."""
        labels = None if self.labels is None else self.labels[keep]
        return [self.names[i] for i in keep], labels, self.class_names


def numbered(stem: str, count: int) -> list[str]:
    """Names for images that have none: "digits/000000", "digits/000001" and so on."""
    return [f"{stem}/{i:06d}" for i in range(count)]

"""The labelled images that networks are judged on."""

import dataclasses
import sys

import numpy as np
from sklearn.model_selection import train_test_split

from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.inspection import leave_out_unreadable
from dc_keras.data.sources.manifest import positions_of, read_manifest
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.seeds import derive_seed, numpy_rng


@dataclasses.dataclass(frozen=True)
class Split:
    """Labelled images to fit probes on and others to test them on."""

    train: ImageSource
    test: ImageSource
    description: str

    @property
    def train_labels(self) -> np.ndarray:
        """Class of each training image, int32 `(n,)`."""
        return _labels(self.train)[0]

    @property
    def test_labels(self) -> np.ndarray:
        """Class of each test image, int32 `(n,)`."""
        return _labels(self.test)[0]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return _labels(self.train)[1]


@dataclasses.dataclass(frozen=True)
class SplitOptions:
    """Which labelled images, and how they are split.

    Attributes:
        data_dir: Images to train probes on; empty for those of the run.
        test_dir: Images to test on; empty for a part of the others.
        test_fraction: That part, of each class.
        max_images: At most this many of either.
        max_bad_fraction: Largest fraction of them that may be unreadable.
        seed: Draws them.
    """

    data_dir: str
    test_dir: str
    test_fraction: float
    max_images: int
    max_bad_fraction: float
    seed: int


def open_labelled_images(options: SplitOptions, run: RunDirectory, run_images: str) -> Split:
    """Opens the images to evaluate on.

    Args:
        options: Which, and how they are split.
        run: The run to evaluate.
        run_images: Where the images of the run are; empty for imported weights.

    Raises:
        InputError: If they have no labels, or a class is too small to be split.
    """
    if options.data_dir:
        train = open_source(options.data_dir)
    elif not run_images:
        raise InputError(
            f"The run has no images of its own, since its weights were imported. Received: "
            f"--run_dir={run.path}. Give labelled images with --data_dir."
        )
    else:
        train = open_source(run_images)
        positions, _ = positions_of(read_manifest(run.manifest).names, train)
        train = train.select(positions)
    _check_labels(train, options.data_dir or run_images)
    train = _some_readable(train, options)
    if options.test_dir:
        return Split(train, _open_test(options, train), f"tested on {options.test_dir}")
    return _split(train, options)


def _open_test(options: SplitOptions, train: ImageSource) -> ImageSource:
    test = open_source(options.test_dir)
    _check_labels(test, options.test_dir)
    received, expected = _labels(test)[1], _labels(train)[1]
    if received != expected:
        raise InputError(
            f"The classes of the test images differ. Received: {', '.join(received[:10])}. "
            f"Expected those of the training images: {', '.join(expected[:10])}."
        )
    return _some_readable(test, options)


def _split(source: ImageSource, options: SplitOptions) -> Split:
    """Splits the images of each class at random."""
    labels, class_names = _labels(source)
    classes = len(class_names)
    if np.bincount(labels).min() < 2:
        raise InputError(
            "A class has a single image, so it cannot be split into training and test images. "
            f"Received: {len(source)} images of {classes} classes. Give a --test_dir, or at least "
            "two images of each class."
        )
    fitted, tested = train_test_split(
        np.arange(len(source)),
        test_size=max(round(options.test_fraction * len(source)), classes),
        stratify=labels,
        random_state=derive_seed(options.seed, "evaluation split"),
    )
    return Split(
        source.select(np.sort(fitted)),
        source.select(np.sort(tested)),
        f"tested on a random {options.test_fraction:.0%} of each class, which the networks may "
        "have seen without labels",
    )


def _labels(source: ImageSource) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels and class names of a source that was checked to have some."""
    if source.labels is None or source.class_names is None:
        raise ValueError("The images have no labels.")
    return source.labels, source.class_names


def _some_readable(source: ImageSource, options: SplitOptions) -> ImageSource:
    """At most so many random images that can be read; those of the run may have changed since."""
    if len(source) > options.max_images:
        rng = numpy_rng(options.seed, "evaluation images")
        keep = np.sort(rng.choice(len(source), options.max_images, replace=False))
        source = source.select(keep)
    source, _ = leave_out_unreadable(source, options.max_bad_fraction, progress=sys.stderr.isatty())
    return source


def _check_labels(source: ImageSource, data_dir: str) -> None:
    if source.labels is None:
        raise InputError(
            f"The images have no labels to compare with. Received: {data_dir}. Expected a folder "
            "with one sub-folder for each class, or an .npz file with an array `labels`. Give "
            "labelled images with --data_dir."
        )

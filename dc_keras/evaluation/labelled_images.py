"""The labelled images that networks are judged on."""

import collections
import copy
import dataclasses
import sys
from collections.abc import Collection, Sequence

import numpy as np

from dc_keras.data.pixels.options import USUAL, PixelOptions
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.inspection import leave_out_unreadable, read_unreadable
from dc_keras.data.sources.labels import FOLDERS, give_labels
from dc_keras.data.sources.manifest import positions_of, read_manifest
from dc_keras.data.sources.open import OUTSIDE, open_source
from dc_keras.errors import InputError
from dc_keras.evaluation import stratified
from dc_keras.runs.run_directory import RunDirectory

_NAMES_SHOWN = 10


@dataclasses.dataclass(frozen=True)
class Split:
    """Labelled images to fit probes on and others to test them on.

    Attributes:
        train: Images to fit on; every one of the classes has some.
        test: Images of the same classes; not every class need have some.
        description: Where the test images come from, as a part of a sentence.
        remarks: What a reader of the figures should know of the images, a sentence each.
    """

    train: ImageSource
    test: ImageSource
    description: str
    remarks: tuple[str, ...] = ()

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
        pixels: How the run reads its images, and so all of these.
        labels: Empty for those of the images or the run; "folders" or a CSV file in their place,
            see `open_source`.
        held_out: Whether something is chosen on a part of the training images, for which a class
            needs two.
    """

    data_dir: str
    test_dir: str
    test_fraction: float
    max_images: int
    max_bad_fraction: float
    seed: int
    pixels: PixelOptions = USUAL
    labels: str = ""
    held_out: bool = True


def open_labelled_images(options: SplitOptions, run: RunDirectory, run_images: str) -> Split:
    """Opens the images to evaluate on.

    The images of the run and their labels are those of its manifest, whatever else has come into
    their folder since.

    Args:
        options: Which, and how they are split.
        run: The run to evaluate.
        run_images: Where the images of the run are; empty for imported weights.

    Raises:
        InputError: If they have no labels, or fewer than two classes, or none can be split.
    """
    remarks: list[str] = []
    if options.data_dir:
        train = open_source(options.data_dir, options.labels, options.pixels)
    elif not run_images:
        raise InputError(
            f"The run has no images of its own, since its weights were imported. Received: "
            f"--run_dir={run.path}. Give labelled images with --data_dir."
        )
    else:
        train = _images_of_run(run, run_images, options, remarks)
    data_dir = options.data_dir or run_images
    _check_labels(train, data_dir)
    train = _in_classes(train, _labels(train)[1])
    _check_classes(train, data_dir)
    train = _some_readable(train, options, at_least=2)
    train = _in_classes(train, _labels(train)[1])
    _check_classes(train, data_dir)
    if options.test_dir:
        test = _open_test(options, train, remarks)
        description = f"tested on {options.test_dir}"
    else:
        train, test = _split(train, options, remarks)
        description = (
            f"tested on a random {options.test_fraction:.0%} of each class, which the networks may "
            "have seen without labels"
        )
    if options.held_out:
        _check_validation(train)
    return Split(train, test, description, tuple(remarks))


def open_unlabelled_images(options: SplitOptions, run: RunDirectory, run_images: str) -> Split:
    """Opens images for tasks that need no labels; arguments as of `open_labelled_images`.

    Returns:
        All of them as training images of one class, and no test images.

    Raises:
        InputError: If there are none.
    """
    remarks: list[str] = []
    if options.data_dir or not run_images:
        source = open_source(options.data_dir, "none", options.pixels) if options.data_dir else None
    else:
        source = _images_of_run(run, run_images, options, remarks)
    if source is None:
        raise InputError(
            "The run has no images of its own, since its weights were imported. Received: "
            f"--run_dir={run.path}. Give images, which need no labels, with --data_dir."
        )
    source = _labelled(source, ["all"] * len(source), ("all",))
    source = _some_readable(source, options, at_least=1)
    return Split(source, source.select(np.zeros(0, np.int64)), "", tuple(remarks))


def _images_of_run(
    run: RunDirectory, run_images: str, options: SplitOptions, remarks: list[str]
) -> ImageSource:
    """The images of the manifest, with the labels that are asked for, or its own if it has some."""
    labels = options.labels
    source = open_source(run_images, labels if labels == FOLDERS else "", options.pixels)
    manifest = read_manifest(run.manifest)
    positions, gone = positions_of(manifest.names, source)
    outside = {path for path, kind in source.findings.passed_over if kind == OUTSIDE}
    if left_out := len(outside.intersection(gone)):
        remarks.append(
            f"{_count(left_out, 'image')} of this run {'is' if left_out == 1 else 'are'} left out, "
            "outside of the class folders."
        )
        gone = [name for name in gone if name not in outside]
    if not len(positions):
        raise InputError(
            f"None of the run's images is there any more. Received: {run_images} with "
            f"{len(source):,} images, of which none is among the {len(manifest.names):,} of "
            f"{run.manifest}. Bring them back, or give labelled images with --data_dir."
        )
    known = {*manifest.names, *read_unreadable(run.unreadable)}
    if new := sum(name not in known for name in source.names):
        remarks.append(
            f"{_count(new, 'new image')} in {run_images} {'is' if new == 1 else 'are'} not part of "
            f"this run and left out; to evaluate on all images: --data_dir={run_images}."
        )
    if gone:
        remarks.append(
            f"{_count(len(gone), 'image')} of this run {'is' if len(gone) == 1 else 'are'} not "
            f"there any more: {_some(gone)}."
        )
    source, before = source.select(positions), source.class_names
    if labels:
        if labels != FOLDERS:
            give_labels(source, labels)
    elif any(manifest.labels):
        label_of = dict(zip(manifest.names, manifest.labels, strict=True))
        named = [label_of[name] for name in source.names]
        # Numbers of classes go by their order, and draws by these: it stays that of the source.
        classes = before if before and set(named) <= set(before) else sorted(set(named))
        source = _labelled(source, named, tuple(classes))
    return source


def _open_test(options: SplitOptions, train: ImageSource, remarks: list[str]) -> ImageSource:
    """The test images of the classes of the training images."""
    folders = options.labels if options.labels == FOLDERS else ""
    test = open_source(options.test_dir, folders, options.pixels)
    if test.labels is None and options.labels:
        give_labels(test, options.labels)
    _check_labels(test, options.test_dir)
    classes = _labels(train)[1]
    test, others = _without_others(_in_classes(test, _labels(test)[1]), classes)
    if not len(test):
        raise InputError(
            f"The classes of the test images differ. Received: {_some(others)}. "
            f"Expected some of those of the training images: {_some(classes)}."
        )
    if others:
        left_out = sum(others.values())
        remarks.append(
            f"{_count(left_out, 'test image')} of classes without training images "
            f"{'is' if left_out == 1 else 'are'} left out: {_some(others)}."
        )
    test = _some_readable(test, options, at_least=1)
    sizes = np.bincount(_labels(test)[0], minlength=len(classes))
    if missing := [name for name, size in zip(classes, sizes, strict=True) if not size]:
        remarks.append(f"There are no test images of {_classes(missing)}.")
    return test


def _split(
    source: ImageSource, options: SplitOptions, remarks: list[str]
) -> tuple[ImageSource, ImageSource]:
    """Splits the images of each class at random."""
    labels, classes = _labels(source)
    tested = stratified.split(labels, options.test_fraction, options.seed)
    sizes = np.bincount(labels, minlength=len(classes))
    if single := [name for name, size in zip(classes, sizes, strict=True) if size == 1]:
        remarks.append(f"The only image of {_classes(single)} stays in training.")
    return source.select(np.flatnonzero(~tested)), source.select(np.flatnonzero(tested))


def _labels(source: ImageSource) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels and class names of a source that was checked to have some."""
    if source.labels is None or source.class_names is None:
        raise ValueError("The images have no labels.")
    return source.labels, source.class_names


def _labelled(source: ImageSource, named: Sequence[str], classes: tuple[str, ...]) -> ImageSource:
    """The same images with other labels, given by their names."""
    number = {name: index for index, name in enumerate(classes)}
    labelled = copy.copy(source)
    labelled.labels = np.array([number[name] for name in named], np.int32)
    labelled.class_names = classes
    return labelled


def _named(source: ImageSource) -> list[str]:
    labels, classes = _labels(source)
    return [classes[label] for label in labels]


def _in_classes(source: ImageSource, classes: Sequence[str]) -> ImageSource:
    """The same images, without classes that have none, in this order."""
    named = _named(source)
    present = set(named)
    return _labelled(source, named, tuple(name for name in classes if name in present))


def _without_others(
    source: ImageSource, classes: tuple[str, ...]
) -> tuple[ImageSource, dict[str, int]]:
    """The images of some classes, numbered as these, and how many there are of the others."""
    named = _named(source)
    sizes = collections.Counter(named)
    others = {name: sizes[name] for name in sorted(sizes.keys() - set(classes))}
    keep = [index for index, name in enumerate(named) if name not in others]
    kept = source.select(np.array(keep, np.int64))
    return _labelled(kept, [named[index] for index in keep], classes), others


def _some_readable(source: ImageSource, options: SplitOptions, at_least: int) -> ImageSource:
    """At most so many random images that can be read; those of the run may have changed since."""
    if len(source) > options.max_images:
        labels, _ = _labels(source)
        source = source.select(stratified.draw(labels, options.max_images, at_least, options.seed))
    source, _ = leave_out_unreadable(source, options.max_bad_fraction, progress=sys.stderr.isatty())
    return source


def _check_labels(source: ImageSource, data_dir: str) -> None:
    if source.labels is None:
        raise InputError(
            f"The images have no labels to compare with. Received: {data_dir}. Expected a folder "
            "with one sub-folder for each class, or an .npz file with an array `labels`. Give "
            "labelled images with --data_dir, or the labels with --labels=FILE.csv."
        )


def _check_classes(source: ImageSource, data_dir: str) -> None:
    classes = _labels(source)[1]
    if len(classes) < 2:
        raise InputError(
            "There is one class alone, which nothing can be told from. Received: "
            f"{len(source):,} images in {data_dir}, all of {_classes(classes)}. Expected at least "
            "two sub-folders with images. If the classes are one folder further down, give that "
            "folder with --data_dir."
        )


def _check_validation(source: ImageSource) -> None:
    labels, classes = _labels(source)
    if np.bincount(labels).max() < 2:
        raise InputError(
            "The regularisation of a linear probe is chosen on a part of each class. Received: one "
            f"training image of each of {len(classes)} classes. Expected two of some at least: "
            "give more images, or a --test_dir beside them, or only --task=clusters,knn."
        )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _classes(names: Collection[str]) -> str:
    return f"{'class' if len(names) == 1 else 'classes'} {_some(names)}"


def _some(names: Collection[str]) -> str:
    """The first names of a list."""
    shown = ", ".join(list(names)[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown

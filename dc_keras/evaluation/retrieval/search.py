"""What is searched and what for: images, queries and their answers by number, and other images.

Whitening is learned on other images than those that are searched: they would tell it what to look
at.
"""

import dataclasses
import os
import sys
from collections.abc import Sequence

import numpy as np

from dc_keras.data.pixels.options import USUAL, PixelOptions
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.inspection import Inspection, leave_out_unreadable
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError
from dc_keras.evaluation.retrieval.answers import Answers, Query, resolve, some_of
from dc_keras.evaluation.retrieval.ground_truth import MAP, GroundTruth
from dc_keras.evaluation.retrieval.oxford import read_oxford
from dc_keras.evaluation.retrieval.pairs import read_pairs
from dc_keras.evaluation.retrieval.revisited import read_revisited
from dc_keras.evaluation.retrieval.whole_images import fingerprints
from dc_keras.seeds import numpy_rng

# Images that whitening is learned on at most: all of Oxford5k or Paris6k, and 340 MB of regions of
# VGG16.
WHITENING_IMAGES = 8192
# Queries of a class, where classes are the ground truth.
PER_CLASS = 10


@dataclasses.dataclass(frozen=True)
class Search:
    """All that networks are measured on.

    Attributes:
        source: Images that are searched, and those of queries.
        searched: Which of them are ranked, integers `(n,)`.
        queries: At least one.
        others: Images that whitening is learned on; none is searched, nor a query's.
        told: What is searched for, in words.
        others_told: What whitening is learned on, in words.
        remarks: What a reader of the figures should know, a sentence each.
    """

    source: ImageSource
    searched: np.ndarray
    queries: Sequence[Query]
    others: ImageSource
    told: str
    others_told: str
    remarks: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class SearchOptions:
    """Which images are searched, and what for.

    Attributes:
        data_dir: They and those of the queries, as `open_source` takes it.
        ground_truth: A folder of Oxford5k's or Paris6k's texts, a JSON file of the revisited ones,
            or a CSV file of pairs; empty for the classes of the images.
        whiten_dir: Images that whitening is learned on; empty for those of the run.
        per_class: Queries that are drawn of each class at most, where classes are the ground truth.
        max_bad_fraction: Largest fraction of the images that may be unreadable.
        seed: Draws queries, and images to learn whitening on.
        pixels: How the run reads its images.
    """

    data_dir: str
    ground_truth: str = ""
    whiten_dir: str = ""
    per_class: int = PER_CLASS
    max_bad_fraction: float = 0.01
    seed: int = 31
    pixels: PixelOptions = USUAL


def open_search(options: SearchOptions, training: ImageSource | None) -> Search:
    """Opens images and ground truth.

    Args:
        options: Which.
        training: Readable images of the run; None if it has none. They are needed without a
            `whiten_dir`.

    Raises:
        InputError: If images or ground truth cannot be read or do not fit together, or there are no
            images to learn whitening on beside those that are searched.
    """
    truth = read_ground_truth(options.ground_truth) if options.ground_truth else None
    source = open_source(options.data_dir, options=options.pixels)
    total = len(source)
    source, seen = _readable(source, options)
    unreadable = total - len(source)
    remarks: tuple[str, ...] = ()
    if unreadable:
        remarks = (f"Retrieval: {unreadable:,} of {total:,} images left out, which are damaged.",)
    if truth is None:
        search = search_classes(source, options, training)
    else:
        queries, searched, told = resolve(truth, source.names)
        _check_boxes(queries, source, seen.sizes)
        remarks += told
        search = _with_others(source, searched, queries, truth.told, options, training)
    return dataclasses.replace(search, remarks=(*remarks, *search.remarks))


def read_ground_truth(path: str) -> GroundTruth:
    """Reads a ground truth of any kind.

    Raises:
        InputError: If it is of none, or not as expected.
    """
    if os.path.isdir(path):
        return read_oxford(path)
    if path.endswith(".csv"):
        return read_pairs(path)
    if path.endswith((".json", ".pkl")):
        return read_revisited(path)
    raise InputError(
        f"The ground truth is not there. Received: {path!r}. Expected a folder of NAME_query.txt "
        "and its like (Oxford5k, Paris6k), a .json file of the revisited ones, or a .csv file with "
        "the columns query and relevant."
    )


def search_classes(
    source: ImageSource, options: SearchOptions, training: ImageSource | None
) -> Search:
    """Images of a class shall be found by others of it.

    Args:
        source: Readable images with labels.
        options: How many queries of each class, and where whitening is learned; without the images.
        training: As of `open_search`.

    Returns:
        The search among all images, in which a query's own does not count.

    Raises:
        InputError: If there are no classes, or none has two images.
    """
    if source.labels is None or source.class_names is None:
        raise InputError(
            f"Nobody says what shall be found. Received: {options.data_dir or 'images'} without "
            "class folders, and no ground truth. Expected one sub-folder for each class, or "
            "a ground truth such as a .csv file with the columns query and relevant."
        )
    shuffled = numpy_rng(options.seed, "retrieval queries").permutation(len(source))
    labels, queries, single = source.labels, [], []
    for number, name in enumerate(source.class_names):
        members = np.flatnonzero(labels == number)
        if len(members) == 1:
            single.append(name)
        elif len(members):
            drawn = shuffled[labels[shuffled] == number][: options.per_class]
            queries += [
                Query(int(image), None, {MAP: Answers(members, np.array([image]))})
                for image in np.sort(drawn)
            ]
    if not queries:
        raise InputError(
            "No class has another image to be found. Received: one image of each of "
            f"{len(single)} classes. Expected two or more of some."
        )
    remarks: tuple[str, ...] = ()
    if single:
        remarks = (f"Retrieval: no query of {some_of(single)}, classes of a single image.",)
    told = (
        f"{len(queries):,} images as queries, at most {options.per_class} drawn of each class, "
        "which shall find the others of their class"
        f"{f' in {options.data_dir}' if options.data_dir else ''}"
    )
    search = _with_others(source, np.arange(len(source)), queries, told, options, training)
    return dataclasses.replace(search, remarks=(*remarks, *search.remarks))


def _check_boxes(queries: Sequence[Query], source: ImageSource, sizes: np.ndarray) -> None:
    """Checks that what is looked for is in its image."""
    for query in queries:
        height, width = sizes[query.image]
        if query.box and (query.box[0] >= width or query.box[1] >= height):
            raise InputError(
                "A query's region lies outside of its image. Received: "
                f"{' '.join(f'{number:g}' for number in query.box)} in "
                f"{source.names[query.image]!r}, which has {width} x {height} pixels. Expected "
                "the image at the size that the ground truth was made for."
            )


def _with_others(
    source: ImageSource,
    searched: np.ndarray,
    queries: Sequence[Query],
    told: str,
    options: SearchOptions,
    training: ImageSource | None,
) -> Search:
    """Puts a search together with the images that whitening is learned on."""
    if options.whiten_dir:
        where = options.whiten_dir
        others, _ = _readable(open_source(where, options=options.pixels), options)
    elif training is not None:
        where, others = "the training images of the run", training
    else:
        raise InputError(
            "There are no images to learn whitening on. Received: a run without images, and no "
            "folder of others. Give a folder of images like those that are searched, but others."
        )
    if len(others) > WHITENING_IMAGES:
        drawn = numpy_rng(options.seed, "retrieval whitening").permutation(len(others))
        others = others.select(np.sort(drawn[:WHITENING_IMAGES]))
    used = np.union1d(searched, [query.image for query in queries]).astype(np.int64)
    same = np.isin(fingerprints(others), fingerprints(source.select(used)))
    if same.all():
        raise InputError(
            "Whitening would be learned on the images that are searched. Received: "
            f"{len(others):,} images of {where}, all of which are among them. "
            "Expected others: give a folder of images that are like them, such as those of another "
            "city, or of the same classes."
        )
    remarks: tuple[str, ...] = ()
    if same.any():
        others = others.select(np.flatnonzero(~same))
        remarks = (
            f"Retrieval: whitening leaves out {int(same.sum()):,} of the images of {where}, which "
            "are among those that are searched.",
        )
    others_told = f"{len(others):,} images of {where}"
    return Search(source, searched, queries, others, told, others_told, remarks)


def _readable(source: ImageSource, options: SearchOptions) -> tuple[ImageSource, Inspection]:
    source, seen = leave_out_unreadable(
        source, options.max_bad_fraction, progress=sys.stderr.isatty()
    )
    return source, seen.of_readable()

"""The images of a run: opened, inspected once, recorded in its folder, perhaps decoded."""

import dataclasses
import functools
import sys
from collections.abc import Mapping

import numpy as np

from dc_keras.clustering.spread import ALONE, Workers
from dc_keras.data.pixels.center_crop import shown_part
from dc_keras.data.pixels.options import CROPS, USUAL, PixelOptions
from dc_keras.data.sources.decoded import hold_decoded
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.inspection import (
    drop_unreadable,
    read_unreadable,
    write_unreadable,
)
from dc_keras.data.sources.labels import describe_labels, numbered_classes
from dc_keras.data.sources.manifest import Manifest, positions_of, read_manifest, write_manifest
from dc_keras.data.sources.open import open_source
from dc_keras.data.sources.stand_ins import SourceWithStandIns
from dc_keras.data.sources.value_range import SEE_FLAG, with_value_range
from dc_keras.errors import InputError
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.workers.agreement import check_same
from dc_keras.workers.shared_inspection import inspect_together

# In the folder of the run: path and kind of what lies among the images and is not used.
PASSED_OVER = "passed_over.csv"
_MOST = 0.5


@dataclasses.dataclass(frozen=True)
class ImageOptions:
    """Which images a run learns from, and how they are read.

    Attributes:
        data_dir: Where they are; see `open_source`.
        max_bad_fraction: Largest fraction of them that may be unreadable, at the start or later.
        cache: Where decoded images are held; see `hold_decoded`.
        num_clusters: Of which there may not be more than images.
        seed: The run's seed.
        labels: Where their labels are, for figures alone; see `open_source`.
        pixels: How all that reads the images makes pixels of them.
        image_size: Side in pixels of the squares that the network sees; 0 where there is none.
        final_clusters: At the end, where they are others; not more than images, either.
    """

    data_dir: str
    max_bad_fraction: float
    cache: str
    num_clusters: int
    seed: int
    labels: str = ""
    pixels: PixelOptions = USUAL
    image_size: int = 224
    final_clusters: int = 0


def open_images(
    options: ImageOptions, run: RunDirectory, workers: Workers = ALONE
) -> SourceWithStandIns:
    """Opens the images of a run and records them in its folder.

    A new run looks at every file and leaves out what cannot be read; where images of 16 bits have
    no range, it finds one, which is among the source's options. A run that goes on takes the images
    of its manifest, and others of them in place of those that are gone.

    Args:
        options: Which images, and how they are read.
        run: The folder.
        workers: Who all open the images of the run, and share the looking.

    Raises:
        InputError: If there are no images, too many bad ones, or fewer than clusters, if too many
            images of the manifest are gone, or if another worker finds others.
    """

    def report(reasons: Mapping[str, str]) -> None:
        write_unreadable(reasons, run.unreadable)
        print(
            f"Images that cannot be read any more: {len(reasons):,}. Others of their clusters "
            f"stand in for them; listed in {run.unreadable}",
            file=sys.stderr,
        )

    source = open_source(options.data_dir, options.labels, options.pixels)
    check_same("images", source.names, workers, "Give all of them the same, under the same names.")
    if run.exists():
        manifest = read_manifest(run.manifest)
        for line in _describe_new(source, manifest, options, run):
            print(line)
        positions, _ = positions_of(manifest.names, source)
        source = _with_labels(source.select(positions), manifest)
        if len(positions):
            source = _decoded(source, options, run)
        return SourceWithStandIns(source, manifest.names, options.max_bad_fraction, report)
    source = record_new(source, options, run, workers)
    return SourceWithStandIns(
        _decoded(source, options, run), source.names, options.max_bad_fraction, report
    )


def _describe_new(
    source: ImageSource, manifest: Manifest, options: ImageOptions, run: RunDirectory
) -> list[str]:
    """What is said, in a line or none, of images that have come since the run began."""
    known = {*manifest.names, *read_unreadable(run.unreadable)}
    new = sum(name not in known for name in source.names)
    if not new:
        return []
    are = "image is" if new == 1 else "images are"
    return [
        f"{new:,} new {are} not part of this run, which goes on with those that it began with. To "
        "learn from all, start a new --run_dir; to find the clusters of new ones: "
        f"dc-keras assign --run_dir={run.path} --data_dir={options.data_dir} --out=FILE.csv"
    ]


def _with_labels(source: ImageSource, manifest: Manifest) -> ImageSource:
    """The same with the labels of the manifest, where a stray image has taken those of folders."""
    if source.labels is None and any(manifest.labels):
        label_of = dict(zip(manifest.names, manifest.labels, strict=True))
        source.labels, source.class_names = numbered_classes([label_of[n] for n in source.names])
    return source


def record_new(
    source: ImageSource, options: ImageOptions, run: RunDirectory, workers: Workers = ALONE
) -> ImageSource:
    """Leaves out what cannot be read or is no image, and writes the manifest and lists of these.

    Args:
        source: The images of a new run, all that were found.
        options: How many clusters they are for, and how they are read.
        run: Its folder is made.
        workers: Who all do this with the same images, and look at them together.

    Returns:
        Those that can be read, with the range of their values.

    Raises:
        InputError: If too many cannot be, or there are fewer than clusters.
    """
    found = source.findings.lines(listed_in=run.path / PASSED_OVER)
    for line in [*found, *describe_labels(source, options.labels)]:
        print(line)
    check_number_of_clusters(options.num_clusters, len(source), options.final_clusters)
    seen = inspect_together(source, workers, progress=sys.stderr.isatty())
    readable = drop_unreadable(source, seen.unreadable, options.max_bad_fraction)
    check_number_of_clusters(options.num_clusters, len(readable), options.final_clusters)
    run.path.mkdir(parents=True, exist_ok=True)
    if source.findings.passed_over:
        source.findings.write(run.path / PASSED_OVER)
    if unreadable := {source.names[i]: why for i, why in seen.unreadable.items()}:
        write_unreadable(unreadable, run.unreadable)
        print(
            f"Left out images that cannot be read: {len(unreadable):,}, listed in {run.unreadable}"
        )
    write_manifest(readable, run.manifest)
    seen = seen.of_readable()
    readable, told = with_value_range(readable, seen.is_deep, SEE_FLAG)
    crops = describe_crops(seen.sizes, options) if options.image_size else []
    for line in [told, *crops]:
        if line:
            print(line)
    return readable


def describe_crops(sizes: np.ndarray, options: ImageOptions) -> list[str]:
    """What is said, in a line or none, if the centre crop leaves most of most images out.

    Args:
        sizes: Heights and widths of the images in pixels, integers (n, 2).
        options: How they are fitted.
    """
    shown = shown_part(sizes, options.image_size, options.pixels.fit)
    few = int((shown < _MOST).sum())
    if options.pixels.fit not in CROPS or few <= _MOST * len(shown):
        return []
    return [
        f"The centre crop shows less than half of {few:,} of {len(shown):,} images, of the middle "
        f"one {np.median(shown):.0%}. To show images whole: --fit=squash or --fit=pad"
    ]


def _decoded(source: ImageSource, options: ImageOptions, run: RunDirectory) -> ImageSource:
    source, how = hold_decoded(
        source,
        options.cache,
        run.path,
        seed=options.seed,
        progress=sys.stderr.isatty(),
        say=functools.partial(print, flush=True),
    )
    if how:
        print(f"Images are {how}")
    return source


def check_number_of_clusters(num_clusters: int, num_images: int, final_clusters: int = 0) -> None:
    """Refuses more clusters than images before any work is done.

    Args:
        num_clusters: Of the training.
        num_images: Images there are.
        final_clusters: At its end, where they are others.

    Raises:
        InputError: With a number of clusters that suits the images.
    """
    for flag, number in (("num_clusters", num_clusters), ("final_clusters", final_clusters)):
        if number > num_images:
            # Some tens of images for each cluster, and a head that small data can train.
            suggestion = max(2, num_images // 50)
            raise InputError(
                f"There are fewer images than clusters. Received: --{flag}={number} for "
                f"{num_images} images. Expected at most as many clusters as images; try "
                f"--{flag}={suggestion}."
            )

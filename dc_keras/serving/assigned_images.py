"""The clusters of a finished run for any images, also ones that were not trained on.

The clusters are those of RUN/model, made with the network as it was at the end of the training.
"""

import csv
import dataclasses
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from dc_keras.assembly import pixel_options
from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.inspection import leave_out_unreadable
from dc_keras.data.sources.open import open_source
from dc_keras.data.sources.value_range import SEE_FLAG, with_value_range
from dc_keras.errors import InputError
from dc_keras.files import check_output_file, spreadsheet_text, write_atomically
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.serving.cluster_model import BLOCKS, ClusterModel, NearestClusters
from dc_keras.serving.run_model import model_of_run

# Images that are read ahead: some of the largest blocks.
BATCH = 8 * BLOCKS[0]


class Assigned(NamedTuple):
    """How many images were assigned, were outliers among them, and were left out."""

    images: int
    outliers: int
    unreadable: int


def assign(
    model: ClusterModel, source: ImageSource, *, progress: bool = False
) -> Iterator[NearestClusters]:
    """Finds the nearest clusters of each image.

    Args:
        model: Of a finished run.
        source: The images.
        progress: Whether to show a progress bar, with the time left.

    Yields:
        For each batch, in order, what `ClusterModel.nearest` tells, as arrays. Memory: that of a
        batch.
    """
    for nearest in answers(model, "nearest", source, progress=progress):
        yield NearestClusters(*(part.numpy() for part in nearest))


def answers(
    model: ClusterModel, answer: str, source: ImageSource, *, progress: bool = False
) -> Iterator[Any]:
    """Asks a model about all images of a source.

    Args:
        model: The model.
        answer: What for: "features", "embedding" or "nearest".
        source: The images.
        progress: Whether to show a progress bar, with the time left.

    Yields:
        For each batch, in order, the answer as tensors.
    """
    batches = ordered_batches(
        source, np.arange(len(source)), image_size=model.image_size, batch_size=BATCH
    )
    compute = model.compiled(answer)
    with tqdm(
        total=len(source), desc=answer, unit="image", disable=not progress, leave=False
    ) as bar:
        for images in batches:
            yield compute(images)
            bar.update(len(images))


def write_clusters(
    run_dir: str,
    data_dir: str,
    out: str,
    *,
    max_bad_fraction: float,
    changes: Mapping[str, Any] = MappingProxyType({}),
    names: Sequence[str] = (),
) -> Assigned:
    """Assigns the images of a folder and writes a CSV file with a line for each.

    Its columns are path, cluster, distance, margin, outlier, the second and third nearest clusters
    and their distances, and name where clusters have names.

    Args:
        run_dir: A finished run.
        data_dir: The images.
        out: The file to write.
        max_bad_fraction: Stop when more than this fraction of the files cannot be read.
        changes: Of the `PixelOptions` that the run has read its images with.
        names: Names of the run's clusters, for a column `name`; none where there are none.

    Returns:
        Numbers of images.

    Raises:
        InputError: If the run is not finished, or images or output do not allow it.
    """
    check_output(out)
    run = RunDirectory(run_dir)
    options = dataclasses.replace(pixel_options(run.config()), **changes)
    progress = sys.stderr.isatty()
    source = open_source(data_dir, options=options)
    for line in source.findings.lines():
        print(line)
    source, seen = leave_out_unreadable(source, max_bad_fraction, progress=progress)
    source, told = with_value_range(source, seen.of_readable().is_deep, SEE_FLAG)
    if told:
        print(told)
    model = model_of_run(run)
    outliers = write_lines(
        out, assign(model, source, progress=progress), source.names, names, model.cells.top
    )
    return Assigned(len(source), outliers, len(seen.unreadable))


def check_output(out: str) -> None:
    """Checks that the file can be written.

    Raises:
        InputError: If it cannot be.
    """
    folder = os.path.dirname(os.path.abspath(out))
    if not os.path.isdir(folder):
        raise InputError(
            f"The output's folder is missing. Received: --out={out}. "
            f"Make {folder} first, or choose another place."
        )
    check_output_file(out)


def write_lines(
    out: str,
    batches: Iterable[NearestClusters],
    paths: Iterable[str],
    names: Sequence[str],
    top: int,
) -> int:
    """Writes the file.

    Args:
        out: Where to.
        batches: The nearest clusters of all images, batch by batch, as arrays.
        paths: The images, in the same order.
        names: Names of the clusters, or none.
        top: How many of the nearest clusters are told.

    Returns:
        How many images were outliers.
    """
    outliers = 0
    path_of = iter(paths)
    with write_atomically(out) as file:
        writer = csv.writer(file)
        writer.writerow(columns(top, bool(names)))
        for nearest in batches:
            outliers += int(nearest.outliers.sum())
            for row in rows(nearest):
                named = [spreadsheet_text(names[int(row[0])])] if names else []
                writer.writerow([spreadsheet_text(next(path_of)), *row, *named])
    return outliers


def columns(top: int, named: bool) -> list[str]:
    """The columns of the file.

    Args:
        top: How many of the nearest clusters are told.
        named: Whether clusters have names.

    >>> columns(2, named=False)
    ['path', 'cluster', 'distance', 'margin', 'outlier', 'cluster_2', 'distance_2']
    """
    others = [f"{what}_{place}" for place in range(2, top + 1) for what in ("cluster", "distance")]
    named_column = ["name"] if named else []
    return ["path", "cluster", "distance", "margin", "outlier", *others, *named_column]


def rows(nearest: NearestClusters) -> Iterator[list[str]]:
    """What the file says of each image of a batch, between its path and the cluster's name.

    Distances have as many digits as tell the number from all others, so that reading brings it
    back to the bit.
    """
    for clusters, distances, margin, outlier in zip(*nearest, strict=True):
        others = [
            text
            for cluster, distance in zip(clusters[1:], distances[1:], strict=True)
            for text in (str(cluster), str(distance))
        ]
        outlier = "yes" if outlier else "no"
        yield [str(clusters[0]), str(distances[0]), str(margin), outlier, *others]

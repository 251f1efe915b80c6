"""The clusters of a finished run for any images, also ones that were not trained on.

The clusters are those of RUN/model, made with the network as it was at the end of the training.
"""

import csv
import dataclasses
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from tqdm import tqdm

from dc_keras.assembly import pixel_options
from dc_keras.clustering.kmeans import nearest_centroids
from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.inspection import leave_out_unreadable
from dc_keras.data.sources.open import open_source
from dc_keras.data.sources.value_range import SEE_FLAG, with_value_range
from dc_keras.errors import InputError
from dc_keras.files import check_output_file, spreadsheet_text, write_atomically
from dc_keras.models.feature_extractor import FeatureExtractor
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.trained_model import TrainedModel, load_model


def assign(
    model: TrainedModel, source: ImageSource, batch_size: int, *, progress: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Finds the nearest centroid of each image.

    Args:
        model: Of a finished run.
        source: The images.
        batch_size: Images in a step of feature extraction.
        progress: Whether to show a progress bar.

    Yields:
        For each batch, in order: clusters int32 `(b,)` and distances float32 `(b,)`.
    """
    extractor = FeatureExtractor(model.feature_network())
    batches = ordered_batches(
        source,
        np.arange(len(source)),
        image_size=extractor.image_size,
        batch_size=batch_size,
    )
    with tqdm(total=len(source), desc="features", disable=not progress, leave=False) as bar:
        for features in extractor(batches):
            yield nearest_centroids(model.whitening.apply(features), model.centroids)
            bar.update(len(features))


def write_clusters(
    run_dir: str,
    data_dir: str,
    out: str,
    *,
    max_bad_fraction: float,
    batch_size: int,
    changes: Mapping[str, Any] = MappingProxyType({}),
    names: Sequence[str] = (),
) -> tuple[int, int]:
    """Assigns the images of a folder and writes a CSV file: path, cluster, distance, name.

    Args:
        run_dir: A finished run.
        data_dir: The images.
        out: The file to write.
        max_bad_fraction: Stop when more than this fraction of the files cannot be read.
        batch_size: Images in a step of feature extraction.
        changes: Of the `PixelOptions` that the run has read its images with.
        names: Names of the run's clusters, for a column `name`; none where there are none.

    Returns:
        Number of images assigned, and of unreadable ones left out.

    Raises:
        InputError: If the run is not finished, or images or output do not allow it.
    """
    folder = os.path.dirname(os.path.abspath(out))
    if not os.path.isdir(folder):
        raise InputError(
            f"The output's folder is missing. Received: --out={out}. "
            f"Make {folder} first, or choose another place."
        )
    check_output_file(out)
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
    model = load_model(run)
    with write_atomically(out) as file:
        writer = csv.writer(file)
        writer.writerow(["path", "cluster", "distance", *(["name"] if names else [])])
        paths = iter(source.names)
        for clusters, distances in assign(model, source, batch_size, progress=progress):
            for cluster, distance in zip(clusters.tolist(), distances.tolist(), strict=True):
                named = [spreadsheet_text(names[cluster])] if names else []
                row = [spreadsheet_text(next(paths)), cluster, f"{distance:.4f}", *named]
                writer.writerow(row)
    return len(source), len(seen.unreadable)

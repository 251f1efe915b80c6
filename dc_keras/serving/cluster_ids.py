"""The clusters of a finished run for any images, also ones that were not trained on.

The clusters are those of RUN/model, made with the network as it was at the end of the training.
"""

import csv
import os
import sys
from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from dc_keras.clustering.features import FeatureExtractor
from dc_keras.clustering.kmeans import nearest_centroids
from dc_keras.clustering.whitening import Whitening
from dc_keras.data.inspection import leave_out_unreadable
from dc_keras.data.ordered import ordered_batches
from dc_keras.data.sources import ImageSource, open_source
from dc_keras.errors import InputError
from dc_keras.files import write_atomically
from dc_keras.models.deepcluster import clustered_layer, feature_model, load_network
from dc_keras.training.run_state import RunDirectory


def assign(
    run_dir: str, source: ImageSource, batch_size: int, *, progress: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Finds the nearest centroid of each image.

    Args:
        run_dir: A finished run.
        source: The images.
        batch_size: Images in a step of feature extraction.
        progress: Whether to show a progress bar.

    Yields:
        For each batch, in order: clusters int32 `(b,)` and distances float32 `(b,)`.

    Raises:
        InputError: If the run is not finished.
    """
    run = RunDirectory(run_dir)
    settings = run.config()
    if not run.model.is_dir():
        raise InputError(
            f"The run has no final clusters yet. Received: --run_dir={run_dir}. Expected a run "
            f"that has finished; go on with: python train.py --flagfile={run.flags}"
        )
    if not (run.model / "centroids.npy").exists():
        raise InputError(
            f"The run has no clusters. Received: --run_dir={run_dir}, whose weights were imported: "
            "PyTorch's file holds neither whitening nor centroids. Expected a run of train.py; the "
            "features of this one are there by dc_keras.serving.export."
        )
    network = load_network(run.model / "network.keras")
    whitening = Whitening.load(run.model / "whitening.npz")
    centroids = np.load(run.model / "centroids.npy", allow_pickle=False)
    batches = ordered_batches(
        source, np.arange(len(source)), image_size=settings.image_size, batch_size=batch_size
    )
    extractor = FeatureExtractor(feature_model(network, clustered_layer(network)))
    with tqdm(total=len(source), desc="features", disable=not progress, leave=False) as bar:
        for features in extractor(batches):
            yield nearest_centroids(whitening.apply(features), centroids)
            bar.update(len(features))


def write_clusters(
    run_dir: str, data_dir: str, out: str, *, max_bad_fraction: float, batch_size: int
) -> tuple[int, int]:
    """Assigns the images of a folder and writes a CSV file: path, cluster, distance.

    Args:
        run_dir: A finished run.
        data_dir: The images.
        out: The file to write.
        max_bad_fraction: Stop when more than this fraction of the files cannot be read.
        batch_size: Images in a step of feature extraction.

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
    progress = sys.stderr.isatty()
    source, unreadable = leave_out_unreadable(
        open_source(data_dir), max_bad_fraction, progress=progress
    )
    with write_atomically(out) as file:
        writer = csv.writer(file)
        writer.writerow(["path", "cluster", "distance"])
        names = iter(source.names)
        for clusters, distances in assign(run_dir, source, batch_size, progress=progress):
            for cluster, distance in zip(clusters.tolist(), distances.tolist(), strict=True):
                writer.writerow([next(names), cluster, f"{distance:.4f}"])
    return len(source), len(unreadable)

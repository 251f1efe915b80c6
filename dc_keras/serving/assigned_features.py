"""The clusters of a run of given features for features of other images, from the same network."""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from dc_keras.data.features.feature_files import GivenFeatures, read_features
from dc_keras.data.features.image_rows import rows_of_images
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.trained_model import TrainedModel, load_model
from dc_keras.serving.assigned_images import Assigned, check_output, write_lines
from dc_keras.serving.cluster_model import NearestClusters
from dc_keras.serving.run_model import cells_of


def write_clusters_of_features(
    run_dir: str,
    given: tuple[str, str],
    data_dir: str,
    out: str,
    *,
    names: Sequence[str] = (),
) -> Assigned:
    """Assigns images by given features and writes a CSV file with a line for each.

    Args:
        run_dir: A run of given features.
        given: The file of features of the images, and the list of their paths or "".
        data_dir: The images, of which no more than the names are read.
        out: The file to write, with the columns of `write_clusters`.
        names: Names of the run's clusters, or none.

    Returns:
        Numbers of images.

    Raises:
        InputError: If the run has a network, or features, images or output do not allow it.
    """
    check_output(out)
    model = load_model(RunDirectory(run_dir))
    if model.features is None:
        raise InputError(
            "The run has a network, by which images are assigned. Received: --embeddings with "
            f"--run_dir={run_dir}. Leave --embeddings out, or give a run of dc-keras cluster "
            "--embeddings."
        )
    features = read_features(*given)
    expected, received = len(model.whitening.mean), features.values.shape[1]
    if received != expected:
        raise InputError(
            f"The features are of another kind than those of the run. Received: {given[0]} with "
            f"{received:,} values of each image. Expected {expected:,}, by the same network."
        )
    source = open_source(data_dir)
    found = rows_of_images(features, source, data_dir)
    for line in (*source.findings.lines(), *found.told):
        print(line)
    outliers = write_lines(
        out,
        _nearest(model, features, found.rows),
        [source.names[image] for image in found.images],
        names,
        cells_of(model).top,
    )
    return Assigned(len(found.images), outliers, 0)


def _nearest(
    model: TrainedModel, features: GivenFeatures, rows: np.ndarray
) -> Iterator[NearestClusters]:
    """The nearest clusters of features, block by block, as arrays."""
    cells = cells_of(model)
    for block in features.blocks(rows):
        nearest = cells.nearest(cells.embedding(tf.constant(block)))
        yield NearestClusters(*(part.numpy() for part in nearest))

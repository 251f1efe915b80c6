"""Clusters by features that need no training: given ones, or those of a given network.

The folder becomes a run that the programs behind a training take: its images are recorded, and its
model has the features, or the network, in place of a trained one.
"""

import os
import sys

import numpy as np

from dc_keras import assembly
from dc_keras.clustering.outliers import outlier_distance
from dc_keras.clustering.whitening import Whitening
from dc_keras.config import ClusterConfig, TrainingConfig
from dc_keras.data.features.feature_files import read_features
from dc_keras.data.features.image_rows import rows_of_images
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.open import open_source
from dc_keras.data.sources.stand_ins import SourceWithStandIns
from dc_keras.errors import DegenerateDataError, InputError
from dc_keras.models.feature_extractor import FeatureExtractor
from dc_keras.models.given_network import GivenNetwork, features_of, load_given_network
from dc_keras.runs.given import Given, save_given
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.trained_model import TrainedModel, save_model
from dc_keras.training.image_clustering import (
    ImageClusterer,
    cluster_features,
    clustering_figures,
)
from dc_keras.training.images import ImageOptions, record_new
from dc_keras.training.monitoring import describe_clusters

# Pictures of given features' images, where some are compared: for copies, and on pages.
_PICTURE_SIZE = 64
# Of 300 digits, 9 a direction gave an NMI of 0.74 with the classes, 5 0.34, and 1.2 0.09.
_IMAGES_A_DIRECTION = 8


def cluster(config: ClusterConfig) -> RunDirectory:
    """Clusters images by given features or a given network, and says what came out.

    Args:
        config: Validated settings.

    Returns:
        The run, with everything in it.

    Raises:
        InputError: If features, network, images or folder do not do; see the message. The folder is
            then no run.
    """
    run = RunDirectory(config.run_dir)
    if run.exists() or (run.path.exists() and not run.path.is_dir()):
        raise InputError(
            "The run directory is taken. Received: "
            f"--run_dir={config.run_dir}, which is {'a run' if run.exists() else 'a file'}. "
            "Expected a name that is free, or a folder without a run."
        )
    if config.network:
        return _by_network(config, run)
    return _by_features(config, run)


def _by_features(config: ClusterConfig, run: RunDirectory) -> RunDirectory:
    features = read_features(config.embeddings, config.paths)
    source = _open(config, _PICTURE_SIZE)
    found = rows_of_images(features, source, config.data_dir)
    told = f"{features.values.shape[1]:,} values of each image"
    for line in (*found.told, f"Features: {told} from {config.embeddings}"):
        print(line)
    row_of = {source.names[image]: row for image, row in zip(found.images, found.rows, strict=True)}
    with run.locked():
        settings, source = _record(config, run, source, found.images, _PICTURE_SIZE)
        rows = np.array([row_of[name] for name in source.names], np.int64)
        clusters, descriptors, seconds = cluster_features(
            lambda images: features.blocks(rows[images]),
            len(rows),
            assembly.clustering_options(settings),
            seed=settings.seed,
            turn=0,
            progress=sys.stderr.isatty(),
        )
        whitening = descriptors.whitening
        far = outlier_distance(descriptors.values, clusters.assignments, clusters.centroids)
        model = TrainedModel(None, whitening, clusters.centroids, far)
        save_model(
            run, model, clusters.assignments, source.names, epochs=0, features=features.blocks(rows)
        )
        for line in describe_whitening(whitening, len(rows), config.whiten):
            print(line)
        figures = clustering_figures(clusters, whitening, source.labels)
        given = Given(os.path.abspath(config.embeddings), is_network=False, told=told)
        return _finish(run, settings, given, describe_clusters(figures, seconds))


def _by_network(config: ClusterConfig, run: RunDirectory) -> RunDirectory:
    network, told = features_of(
        load_given_network(config.network),
        GivenNetwork(config.pixels, config.image_size, config.layer, config.tokens),
    )
    image_size = network.input_shape[1]
    source = _open(config, image_size)
    print(f"Features: {told} of {config.network}")
    with run.locked():
        settings, source = _record(config, run, source, np.arange(len(source)), image_size)
        clusterer = ImageClusterer(
            SourceWithStandIns(source, source.names, config.max_bad_fraction, _report_gone),
            FeatureExtractor(network),
            assembly.clustering_options(settings),
            batch_size=config.batch_size,
            seed=config.seed,
            progress=sys.stderr.isatty(),
        )
        try:
            made = clusterer.cluster(0, None)
        except DegenerateDataError as error:
            raise DegenerateDataError(
                f"The network's features cannot be clustered. Received: {config.network}. Are "
                f"--pixels and --layer what it needs, and has it its weights? ({error})"
            ) from error
        for line in describe_whitening(made.whitening, len(source), config.whiten):
            print(line)
        model = TrainedModel(
            network, made.whitening, made.clusters.centroids, made.outlier_distance
        )
        save_model(run, model, made.clusters.assignments, source.names, epochs=0)
        given = Given(config.network, is_network=True, told=told)
        return _finish(run, settings, given, describe_clusters(made.figures, made.seconds))


def _open(config: ClusterConfig, image_size: int) -> ImageSource:
    options = assembly.pixel_options(config.run_settings(1, image_size))
    return open_source(config.data_dir, config.labels, options)


def _record(
    config: ClusterConfig,
    run: RunDirectory,
    source: ImageSource,
    images: np.ndarray,
    image_size: int,
) -> tuple[TrainingConfig, ImageSource]:
    """Records those of some images that can be read as the images of the run, with its settings."""
    settings = config.run_settings(len(images), image_size)
    if len(images) < len(source):
        findings = source.findings
        source = source.select(images)
        source.findings = findings
    options = ImageOptions(
        data_dir=config.data_dir,
        max_bad_fraction=config.max_bad_fraction,
        cache="off",
        num_clusters=settings.num_clusters,
        seed=config.seed,
        labels=config.labels,
        pixels=source.options,
        image_size=0 if config.embeddings else image_size,
    )
    source = record_new(source, options, run)
    if not config.num_clusters:
        print(f"Clusters: {settings.num_clusters:,}, see --num_clusters")
    return assembly.with_pixel_options(settings, source.options), source


def describe_whitening(whitening: Whitening, num_images: int, whitened: bool) -> list[str]:
    """What is said, in a line or none, of more whitened directions than the images can tell.

    With n - 1 of them, the descriptors of n images are the corners of a simplex: all are equally
    far from each other, and clusters mean nothing.
    """
    dim = whitening.output_dim
    if not whitened or dim * _IMAGES_A_DIRECTION <= num_images:
        return []
    return [
        f"Whitened, {dim} directions of {num_images:,} images are mostly noise. Lower --pca_dim to "
        f"{max(1, num_images // _IMAGES_A_DIRECTION)}, or leave --whiten out"
    ]


def _finish(run: RunDirectory, settings: TrainingConfig, given: Given, told: str) -> RunDirectory:
    """Makes a run of the folder."""
    print(told)
    run.log(f"dc-keras cluster: {given.told} of {given.file}: {told}")
    save_given(run, given)
    # What makes it a run comes last.
    settings.save(run.flags)
    return run


def _report_gone(reasons) -> None:
    print(
        f"Images that cannot be read any more: {len(reasons):,}. Others stand in for them",
        file=sys.stderr,
    )

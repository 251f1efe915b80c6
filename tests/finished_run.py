"""A finished run without a training, for tests that look at its images."""

import numpy as np

from dc_keras.clustering.centroids import nearest_centroids
from dc_keras.clustering.whitening import fit_whitening
from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.data.sources.manifest import write_manifest
from dc_keras.data.sources.open import open_source
from dc_keras.models.architectures import build_network
from dc_keras.models.feature_extractor import FEATURES, feature_model
from dc_keras.models.options import NetworkOptions
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.trained_model import TrainedModel, save_model
from tiny import tiny


def finished_run(path, data_dir, num_clusters=3) -> np.ndarray:
    """Writes a run whose network is as it was at the start, with some images as centroids.

    Args:
        path: Where to.
        data_dir: The images.
        num_clusters: k, at most as many as images.

    Returns:
        The descriptors of the images, by the usual way.
    """
    run = RunDirectory(path)
    run.path.mkdir(parents=True)
    tiny(data_dir, run.path).save(run.flags)
    source = open_source(str(data_dir))
    write_manifest(source, run.manifest)
    options = NetworkOptions(image_size=32, width=0.0625, scaled_fc_init=True)
    network = build_network(options, num_clusters)
    everything = np.arange(len(source))
    (images,) = ordered_batches(source, everything, image_size=32, batch_size=len(source))
    features = np.asarray(feature_model(network, FEATURES)(images, training=False))
    whitening = fit_whitening(features, min(8, len(source) - 1))
    descriptors = whitening.apply(features)
    centroids = descriptors[:num_clusters]
    clusters, _ = nearest_centroids(descriptors, centroids)
    model = TrainedModel(network, whitening, centroids, 0.5)
    save_model(run, model, clusters, source.names, epochs=1)
    return descriptors

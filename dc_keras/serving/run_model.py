"""The model of a finished run, ready to answer."""

import dataclasses

import keras

from dc_keras.assembly import build_untrained
from dc_keras.config import TrainingConfig
from dc_keras.models.feature_extractor import FEATURES, feature_model
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.trained_model import TrainedModel, load_model
from dc_keras.serving.cluster_model import Cells, ClusterModel


def model_of_run(run: RunDirectory) -> ClusterModel:
    """Loads the network and the clusters of a finished run.

    Args:
        run: The run.

    Raises:
        InputError: If the run is not finished, has no clusters or no network, or is damaged.
    """
    config = run.config()
    trained = load_model(run)
    network = in_float32(trained.known_network(), config)
    return ClusterModel(feature_model(network, FEATURES), cells_of(trained))


def cells_of(trained: TrainedModel) -> Cells:
    """What makes clusters of the features of a run."""
    return Cells(trained.whitening, trained.centroids, trained.outlier_distance)


def in_float32(network: keras.Model, config: TrainingConfig) -> keras.Model:
    """The same network in float32: wherever it is used, that runs.

    Args:
        network: As it was trained.
        config: The settings of its run.
    """
    if config.precision == "float32":
        return network
    settings = dataclasses.replace(config, precision="float32")
    same = build_untrained(settings, num_outputs=network.output_shape[-1])
    same.set_weights(network.get_weights())
    return same

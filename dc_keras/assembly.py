"""From a run's settings to the parts of the loop.

Settings as a whole are read here and where parts are put together, in `training.loop` and
`evaluation.evaluate`. Below, everything takes plain arguments, grouped in small frozen options.
"""

import dataclasses

import keras
import tensorflow as tf

from dc_keras.clustering.kmeans import KMeansOptions
from dc_keras.clustering.pseudo_labels import ClusteringOptions
from dc_keras.config.images import value_range
from dc_keras.config.training import TrainingConfig, batch_not_divisible
from dc_keras.data.batches.ordered import readable_batches
from dc_keras.data.batches.samplers import make_sampler
from dc_keras.data.batches.share import WHOLE, Share
from dc_keras.data.batches.training import TrainingBatches
from dc_keras.data.pixels.augmentation import Augmentation
from dc_keras.data.pixels.center_crop import preprocess_for_clustering
from dc_keras.data.pixels.options import PixelOptions
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.errors import InputError
from dc_keras.machine import (
    compiles_steps,
    configure_devices,
    make_deterministic,
    make_strategy,
    precision_of_layers,
)
from dc_keras.models.architectures import build_network
from dc_keras.models.coupled_sgd import CoupledSGD
from dc_keras.models.deepcluster import DeepCluster
from dc_keras.models.muon import Muon
from dc_keras.models.options import NetworkOptions
from dc_keras.models.patch_whitening import PATCHES, fit_filters
from dc_keras.models.worker_trainer import trainer_under
from dc_keras.seeds import numpy_rng

# Images that the first layer is fitted to, at most, and how many of them are in memory at once.
_IMAGES_TO_WHITEN, _BATCH_TO_WHITEN = 2000, 100


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Lengths of a run: Keras epochs, and training steps in each.

    With `reassign` up to 1 a Keras epoch is one turn of the loop and sees `reassign * n` images,
    as published; above 1 it sees n, and several make a turn.

    Attributes:
        epochs: Number of Keras epochs.
        steps: Training steps in a Keras epoch.
    """

    epochs: int
    steps: int

    @classmethod
    def of(cls, config: TrainingConfig, num_images: int) -> "Schedule":
        """The schedule of `config.epochs` passes over `num_images` images.

        >>> from dc_keras.config import TrainingConfig
        >>> Schedule.of(TrainingConfig(epochs=10, batch_size=50, reassign=0.5), num_images=1000)
        Schedule(epochs=20, steps=10)
        """
        passes = min(config.reassign, 1.0)
        return cls(
            epochs=max(1, round(config.epochs / passes)),
            steps=max(1, round(passes * num_images / config.batch_size)),
        )


def prepare_devices(config: TrainingConfig) -> tf.distribute.Strategy:
    """Prepares the devices that a run asks for; must run before TensorFlow's first operation.

    Raises:
        InputError: If they are not there, or the batch cannot be shared out among them.
    """
    if config.deterministic:
        make_deterministic()
    configure_devices(config.virtual_devices)
    strategy = make_strategy(config.strategy, config.virtual_devices)
    replicas = strategy.num_replicas_in_sync
    is_given = "batch_size" not in config.to_choose
    if is_given and config.batch_size % (replicas * config.views):
        raise InputError(batch_not_divisible(config.batch_size, replicas, config.views))
    return strategy


def pixel_options(config: TrainingConfig) -> PixelOptions:
    """How all that reads the images makes pixels of them."""
    return PixelOptions(
        value_range=value_range(config.value_range),
        max_pixels=config.max_pixels,
        fit=config.fit,
    )


def with_pixel_options(config: TrainingConfig, options: PixelOptions) -> TrainingConfig:
    """The settings with what the images have told of themselves: their range of values."""
    if options.value_range is None:
        return config
    return dataclasses.replace(config, value_range=",".join(map(str, options.value_range)))


def augmentation(config: TrainingConfig) -> Augmentation:
    """How training images are changed."""
    return Augmentation(
        image_size=config.crop_size,
        min_area=config.crop_min_area,
        hflip=config.hflip,
        color_jitter=config.color_jitter,
        grayscale=config.grayscale,
        views=config.views,
    )


def training_batches(
    config: TrainingConfig, source: ImageSource, schedule: Schedule, share: Share = WHOLE
) -> TrainingBatches:
    """Makes the training pipeline, with its sampler; of several workers each has a share."""
    draws = schedule.steps * config.batch_size // config.views
    return TrainingBatches(
        source,
        make_sampler(config.sampler, len(source), draws),
        augmentation(config),
        steps=schedule.steps,
        batch_size=config.batch_size,
        share=share,
    )


def clustering_options(config: TrainingConfig) -> ClusteringOptions:
    """How images are clustered."""
    return ClusteringOptions(
        num_clusters=config.num_clusters,
        method=config.clustering,
        pca_dim=config.pca_dim,
        pca_images=config.pca_images,
        whiten=config.whiten,
        kmeans=KMeansOptions(
            iterations=config.kmeans_iterations,
            spherical=config.kmeans_spherical,
            max_points=config.kmeans_max_points,
            two_level_from=config.kmeans_two_level_from,
            starts=config.kmeans_starts,
        ),
        neighbours=config.diffusion_neighbours,
    )


def final_clustering_options(config: TrainingConfig) -> ClusteringOptions:
    """How images are clustered at the end of a run."""
    options = clustering_options(config)
    if not config.final_clusters:
        return options
    return dataclasses.replace(options, method="kmeans", num_clusters=config.final_clusters)


def network_options(config: TrainingConfig) -> NetworkOptions:
    """What the network is made like."""
    return NetworkOptions(
        image_size=config.image_size,
        arch=config.arch,
        width=config.width,
        use_sobel=config.sobel,
        whitened_patches=config.whitened_patches,
        dropout=config.dropout,
        scaled_fc_init=config.fc_init == "scaled",
        fc_norm=config.fc_norm,
        temperature=config.temperature if config.head == "cosine" else None,
        seed=config.seed,
    )


def build_untrained(config: TrainingConfig, num_outputs: int | None = None) -> keras.Model:
    """Builds the network of a run, with initial weights that depend on the seed alone.

    Call it in the scope of the strategy that will run it.

    Args:
        config: The settings.
        num_outputs: Outputs of the head, when not `config.num_clusters`.
    """
    with precision_of_layers(config.precision):
        return build_network(network_options(config), num_outputs or config.num_clusters)


def fit_first_layer(network: keras.Model, config: TrainingConfig, source: ImageSource) -> None:
    """Gives a network the filters of its fixed first layer, if it has one: those of its images.

    Args:
        network: From images to logits, not trained yet.
        config: The settings.
        source: The images; up to 2,000 are looked at.
    """
    if not config.whitened_patches:
        return
    count = min(len(source), _IMAGES_TO_WHITEN)
    drawn = numpy_rng(config.seed, "whitened patches").choice(len(source), count, replace=False)

    def load(index):
        return preprocess_for_clustering(source.load(index), config.image_size, source.options)

    # Images that have vanished since they were listed are not missed.
    batches = readable_batches(load, drawn, _BATCH_TO_WHITEN)
    filters = fit_filters(batches.as_numpy_iterator(), config.whitened_patches)
    network.get_layer(PATCHES).kernel.assign(filters)


def compiles_steps_of(config: TrainingConfig, schedule: Schedule) -> bool:
    """Whether XLA compiles the training steps of a run; call it in the scope of the strategy."""
    return compiles_steps(
        config.xla, schedule.epochs * schedule.steps, deterministic=config.deterministic
    )


def build_trainer(
    config: TrainingConfig, schedule: Schedule, network: keras.Model | None = None
) -> DeepCluster:
    """Makes the trainer of a run and compiles it; call it in the scope of the strategy.

    Args:
        config: The settings.
        schedule: Of the training, over which the learning rate falls where the settings say so.
        network: The network to train, with its initial weights; None: that of `build_untrained`.
    """
    network = network or build_untrained(config)
    with precision_of_layers(config.precision):
        trainer = trainer_under(tf.distribute.get_strategy())
        model = trainer(network.input, network.output)
    learning_rate = config.learning_rate
    if config.learning_rate_schedule == "cosine":
        learning_rate = keras.optimizers.schedules.CosineDecay(
            config.learning_rate, schedule.epochs * schedule.steps
        )
    optimizer = Muon if config.optimizer == "muon" else CoupledSGD
    model.compile(
        optimizer(learning_rate, config.momentum, config.weight_decay),
        CoupledSGD(learning_rate, 0.0, config.weight_decay, name="head_sgd"),
        instance_weight=config.instance_weight,
        instance_temperature=config.instance_temperature,
        instance_views=config.instance_views,
        xla=compiles_steps_of(config, schedule),
    )
    return model

"""One training run, from the settings to a trained network and the clusters it sees.

    repeat:
        features of all images  ->  PCA, whitening, L2  ->  k-means  ->  pseudo-labels
        train the network for an epoch to predict them, on images drawn uniformly over clusters

All of it happens in one `model.fit`; `Recluster` does the first line at the beginning of an epoch.
"""

import csv
import pathlib
import sys
import textwrap

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from dc_keras.clustering.features import FeatureExtractor
from dc_keras.clustering.kmeans import KMeansOptions
from dc_keras.clustering.pseudo_labels import Clustering
from dc_keras.config import TrainingConfig, batch_not_divisible
from dc_keras.data.balanced import make_sampler, training_batches
from dc_keras.data.inspection import leave_out_unreadable, write_unreadable
from dc_keras.data.samplers import Sampler
from dc_keras.data.sources import (
    ImageSource,
    open_source,
    positions_of,
    read_manifest,
    write_manifest,
)
from dc_keras.errors import InputError
from dc_keras.files import write_atomically, write_directory_atomically
from dc_keras.models.architectures import build_network
from dc_keras.models.deepcluster import CoupledSGD, DeepCluster, feature_model
from dc_keras.runtime import configure_devices, make_strategy
from dc_keras.training.monitoring import Monitor
from dc_keras.training.recluster import (
    ClusteringOfImages,
    Recluster,
    cluster_images,
    estimate_churn,
)
from dc_keras.training.run_state import (
    UNREADABLE,
    Checkpoint,
    RunDirectory,
    load_checkpoint,
    plain_network,
)


def train(config: TrainingConfig) -> RunDirectory:
    """Trains DeepCluster as the settings say.

    Args:
        config: Validated settings.

    Returns:
        The run directory, with everything in it.

    Raises:
        InputError: If images, settings or run directory do not allow the run; see the message.
    """
    config = config.with_absolute_paths()
    run = RunDirectory(config.run_dir)
    run.check(config)
    configure_devices(config.virtual_devices)
    strategy = make_strategy(config.strategy, config.virtual_devices)
    if config.batch_size % strategy.num_replicas_in_sync:
        raise InputError(batch_not_divisible(config.batch_size, strategy.num_replicas_in_sync))
    source = open_images(config, run)
    config.save(run.flags)

    schedule = Schedule.of(config, len(source))
    with strategy.scope():
        model = build_trainer(config, schedule=schedule)
        extractor = FeatureExtractor(feature_model(model, "fc7"))
    images_per_epoch = schedule.steps * config.batch_size
    sampler = make_sampler(config.sampler, len(source), images_per_epoch)
    batches = training_pipeline(config, source, sampler)
    progress = sys.stderr.isatty()

    def cluster(turn: int) -> ClusteringOfImages:
        warm_start = config.kmeans_warm_start and recluster.latest is not None
        return cluster_images(
            source,
            extractor,
            image_size=config.image_size,
            batch_size=config.batch_size,
            num_clusters=config.num_clusters,
            pca_dim=config.pca_dim,
            pca_images=config.pca_images,
            whiten=config.whiten,
            method=config.clustering,
            options=kmeans_options(config),
            previous=recluster.latest.clustering.assignments if warm_start else None,
            seed=config.seed,
            turn=turn,
            progress=progress,
        )

    def churn(turn: int) -> float:
        return estimate_churn(
            source,
            extractor,
            recluster.latest,
            image_size=config.image_size,
            batch_size=config.batch_size,
            seed=config.seed,
            turn=turn,
        )

    recluster = Recluster(
        model,
        sampler,
        cluster,
        labels=source.labels,
        reassign=config.reassign,
        head_start=config.head_start,
        churn=churn,
        reassign_churn=config.reassign_churn,
        seed=config.seed,
        on_clustered=lambda epoch, made: run.save_assignments(epoch + 1, made.assignments),
    )
    done = resume(config, run, model, recluster, len(source))
    monitor = Monitor(
        run,
        recluster,
        source=source,
        batches=batches,
        image_size=config.image_size,
        epochs=schedule.epochs,
        images_per_epoch=images_per_epoch,
        seed=config.seed,
    )
    describe_run(config, source, model, strategy, schedule)
    if done >= schedule.epochs and run.model.is_dir():
        print("The run is complete.")
        return run
    if done < schedule.epochs:
        model.fit(
            batches,
            epochs=schedule.epochs,
            initial_epoch=done,
            shuffle=False,
            callbacks=[recluster, monitor, SaveCheckpoint(run, recluster, config.keep_checkpoints)],
            verbose=1 if sys.stdout.isatty() else 2,
        )
    save_model(run, source, model, cluster(schedule.epochs))
    return run


class Schedule:
    """Lengths of a run: Keras epochs, and training steps in each.

    With `reassign` up to 1 a Keras epoch is one turn of the loop and sees `reassign * n` images,
    as published; above 1 it sees n, and several make a turn.

    Args:
        epochs: Number of Keras epochs.
        steps: Training steps in a Keras epoch.
    """

    def __init__(self, epochs: int, steps: int):
        self.epochs = epochs
        self.steps = steps

    @classmethod
    def of(cls, config: TrainingConfig, num_images: int) -> "Schedule":
        """The schedule of `config.epochs` passes over `num_images` images."""
        passes = min(config.reassign, 1.0)
        return cls(
            epochs=max(1, round(config.epochs / passes)),
            steps=max(1, round(passes * num_images / config.batch_size)),
        )


def open_images(config: TrainingConfig, run: RunDirectory) -> ImageSource:
    """Opens the images of a run and records them in its folder.

    A new run looks at every file and leaves out what cannot be read. A run that goes on takes the
    images of its manifest.

    Raises:
        InputError: If there are no images, too many bad ones, or fewer than clusters, or if images
            of the manifest are gone.
    """
    listed = open_source(config.data_dir)
    if run.exists():
        positions, gone = positions_of(read_manifest(run.manifest).names, listed)
        if gone:
            raise InputError(
                f"Images of the run are gone. Received: {len(gone)} of "
                f"{len(gone) + len(positions)} missing in {config.data_dir}, the first is "
                f"{gone[0]}. Put them back, or start a new --run_dir."
            )
        return listed.select(positions)
    check_number_of_clusters(config.num_clusters, len(listed))
    source, unreadable = leave_out_unreadable(
        listed, config.max_bad_fraction, progress=sys.stderr.isatty()
    )
    check_number_of_clusters(config.num_clusters, len(source))
    run.path.mkdir(parents=True, exist_ok=True)
    if unreadable:
        write_unreadable(listed, unreadable, run.unreadable)
        print(f"Left out {len(unreadable)} unreadable images, listed in {run.unreadable}")
    write_manifest(source, run.manifest)
    return source


def check_number_of_clusters(num_clusters: int, num_images: int) -> None:
    """Refuses more clusters than images before any work is done.

    Raises:
        InputError: With a number of clusters that suits the images.
    """
    if num_clusters > num_images:
        # Some tens of images for each cluster, and a head that small data can train.
        suggestion = max(2, num_images // 50)
        raise InputError(
            f"There are fewer images than clusters. Received: --num_clusters={num_clusters} for "
            f"{num_images} images. Expected at most as many clusters as images; try "
            f"--num_clusters={suggestion}."
        )


def kmeans_options(config: TrainingConfig) -> KMeansOptions:
    """How a run does k-means."""
    return KMeansOptions(
        iterations=config.kmeans_iterations,
        spherical=config.kmeans_spherical,
        init=config.kmeans_init,
        max_points=config.kmeans_max_points,
        nredo=config.kmeans_nredo,
        early_stop=config.kmeans_early_stop,
        two_level_from=config.kmeans_two_level_from,
    )


def training_pipeline(
    config: TrainingConfig, source: ImageSource, sampler: Sampler
) -> tf.data.Dataset:
    """The batches of one Keras epoch, as the settings want them."""
    return training_batches(
        source,
        sampler,
        num_batches=Schedule.of(config, len(source)).steps,
        batch_size=config.batch_size,
        image_size=config.image_size,
        min_area=config.crop_min_area,
        hflip=config.hflip,
        color_jitter=config.color_jitter,
        grayscale=config.grayscale,
    )


def build_trainer(
    config: TrainingConfig, num_outputs: int | None = None, schedule: Schedule | None = None
) -> DeepCluster:
    """Builds and compiles the network of a run; call it in the scope of the strategy.

    Args:
        config: The settings.
        num_outputs: Outputs of the head, when not `config.num_clusters`.
        schedule: Of the training, over which the learning rate falls where the settings say so;
            None for a network that is not trained.

    Returns:
        The trainer, with initial weights that depend on the seed alone.
    """
    network = build_network(
        config.arch,
        config.image_size,
        num_outputs or config.num_clusters,
        width=config.width,
        use_sobel=config.sobel,
        dropout=config.dropout,
        scaled_fc_init=config.fc_init == "scaled",
        fc_norm=config.fc_norm,
        temperature=config.temperature if config.head == "cosine" else None,
        seed=config.seed,
    )
    model = DeepCluster(network.input, network.output)
    learning_rate = config.learning_rate
    if schedule is not None and config.learning_rate_schedule == "cosine":
        learning_rate = keras.optimizers.schedules.CosineDecay(
            config.learning_rate, schedule.epochs * schedule.steps
        )
    model.compile(
        CoupledSGD(learning_rate, config.momentum, config.weight_decay),
        CoupledSGD(learning_rate, 0.0, config.weight_decay, name="head_sgd"),
    )
    return model


def resume(
    config: TrainingConfig,
    run: RunDirectory,
    model: DeepCluster,
    recluster: Recluster,
    num_images: int,
) -> int:
    """Loads the checkpoint that `--resume` asks for, if there is one.

    Returns:
        Number of epochs that are done.

    Raises:
        InputError: If the checkpoint asked for is none, or does not fit.
    """
    if config.resume not in ("auto", "never"):
        candidates = [pathlib.Path(config.resume)]
    else:
        candidates = run.newest_checkpoints()
    for path in candidates:
        try:
            checkpoint = load_checkpoint(path, model)
        except UNREADABLE as error:
            logging.warning("The checkpoint %s cannot be read (%s).", path, error)
            continue
        if len(checkpoint.assignments) != num_images:
            raise InputError(
                f"The checkpoint belongs to other images. Received: {path} with "
                f"{len(checkpoint.assignments)} images. Expected {num_images}."
            )
        recluster.restore(restored_clustering(checkpoint))
        run.forget_after(checkpoint.epoch)
        print(f"Going on after epoch {checkpoint.epoch} from {path}")
        return checkpoint.epoch
    if candidates:
        raise InputError(
            f"No checkpoint of the run can be read. Received: {len(candidates)} damaged ones in "
            f"{candidates[0].parent}. Bring one back from a backup, or start a new --run_dir."
        )
    run.forget_after(0)
    return 0


def restored_clustering(checkpoint: Checkpoint) -> ClusteringOfImages:
    """The clustering that a checkpoint was trained on, as far as it is needed to go on."""
    clustering = Clustering(
        assignments=checkpoint.assignments,
        centroids=checkpoint.centroids,
        sizes=np.bincount(checkpoint.assignments, minlength=len(checkpoint.centroids)),
        objectives=np.empty(0),
        empty_before=0,
        empty_after=0,
    )
    return ClusteringOfImages(clustering, checkpoint.whitening, seconds={})


class SaveCheckpoint(keras.callbacks.Callback):
    """Writes a checkpoint at the end of every epoch. It must come last.

    Args:
        run: Where to write.
        recluster: Holds the clustering that belongs to the weights.
        keep: Number of newest checkpoints to keep.
    """

    def __init__(self, run: RunDirectory, recluster: Recluster, keep: int):
        super().__init__()
        self._run = run
        self._recluster = recluster
        self._keep = keep

    def on_epoch_end(self, epoch, logs=None):
        latest = self._recluster.latest
        checkpoint = Checkpoint(
            epoch=epoch + 1,
            assignments=latest.clustering.assignments,
            centroids=latest.clustering.centroids,
            whitening=latest.whitening,
        )
        self._run.save_checkpoint(self.model, checkpoint, self._keep)


def save_model(
    run: RunDirectory, source: ImageSource, model: DeepCluster, final: ClusteringOfImages
) -> None:
    """Writes the trained network and the clusters of all images as it sees them at the end.

    Args:
        run: Where to write: `model/` gets network.keras, whitening.npz, centroids.npy and
            clusters.csv, which tells the cluster of every image by its path.
        source: The images.
        model: The trained model.
        final: A clustering by the features of this very model.
    """
    with write_directory_atomically(run.model) as folder:
        plain_network(model).save(folder / "network.keras")
        final.whitening.save(folder / "whitening.npz")
        with write_atomically(folder / "centroids.npy", "wb") as file:
            np.save(file, final.clustering.centroids)
        with write_atomically(folder / "clusters.csv") as file:
            writer = csv.writer(file)
            writer.writerow(["index", "path", "cluster"])
            rows = zip(source.names, final.clustering.assignments.tolist(), strict=True)
            writer.writerows((index, *row) for index, row in enumerate(rows))


def describe_run(
    config: TrainingConfig,
    source: ImageSource,
    model: DeepCluster,
    strategy: tf.distribute.Strategy,
    schedule: Schedule,
) -> None:
    """Says in a few lines what is about to happen."""
    labels = "no labels" if source.labels is None else f"{len(source.class_names)} classes"
    replicas = strategy.num_replicas_in_sync
    print(
        f"Images:   {len(source):,} from {config.data_dir} ({labels}"
        f"{'' if source.labels is None else ', used for the log alone'})\n"
        f"Network:  {config.arch}{' behind Sobel' if config.sobel else ''}, "
        f"width {config.width:g}, {model.count_params():,} weights, {config.image_size} px\n"
        f"Clusters: {'at most ' if config.clustering == 'pic' else ''}{config.num_clusters:,} by "
        f"{config.clustering}, on {config.pca_dim}{' whitened' if config.whiten else ''} "
        "dimensions\n"
        f"Training: {schedule.epochs} epochs of {schedule.steps} steps of {config.batch_size} "
        f"images{f' on {replicas} replicas' if replicas > 1 else ''}\n"
        f"{describe_settings(config)}\n"
        f"Run:      {config.run_dir}",
        flush=True,
    )


def describe_settings(config: TrainingConfig) -> str:
    """The settings that are not the paper's, and where they come from."""
    origins = config.origins()

    def listed(origin: str) -> str:
        found = [
            f"{name}={getattr(config, name)}"
            for name, came_from in origins.items()
            if came_from == origin and name not in ("mode", "data_dir", "run_dir")
        ]
        return textwrap.fill(
            " ".join(found) or "nothing",
            width=100,
            initial_indent=" " * 10,
            subsequent_indent=" " * 10,
            break_on_hyphens=False,
        ).strip()

    lines = [f"Given:    {listed('given')}"]
    if config.mode != "paper":
        lines.insert(0, f"Mode:     {config.mode}, which sets {listed('mode')}")
    return "\n".join([*lines, "Paper's:  all else, see flags.cfg in the run's folder"])

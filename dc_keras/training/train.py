"""One training run, from the settings to a trained network and the clusters it sees.

    repeat:
        features of all images  ->  PCA, whitening, L2  ->  k-means  ->  pseudo-labels
        train the network for an epoch to predict them, on images drawn uniformly over clusters

All of it happens in one `model.fit`; `Recluster` does the first line at the beginning of an epoch.
"""

import csv
import functools
import json
import pathlib
import sys
import textwrap
import time
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from dc_keras.clustering.features import FeatureExtractor
from dc_keras.clustering.kmeans import KMeansOptions, kmeans_devices
from dc_keras.clustering.pseudo_labels import Clustering
from dc_keras.config import TrainingConfig, batch_not_divisible
from dc_keras.data.augmented import augmented_batches
from dc_keras.data.balanced import make_sampler, training_batches
from dc_keras.data.decoded import hold_decoded
from dc_keras.data.inspection import leave_out_unreadable, write_unreadable
from dc_keras.data.samplers import Sampler
from dc_keras.data.sources import (
    ImageSource,
    open_source,
    positions_of,
    read_manifest,
    write_manifest,
)
from dc_keras.data.stand_ins import LOOK_AHEAD, READ_ERRORS, SourceWithStandIns
from dc_keras.errors import InputError
from dc_keras.files import write_atomically, write_directory_atomically
from dc_keras.models.architectures import build_network
from dc_keras.models.deepcluster import (
    CoupledSGD,
    DeepCluster,
    clustered_layer,
    feature_model,
)
from dc_keras.runtime import (
    configure_devices,
    derive_seed,
    make_deterministic,
    make_strategy,
    numpy_rng,
    precision_of_layers,
)
from dc_keras.training.checkpoints import (
    Checkpoint,
    epoch_state,
    load_checkpoint,
    restore_epoch_state,
)
from dc_keras.training.collapse import CollapseGuard, check_loss, check_weights
from dc_keras.training.interruption import Interruption
from dc_keras.training.monitoring import Monitor
from dc_keras.training.recluster import (
    ClusteringOfImages,
    Recluster,
    Views,
    cluster_images,
    estimate_churn,
)
from dc_keras.training.run_state import RunDirectory, first_readable, plain_network

# The standard error of a fraction of so many images is at most 2 %.
VIEWED_IMAGES = 512


def train(config: TrainingConfig) -> RunDirectory:
    """Trains DeepCluster as the settings say.

    Args:
        config: Validated settings.

    Returns:
        The run directory, with everything in it.

    Raises:
        InputError: If images, settings or run directory do not allow the run; see the message.
        Interrupted: If a signal asked it to stop. What was done is saved.
    """
    config = config.with_absolute_paths()
    run = RunDirectory(config.run_dir)
    run.check(config)
    interruption = Interruption()
    with interruption.listening(), run.locked():
        return _train(config, run, interruption)


def _train(config: TrainingConfig, run: RunDirectory, interruption: Interruption) -> RunDirectory:
    """Trains in a run directory that is checked and locked."""
    if config.deterministic:
        make_deterministic()
    configure_devices(config.virtual_devices)
    strategy = make_strategy(config.strategy, config.virtual_devices)
    replicas = strategy.num_replicas_in_sync
    if config.batch_size % (replicas * config.views):
        raise InputError(batch_not_divisible(config.batch_size, replicas, config.views))
    source = open_images(config, run)
    config.save(run.flags)

    schedule = Schedule.of(config, len(source))
    with strategy.scope():
        model = build_trainer(config, schedule=schedule)
        extractor = FeatureExtractor(feature_model(model, clustered_layer(model)))
    crops_per_epoch = schedule.steps * config.batch_size
    draws_per_epoch = crops_per_epoch // config.views
    sampler = make_sampler(config.sampler, len(source), draws_per_epoch)
    batches = training_pipeline(config, source, sampler)
    progress = sys.stderr.isatty()

    views = views_of_some(config, source)

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
            clusters=recluster.assignments,
            views=views,
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
        instance_epochs=round(config.instances_first * schedule.epochs),
        seed=config.seed,
        on_clustered=lambda epoch, made: run.save_assignments(epoch + 1, made.assignments),
    )
    epoch, step = resume(config, run, model, recluster, len(source))
    monitor = Monitor(
        run,
        recluster,
        source=source,
        batches=batches,
        image_size=config.image_size,
        epochs=schedule.epochs,
        batch_size=config.batch_size,
        seed=config.seed,
    )
    guard = CollapseGuard(
        recluster,
        {
            record["epoch"] - 1: record["cluster"]
            for record in run.read_metrics()
            if "clusters" in record["cluster"]
        },
        max_cluster_fraction=config.max_cluster_fraction,
        stop=config.on_collapse == "stop",
    )
    describe_run(config, source, model, strategy, schedule)
    if epoch >= schedule.epochs and run.is_complete(epoch):
        print("The run is complete.")
        return run

    def fit(save: SaveCheckpoint) -> None:
        """Trains from where `save` is: to the end of an epoch that was begun, or of the run."""
        epoch, step = save.place
        model.fit(
            training_pipeline(config, source, sampler, first_batch=step) if step else batches,
            epochs=epoch + 1 if step else schedule.epochs,
            initial_epoch=epoch,
            shuffle=False,
            callbacks=[recluster, *([TakeUpEpoch(model)] if step else []), monitor, guard, save],
            verbose=1 if sys.stdout.isatty() else 2,
        )

    failed_at = None
    while epoch < schedule.epochs:
        save = SaveCheckpoint(
            run,
            recluster,
            interruption,
            place=(epoch, step),
            keep=config.keep_checkpoints,
            every_steps=config.checkpoint_every_steps,
            every_seconds=60 * config.checkpoint_every_minutes,
        )
        try:
            fit(save)
        except READ_ERRORS:
            drawn = save.place[1] * config.batch_size // config.views
            upcoming = sampler.pairs(draws_per_epoch).skip(drawn)
            indices = [pair[0] for pair in upcoming.take(LOOK_AHEAD).as_numpy_iterator()]
            replaced = source.replace_unreadable(np.array(indices), recluster.assignments)
            # What cannot be found again may have passed: a network drive that was busy.
            if not replaced and failed_at == save.place:
                raise
            failed_at = save.place
        epoch, step = save.place
    monitor.close()
    save_model(run, source, model, cluster(schedule.epochs), max(epoch, schedule.epochs))
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


def open_images(config: TrainingConfig, run: RunDirectory) -> SourceWithStandIns:
    """Opens the images of a run and records them in its folder.

    A new run looks at every file and leaves out what cannot be read. A run that goes on takes the
    images of its manifest, and others of them in place of those that are gone.

    Raises:
        InputError: If there are no images, too many bad ones, or fewer than clusters, or if too
            many images of the manifest are gone.
    """

    def report(reasons: Mapping[str, str]) -> None:
        write_unreadable(reasons, run.unreadable)
        print(
            f"Images that cannot be read any more: {len(reasons):,}. Others of their clusters "
            f"stand in for them; listed in {run.unreadable}",
            file=sys.stderr,
        )

    def decoded(source: ImageSource) -> ImageSource:
        # How much memory is free must not decide about bits.
        mode = "off" if config.deterministic and config.cache == "auto" else config.cache
        source, told = hold_decoded(
            source, mode, run.path, seed=config.seed, progress=sys.stderr.isatty()
        )
        if told:
            print(f"Images are {told}")
        return source

    source = open_source(config.data_dir)
    if run.exists():
        names = read_manifest(run.manifest).names
        positions, _ = positions_of(names, source)
        source = decoded(source.select(positions)) if len(positions) else source
        return SourceWithStandIns(source, names, config.max_bad_fraction, report)
    check_number_of_clusters(config.num_clusters, len(source))
    readable, unreadable = leave_out_unreadable(
        source, config.max_bad_fraction, progress=sys.stderr.isatty()
    )
    check_number_of_clusters(config.num_clusters, len(readable))
    run.path.mkdir(parents=True, exist_ok=True)
    if unreadable:
        write_unreadable({source.names[i]: why for i, why in unreadable.items()}, run.unreadable)
        print(f"Left out {len(unreadable)} unreadable images, listed in {run.unreadable}")
    write_manifest(readable, run.manifest)
    source = decoded(readable)
    return SourceWithStandIns(source, source.names, config.max_bad_fraction, report)


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
    config: TrainingConfig, source: ImageSource, sampler: Sampler, first_batch: int = 0
) -> tf.data.Dataset:
    """The batches of one Keras epoch, as the settings want them, from one of them on."""
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
        views=config.views,
        first_batch=first_batch,
    )


def views_of_some(config: TrainingConfig, source: SourceWithStandIns) -> Views:
    """Augmented views of some random images, the same ones throughout the run."""
    rng = numpy_rng(config.seed, "view sample")
    indices = rng.choice(len(source), min(VIEWED_IMAGES, len(source)), replace=False)

    # Made once: clusterings differ in the weights alone.
    @functools.cache
    def batches(done: int) -> tf.data.Dataset:
        return augmented_batches(
            source,
            tf.data.Dataset.from_tensor_slices((indices[done:],)),
            tf.constant(derive_seed(config.seed, "views")),
            batch_size=config.batch_size,
            image_size=config.image_size,
            min_area=config.crop_min_area,
            hflip=config.hflip,
            color_jitter=config.color_jitter,
            grayscale=config.grayscale,
            drop_remainder=False,
        ).map(lambda images: images)

    return Views(indices, batches)


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
    with precision_of_layers(config.precision):
        network = build_network(
            config.arch,
            config.image_size,
            num_outputs or config.num_clusters,
            width=config.width,
            use_sobel=config.sobel,
            dropout=config.dropout,
            scaled_fc_init=config.fc_init == "scaled",
            fc_norm=config.fc_norm,
            projection=config.projection,
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
        instance_weight=config.instance_weight,
        instance_temperature=config.instance_temperature,
    )
    return model


def resume(
    config: TrainingConfig,
    run: RunDirectory,
    model: DeepCluster,
    recluster: Recluster,
    num_images: int,
) -> tuple[int, int]:
    """Loads the checkpoint that `--resume` asks for, if there is one.

    Returns:
        Number of epochs that are done, and steps of the next one.

    Raises:
        InputError: If the checkpoint asked for is none, or does not fit.
    """
    if config.resume not in ("auto", "never"):
        candidates = [pathlib.Path(config.resume)]
    else:
        candidates = run.newest_checkpoints()
    if not candidates:
        run.forget_after(0)
        return 0, 0
    path, checkpoint = first_readable(candidates, lambda path: load_checkpoint(path, model))
    if len(checkpoint.assignments) != num_images:
        raise InputError(
            f"The checkpoint belongs to other images. Received: {path} with "
            f"{len(checkpoint.assignments)} images. Expected {num_images}."
        )
    if config.learning_rate_schedule == "constant":
        # Not the one of the checkpoint, which may be of another run.
        model.optimizer.learning_rate = config.learning_rate
        model.head_optimizer.learning_rate = config.learning_rate
    recluster.restore(restored_clustering(checkpoint))
    where = f"epoch {checkpoint.epoch}"
    if checkpoint.step:
        recluster.restore_epoch(
            checkpoint.epoch, clustered=checkpoint.clustered, report=checkpoint.report
        )
        where = f"step {checkpoint.step} of epoch {checkpoint.epoch + 1}"
    run.forget_after(checkpoint.epoch, checkpoint.step)
    print(f"Going on after {where} from {path}")
    return checkpoint.epoch, checkpoint.step


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
    return ClusteringOfImages(clustering, checkpoint.whitening, checkpoint.seconds)


class TakeUpEpoch(keras.callbacks.Callback):
    """Gives the first epoch of a fit the running means and the dropout that it was left with.

    Args:
        model: The trainer, as it was loaded from a checkpoint in the middle of an epoch.
    """

    def __init__(self, model: DeepCluster):
        super().__init__()
        self._state = epoch_state(model)

    def on_epoch_begin(self, epoch, logs=None):
        restore_epoch_state(self.model, self._state)


class SaveCheckpoint(keras.callbacks.Callback):
    """Writes checkpoints, and stops the run when a signal asks for it. It must come last.

    Args:
        run: Where to write.
        recluster: Holds the clustering that belongs to the weights.
        interruption: What signals ask for.
        place: Epochs that are done, and steps of the next one, before this fit.
        keep: Number of newest checkpoints to keep.
        every_steps: Save after every so many steps of an epoch; 0 at its end alone.
        every_seconds: Save when so much time has passed since the last time; 0 does not.

    Attributes:
        place: Epochs that are done, and steps of the next one.
    """

    def __init__(
        self,
        run: RunDirectory,
        recluster: Recluster,
        interruption: Interruption,
        *,
        place: tuple[int, int],
        keep: int,
        every_steps: int,
        every_seconds: float,
    ):
        super().__init__()
        self._run = run
        self._recluster = recluster
        self._interruption = interruption
        self._keep = keep
        self._every_steps = every_steps
        self._every_seconds = every_seconds
        self._first_step = place[1]
        self.place = place
        self._saved_at = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        self._interruption.postpone()

    def on_train_batch_end(self, batch, logs=None):
        step = self._first_step + batch + 1
        self.place = (self.place[0], step)
        check_loss(logs["loss"], self._described_place())
        if step == self._first_step + self.params["steps"]:
            return  # the end of the epoch is saved behind its figures
        stop = self._interruption.requested is not None
        late = 0 < self._every_seconds <= time.monotonic() - self._saved_at
        due = self._every_steps and step % self._every_steps == 0
        if stop or late or due or self._interruption.save_requested:
            self._save()
        self._interruption.raise_if_requested()

    def on_epoch_end(self, epoch, logs=None):
        self._first_step = 0
        self.place = (epoch + 1, 0)
        self._save()
        self._interruption.stop_at_once()

    def _described_place(self) -> str:
        epoch, step = self.place
        return f"step {step} of epoch {epoch + 1}" if step else f"the end of epoch {epoch}"

    def _save(self) -> None:
        # Before the state is taken: a request that comes meanwhile is for the next step.
        self._interruption.save_requested = False
        check_weights(self.model, self._described_place())
        epoch, step = self.place
        latest = self._recluster.latest
        checkpoint = Checkpoint(
            epoch=epoch,
            step=step,
            assignments=latest.clustering.assignments,
            centroids=latest.clustering.centroids,
            whitening=latest.whitening,
            clustered=self._recluster.clustered,
            report=self._recluster.report,
            seconds=latest.seconds,
        )
        self._run.save_checkpoint(self.model, checkpoint, self._keep)
        self._saved_at = time.monotonic()


def save_model(
    run: RunDirectory,
    source: ImageSource,
    model: DeepCluster,
    final: ClusteringOfImages,
    epochs: int,
) -> None:
    """Writes the trained network and the clusters of all images as it sees them at the end.

    Args:
        run: Where to write: `model/` gets network.keras, whitening.npz, centroids.npy,
            clusters.csv, which tells the cluster of every image by its path, and training.json.
        source: The images.
        model: The trained model.
        final: A clustering by the features of this very model.
        epochs: How many it was trained for.
    """
    with write_directory_atomically(run.model) as folder:
        plain_network(model).save(folder / "network.keras")
        (folder / "training.json").write_text(json.dumps({"epochs": epochs}) + "\n")
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
    made = strategy.experimental_local_results(strategy.run(lambda: tf.zeros([])))
    devices = ", ".join(tensor.device.rpartition("device:")[2] for tensor in made)
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
        f"Devices:  network on {devices}; k-means on {kmeans_devices()}\n"
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

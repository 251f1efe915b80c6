"""One training run, from the settings to a trained network and the clusters it sees.

    repeat:
        features of all images  ->  PCA, whitening, L2  ->  k-means  ->  pseudo-labels
        train the network for an epoch to predict them, on images drawn uniformly over clusters

All of it happens in one `model.fit`; `Recluster` does the first line at the beginning of an epoch.
"""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from dc_keras import assembly
from dc_keras.assembly import Schedule
from dc_keras.clustering.spread import ALONE, Workers
from dc_keras.config import TrainingConfig
from dc_keras.data.batches.training import TrainingBatches
from dc_keras.data.sources.stand_ins import LOOK_AHEAD, ReadingOn, SourceWithStandIns
from dc_keras.errors import InputError
from dc_keras.machine import MULTI_WORKER
from dc_keras.models.deepcluster import DeepCluster, plain_network
from dc_keras.models.feature_extractor import FEATURES, FeatureExtractor, feature_model
from dc_keras.runs.backup import backed_up
from dc_keras.runs.checkpoints import Checkpoint, Place
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.trained_model import TrainedModel, is_complete, save_model
from dc_keras.seeds import numpy_rng
from dc_keras.starting_weights import starting_network
from dc_keras.training import projector
from dc_keras.training.choosing import with_choices
from dc_keras.training.collapse import CollapseGuard
from dc_keras.training.description import describe_run
from dc_keras.training.epoch_table import EpochTable
from dc_keras.training.image_clustering import ClusteredImages, ImageClusterer, sampled_views
from dc_keras.training.images import ImageOptions, open_images
from dc_keras.training.interruption import Interruption
from dc_keras.training.monitoring import Monitor
from dc_keras.training.recluster import Recluster
from dc_keras.training.resuming import (
    Cadence,
    RestoreEpochState,
    SaveCheckpoint,
    load_latest,
    restored_turn,
    with_files_of_run,
)
from dc_keras.training.same_weights import SameWeights
from dc_keras.training.turn import Turn
from dc_keras.training.worker_batches import batches_of_worker, share_of_batches
from dc_keras.workers.joining import Joined, joined


def conclude(run_dir: str) -> RunDirectory:
    """Ends a run that was stopped: clusters its images by its newest checkpoint, as they are.

    The run can still go on, which replaces these clusters.

    Args:
        run_dir: A run that has a checkpoint.

    Returns:
        The run directory, with RUN/model in it.

    Raises:
        InputError: If there is no such run, or it has no checkpoint yet.
        Interrupted: If a signal asked to stop.
    """
    run = RunDirectory(run_dir)
    config = run.config()
    if config.strategy == MULTI_WORKER:
        # One machine ends what several began.
        config = dataclasses.replace(config, strategy="auto")
    interruption = Interruption()
    with interruption.listening(), run.locked():
        strategy = assembly.prepare_devices(config)
        source = open_images(image_options(config), run)
        with strategy.scope():
            model = assembly.build_trainer(config, Schedule.of(config, len(source)))
        checkpoint = resume(config, run, model, len(source))
        if checkpoint is None:
            raise InputError(
                f"The run has no checkpoint yet. Received: --run_dir={run.path}. Go on with: "
                f"python train.py --flagfile={run.flags}"
            )
        source.set_clusters(checkpoint.clusters.assignments)
        clusterer = make_clusterer(config, source, model)
        before = restored_turn(checkpoint).shown_assignments
        save_result(config, run, source, clusterer, model, before, checkpoint.place)
    return run


def train(config: TrainingConfig) -> RunDirectory:
    """Trains DeepCluster as the settings say.

    Args:
        config: Validated settings.

    Returns:
        The run directory, with everything in it.

    Raises:
        InputError: If images, settings or run directory do not allow the run; see the message.
        Interrupted: If a signal asked it to stop. What was done is saved.
        WorkerLostError: If it is one of several workers, and another has ended.
    """
    interruption, config = Interruption(), config.with_absolute_paths()
    # TensorFlow, once it knows of other workers, takes SIGTERM for itself: it is taken back.
    with interruption.listening(), joined(config) as one, interruption.listening():
        run = RunDirectory(one.config.run_dir)
        with backed_up(one.config.backup_dir, run) as back_up:
            chosen = with_choices(one.config, run)
            config = chosen.config
            run.check(config)
            told = "\n".join(chosen.told)
            if told:
                print(told, flush=True)
            with run.locked():
                if told:
                    run.log(told)
                config = run.completed(with_files_of_run(config, run, one.workers))
                _train(config, run, interruption, one, back_up)
    return run


def _train(
    config: TrainingConfig,
    run: RunDirectory,
    interruption: Interruption,
    one: Joined,
    back_up: Callable[[], None],
) -> None:
    """Trains in a run directory that is checked and locked."""
    # Machine, images, network
    workers = one.workers
    strategy = one.strategy or assembly.prepare_devices(config)
    # Weights that do not fit are told of before all images are looked at.
    starting = starting_network(config, run, strategy)
    source = open_images(image_options(config), run, workers)
    config = assembly.with_pixel_options(config, source.options)
    config.save(run.flags)
    schedule = Schedule.of(config, len(source))
    with strategy.scope():
        model = assembly.build_trainer(config, schedule, starting.network)

    # Where it goes on from
    checkpoint = resume(config, run, model, len(source))
    place = checkpoint.place if checkpoint else Place(0)
    if not checkpoint and not starting.source:
        with strategy.scope():
            assembly.fit_first_layer(model, config, source)
    description = describe_run(
        config, source, model.count_params(), strategy, schedule, starting.told
    )
    print(description, flush=True)
    run.log(f"Started\n{description}")
    if place.epoch >= schedule.epochs:
        if is_complete(run, place.epoch, config.final_clusters):
            print("The run is complete.")
            return
        print("The training is complete; the images are clustered by it.", flush=True)

    # The two halves of the loop, clustering and training, and what watches over them
    clusterer = make_clusterer(config, source, model, workers)
    batches = assembly.training_batches(
        config, source, schedule, share_of_batches(workers, strategy)
    )
    recluster = Recluster(
        model,
        batches.sampler,
        clusterer,
        reassign=config.reassign,
        head_start=config.head_start,
        seed=config.seed,
        on_clustered=lambda turn: record_clusters(turn, run, source),
    )
    if checkpoint:
        source.set_clusters(checkpoint.clusters.assignments)
        recluster.restore(restored_turn(checkpoint))
    monitor = Monitor(
        run,
        source,
        batches.dataset(),
        image_size=config.image_size,
        epochs=schedule.epochs,
        batch_size=config.batch_size,
        seed=config.seed,
    )
    save = SaveCheckpoint(run, interruption, cadence(config), place, workers, back_up)
    callbacks = callbacks_in_order(
        SameWeights(workers),
        recluster,
        RestoreEpochState(),
        monitor,
        EpochTable(schedule.epochs, config.clustering),
        make_guard(config, run),
        save,
    )

    # Training
    fit(model, batches, callbacks, save, reading=ReadingOn(source), epochs=schedule.epochs)
    monitor.close()

    # Result: the network, and the clusters of all images as it sees them at the end
    last = recluster.turn
    before = last.shown_assignments if last else None
    final = save_result(config, run, source, clusterer, model, before, save.place)
    show_in_projector(config, run, source, clusterer, final)


def save_result(
    config: TrainingConfig,
    run: RunDirectory,
    source: SourceWithStandIns,
    clusterer: ImageClusterer,
    model: DeepCluster,
    before: np.ndarray | None,
    place: Place,
) -> ClusteredImages:
    """Clusters the images by the network as it is, and writes RUN/model.

    Args:
        config: Settings of the run.
        run: Where to.
        source: The images.
        clusterer: Clusters them.
        model: The trainer.
        before: Clusters of the images in the turn before, int32 `(n,)`, or None.
        place: How far the training has come.

    Returns:
        The clustering.
    """
    # Other clusters continue none of those before.
    previous = None if config.final_clusters else before
    final = clusterer.cluster(place.epoch, previous, assembly.final_clustering_options(config))
    clusters = final.clusters.renumbered(final.numbers)
    trained = TrainedModel(
        plain_network(model), final.whitening, clusters.centroids, final.outlier_distance
    )
    save_model(
        run,
        trained,
        clusters.assignments,
        source.names,
        place.epoch,
        final_clusters=config.final_clusters,
    )
    return final


def image_options(config: TrainingConfig) -> ImageOptions:
    """Which images a run learns from, and how they are read."""
    # How much memory is free must not decide about bits.
    cache = "off" if config.deterministic and config.cache == "auto" else config.cache
    return ImageOptions(
        data_dir=config.data_dir,
        max_bad_fraction=config.max_bad_fraction,
        cache=cache,
        num_clusters=config.num_clusters,
        seed=config.seed,
        labels=config.labels,
        pixels=assembly.pixel_options(config),
        image_size=config.image_size,
        final_clusters=config.final_clusters,
    )


def cadence(config: TrainingConfig) -> Cadence:
    """When checkpoints are written."""
    return Cadence(
        keep=config.keep_checkpoints,
        every_steps=config.checkpoint_every_steps,
        every_seconds=60 * config.checkpoint_every_minutes,
    )


def resume(
    config: TrainingConfig, run: RunDirectory, model: DeepCluster, num_images: int
) -> Checkpoint | None:
    """Loads the checkpoint that `--resume` asks for into the model, if there is one."""
    checkpoint = load_latest(run, model, config.resume, num_images)
    if checkpoint and config.learning_rate_schedule == "constant":
        # Not the one of the checkpoint, which may be of another run.
        model.optimizer.learning_rate = config.learning_rate
        model.head_optimizer.learning_rate = config.learning_rate
    return checkpoint


def make_clusterer(
    config: TrainingConfig,
    source: SourceWithStandIns,
    model: DeepCluster,
    workers: Workers = ALONE,
) -> ImageClusterer:
    """Makes what clusters the images by the features of the model as it is."""
    with model.distribute_strategy.scope():
        # Where compiling the training step pays, it does for the passes that are clustered.
        extractor = FeatureExtractor(feature_model(model, FEATURES), xla=bool(model.jit_compile))
    # Views are clustered as images are, whatever the size of training crops.
    augmentation = dataclasses.replace(assembly.augmentation(config), image_size=config.image_size)
    return ImageClusterer(
        source,
        extractor,
        assembly.clustering_options(config),
        views=sampled_views(source, augmentation, batch_size=config.batch_size, seed=config.seed),
        batch_size=config.batch_size,
        seed=config.seed,
        workers=workers,
        progress=sys.stderr.isatty(),
    )


def make_guard(config: TrainingConfig, run: RunDirectory) -> CollapseGuard:
    """Makes what looks for signs of collapse, from the first clustering of the run on."""
    earlier = {
        record["epoch"] - 1: figures
        for record in run.read_metrics()
        # Epochs without a clustering have no figures; what other programs append may have none.
        if isinstance(figures := record.get("cluster"), dict) and "clusters" in figures
    }
    return CollapseGuard(
        earlier,
        max_cluster_fraction=config.max_cluster_fraction,
        stop=config.on_collapse == "stop",
        mode=config.mode,
        sampler=config.sampler,
    )


def record_clusters(turn: Turn, run: RunDirectory, source: SourceWithStandIns) -> None:
    """Keeps the clusters of a turn: in the run's folder, and where stand-ins are chosen."""
    run.save_assignments(turn.epoch + 1, turn.shown_assignments)
    source.set_clusters(turn.clusters.assignments)


def show_in_projector(
    config: TrainingConfig,
    run: RunDirectory,
    source: SourceWithStandIns,
    clusterer: ImageClusterer,
    final: ClusteredImages,
) -> None:
    """Gives TensorBoard the descriptors and thumbnails of some images."""
    shown = projector.sample(len(source), numpy_rng(config.seed, "projector"))
    columns: dict[str, Sequence] = {
        "path": [source.names[index] for index in shown],
        "cluster": final.numbers[final.clusters.assignments[shown]].tolist(),
    }
    if source.labels is not None and source.class_names is not None:
        columns["label"] = [source.class_names[label] for label in source.labels[shown]]
    projector.write_projector(
        run.tensorboard,
        clusterer.descriptors(shown, final.whitening),
        projector.thumbnails_of(
            source, shown, image_size=config.image_size, batch_size=config.batch_size
        ),
        columns,
    )


def callbacks_in_order(
    same_weights: SameWeights,
    recluster: Recluster,
    restore_state: RestoreEpochState,
    monitor: Monitor,
    table: EpochTable,
    guard: CollapseGuard,
    save: SaveCheckpoint,
) -> list[keras.callbacks.Callback]:
    """The callbacks of a training, in the only order in which they do what they are for.

    An epoch begins with the same weights on all workers, then with its clustering, of which the
    others are told one after the other: an epoch that is taken up gets its state back, figures are
    written down before they are judged, warnings stand above the epoch's bar, and signals wait for
    steps from the last one on. An epoch ends with its figures, then with the checkpoint: a run goes
    on behind both.
    """
    recluster.tell(restore_state, monitor, guard, table, save)
    return [same_weights, recluster, restore_state, monitor, table, save]


def fit(
    model: DeepCluster,
    batches: TrainingBatches,
    callbacks: Sequence[keras.callbacks.Callback],
    save: SaveCheckpoint,
    *,
    reading: ReadingOn,
    epochs: int,
) -> None:
    """Trains from where `save` is to the end, past images that cannot be read any more.

    Args:
        model: The trainer.
        batches: What it is trained on.
        callbacks: See `callbacks_in_order`; `save` is one of them.
        save: Knows how far the training has come.
        reading: Finds stand-ins for such images.
        epochs: Keras epochs of the whole run.
    """

    def place():
        return save.place

    def upcoming():
        return batches.upcoming(save.place.step, LOOK_AHEAD)

    strategy = model.distribute_strategy
    several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    while save.place.epoch < epochs:
        epoch, step = save.place
        with contextlib.nullcontext() if several else reading.past_errors(place, upcoming):
            model.fit(
                batches_of_worker(strategy, batches, step, reading)
                if several
                else batches.dataset(first_step=step),
                # An epoch that is taken up is shorter than others, and a fit of its own.
                epochs=epoch + 1 if step else epochs,
                initial_epoch=epoch,
                shuffle=False,
                callbacks=list(callbacks),
                verbose=0,
            )

"""Measures what a run has learned, beside the networks that it must be compared with.

All are judged in the same way on the same images; see `measures`. The labels are used for these
figures alone.
"""

import dataclasses
import pathlib
import tempfile
from collections.abc import Iterator

import keras
import tensorflow as tf
from absl import logging

from dc_keras import assembly
from dc_keras.assembly import Schedule
from dc_keras.config import EvaluationConfig, TrainingConfig
from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.data.sources.labels import describe_labels
from dc_keras.errors import CannotWriteError, InputError
from dc_keras.evaluation.calibration import CALIBRATION_IMAGES, calibrate
from dc_keras.evaluation.copies import count_copies
from dc_keras.evaluation.judged_runs import check_can_be_judged, measure_run, row_name
from dc_keras.evaluation.labelled_images import Split, SplitOptions, open_labelled_images
from dc_keras.evaluation.lowshot import SIZES, sizes_within
from dc_keras.evaluation.measures import Protocol, measure, measure_patches, measure_pixels
from dc_keras.evaluation.patches import check_side
from dc_keras.evaluation.report import CALIBRATED, GIVEN, EvaluationReport
from dc_keras.evaluation.supervised import train_supervised
from dc_keras.machine import configure_devices, make_strategy
from dc_keras.models.architectures import LAST_CONV
from dc_keras.runs.given import Given, load_given
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.seeds import numpy_rng
from dc_keras.starting_weights import StartingNetwork, build_from_weights


def evaluate(config: EvaluationConfig) -> EvaluationReport:
    """Evaluates a run and its baselines, and writes the results.

    Args:
        config: Validated settings.

    Returns:
        The report, which is also written as JSON and Markdown.

    Raises:
        InputError: If there is no run or no labels to compare with, or what it started from
            is asked for and cannot be read.
        CannotWriteError: If the results cannot be written; they are printed before.
    """
    run = RunDirectory(config.run_dir)
    settings = run.config()
    folder = pathlib.Path(config.out or run.evaluation)
    configure_devices(config.virtual_devices)
    strategy = make_strategy(config.strategy, config.virtual_devices)
    starting = what_it_started_from(config, settings, strategy)
    options = SplitOptions(
        data_dir=config.data_dir,
        test_dir=config.test_dir,
        test_fraction=config.test_fraction,
        max_images=config.max_images,
        max_bad_fraction=settings.max_bad_fraction,
        seed=settings.seed,
        pixels=assembly.pixel_options(settings),
        labels=config.labels,
        held_out=not {"linear", "lowshot"}.isdisjoint(config.tasks()),
    )
    if "patches" in config.baselines():
        check_side(settings.image_size)
    split = open_labelled_images(options, run, settings.data_dir)
    # What is judged on which classes is known before it takes time.
    print("\n".join(describe_labels(split.train, config.labels)), flush=True)
    _check_writable(folder)
    others = {other: RunDirectory(other) for other in config.other_runs()}
    for judged in (run, *others.values()):
        check_can_be_judged(judged, split)
    copies = count_copies(
        split.train,
        split.test,
        # Networks by others, and AlexNet, take sizes that its thumbnails are no part of.
        image_size=max(32, settings.image_size // 32 * 32),
        batch_size=config.batch_size,
    )
    given = load_given(run)
    report = EvaluationReport(
        run_dir=config.run_dir,
        data_dir=config.data_dir or settings.data_dir,
        train_images=len(split.train),
        test_images=len(split.test),
        classes=len(split.class_names),
        num_clusters=min(settings.num_clusters, len(split.train)),
        seed=settings.seed,
        split=split.description,
        whitened=settings.whiten,
        training_method=settings.clustering,
        remarks=(*split.remarks, *_remarks(given), *_left_out(config.tasks(), split)),
        copies=copies.exact,
        near_copies=copies.near,
        calibration=_calibration(settings, len(split.train))[1],
        start=starting.source,
        tasks=config.tasks(),
    )
    protocol = Protocol(
        clustering=assembly.clustering_options(settings),
        last_conv=LAST_CONV[settings.arch],
        batch_size=config.batch_size,
        seed=settings.seed,
        tasks=config.tasks(),
    )
    if given:
        print(f"Measuring {given.told}", flush=True)
        report.add(GIVEN, measure_run(run, split, protocol, strategy))
    else:
        networks = networks_to_compare(
            config.baselines(), run, settings, split, strategy, starting.network
        )
        for name, network in networks:
            print(f"Measuring the {name} network", flush=True)
            report.add(name, measure(network, split, protocol))
    if "pixels" in config.baselines():
        print("Measuring the pixels", flush=True)
        report.add("pixels", measure_pixels(split, protocol, settings.image_size))
    if "patches" in config.baselines():
        print("Measuring the patches", flush=True)
        report.add("patches", measure_patches(split, protocol, settings.image_size))
    for path, other in others.items():
        print(f"Measuring the run {path}", flush=True)
        report.add(row_name(path, report.rows), measure_run(other, split, protocol, strategy))
    try:
        report.write(folder)
    except CannotWriteError:
        # What took long to measure is not lost with it.
        print(report.to_terminal())
        raise
    return report


def what_it_started_from(
    config: EvaluationConfig, settings: TrainingConfig, strategy: tf.distribute.Strategy
) -> StartingNetwork:
    """What the run started from, if that is asked for: read before anything takes time.

    Raises:
        InputError: If it started from random weights, or the others cannot be read any more.
    """
    if "init" not in config.baselines():
        return StartingNetwork()
    if not settings.init_from:
        raise InputError(
            "The run started from random weights. Received: --baseline=init for "
            f"--run_dir={config.run_dir}, which had no --init_from. Use --baseline=random."
        )
    return build_from_weights(settings, strategy)


def _remarks(given: Given | None) -> tuple[str, ...]:
    """What a reader should know of features that were given."""
    if given is None:
        return ()
    return (
        f"The row {GIVEN} is {given.told} of {given.file}, in fc7's place. Nothing was trained.",
    )


def _left_out(tasks: tuple[str, ...], split: Split) -> tuple[str, ...]:
    """Which numbers of images low-shot classification leaves out, a sentence or none."""
    if "lowshot" not in tasks:
        return ()
    left_out = SIZES[len(sizes_within(split.train_labels)) :]
    if not left_out:
        return ()
    return (
        f"Low-shot: {', '.join(map(str, left_out))} images of each class are left out. The "
        "smallest class has fewer, beside those that are held out.",
    )


def _check_writable(folder: pathlib.Path) -> None:
    """Warns before anything is measured if the report cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        logging.warning(
            "The report cannot be written. Received: %s (%s). It will be printed alone: end this, "
            "and give a folder that may be written to with --out, to keep it.",
            folder,
            error,
        )


def networks_to_compare(
    baselines: tuple[str, ...],
    run: RunDirectory,
    settings: TrainingConfig,
    split: Split,
    strategy: tf.distribute.Strategy,
    starting: keras.Model | None,
) -> Iterator[tuple[str, keras.Model]]:
    """Yields the networks to compare, by name."""
    with strategy.scope():
        trained = assembly.build_untrained(settings)
    run.load_weights(trained)
    yield "trained", trained
    for name in baselines:
        if name == "random":
            with strategy.scope():
                network = assembly.build_untrained(settings)
            yield name, network
            _calibrate(network, settings, split)
            yield CALIBRATED, network
        if name == "init" and starting:
            yield name, starting
        if name == "supervised":
            yield name, supervised_network(settings, split, strategy)


def _calibration(settings: TrainingConfig, num_images: int) -> tuple[int, str]:
    """How many batches the statistics of the random network are fitted to, and that in words."""
    batch_size = min(settings.batch_size, num_images)
    count = max(1, min(CALIBRATION_IMAGES, num_images) // batch_size)
    return count, f"{count:,} batches of {batch_size:,} training images"


def _calibrate(network: keras.Model, settings: TrainingConfig, split: Split) -> None:
    """Fits the statistics of a random network to centre crops of random training images."""
    num_images = len(split.train)
    count, _ = _calibration(settings, num_images)
    drawn = numpy_rng(settings.seed, "calibration").permutation(num_images)
    batches = ordered_batches(
        split.train,
        drawn[: count * settings.batch_size],
        image_size=settings.image_size,
        batch_size=settings.batch_size,
    )
    calibrate(network, batches)


def supervised_network(
    settings: TrainingConfig, split: Split, strategy: tf.distribute.Strategy
) -> keras.Model:
    """The network of a run, trained on as many images with their labels, and as the run was."""
    # From the labels alone, drawn uniformly over the classes.
    settings = dataclasses.replace(settings, instance_weight=0.0, sampler="uniform")
    schedule = Schedule.of(settings, len(split.train))
    with strategy.scope():
        network = assembly.build_untrained(settings, num_outputs=len(split.class_names))
        model = assembly.build_trainer(settings, schedule, network)
    batches = assembly.training_batches(settings, split.train, schedule)
    batches.sampler.set_labels(split.train_labels)
    print(f"Training the supervised network for {schedule.epochs} epochs", flush=True)
    train_supervised(model, batches, epochs=schedule.epochs, seed=settings.seed)
    return model

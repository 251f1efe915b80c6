"""Measures what a run has learned, beside the networks that it must be compared with.

All are judged in the same way on the same images; see `measures`. The labels are used for these
figures alone.
"""

import dataclasses
from collections.abc import Iterator

import keras
import tensorflow as tf

from dc_keras import assembly
from dc_keras.assembly import Schedule
from dc_keras.config import EvaluationConfig, TrainingConfig
from dc_keras.evaluation.labelled_images import Split, SplitOptions, open_labelled_images
from dc_keras.evaluation.measures import Protocol, measure, measure_pixels
from dc_keras.evaluation.report import EvaluationReport
from dc_keras.evaluation.supervised import train_supervised
from dc_keras.machine import configure_devices, make_strategy
from dc_keras.models.architectures import LAST_CONV
from dc_keras.runs.run_directory import RunDirectory


def evaluate(config: EvaluationConfig) -> EvaluationReport:
    """Evaluates a run and its baselines, and writes the results into its folder.

    Args:
        config: Validated settings.

    Returns:
        The report, which is also written as JSON and Markdown.

    Raises:
        InputError: If there is no run or no labels to compare with.
    """
    run = RunDirectory(config.run_dir)
    settings = run.config()
    configure_devices(config.virtual_devices)
    strategy = make_strategy(config.strategy, config.virtual_devices)
    options = SplitOptions(
        data_dir=config.data_dir,
        test_dir=config.test_dir,
        test_fraction=config.test_fraction,
        max_images=config.max_images,
        max_bad_fraction=settings.max_bad_fraction,
        seed=settings.seed,
    )
    split = open_labelled_images(options, run, settings.data_dir)
    report = EvaluationReport(
        run_dir=config.run_dir,
        data_dir=config.data_dir or settings.data_dir,
        train_images=len(split.train),
        test_images=len(split.test),
        classes=len(split.class_names),
        num_clusters=min(settings.num_clusters, len(split.train)),
        seed=settings.seed,
        split=split.description,
    )
    protocol = Protocol(
        clustering=assembly.clustering_options(settings),
        last_conv=LAST_CONV[settings.arch],
        batch_size=config.batch_size,
        seed=settings.seed,
    )
    for name, network in _networks(config.baselines(), run, settings, split, strategy):
        print(f"Measuring the {name} network", flush=True)
        report.add(name, measure(network, split, protocol))
    if "pixels" in config.baselines():
        print("Measuring the pixels", flush=True)
        report.add("pixels", measure_pixels(split, protocol, settings.image_size))
    report.write(run.evaluation)
    return report


def _networks(
    baselines: tuple[str, ...],
    run: RunDirectory,
    settings: TrainingConfig,
    split: Split,
    strategy: tf.distribute.Strategy,
) -> Iterator[tuple[str, keras.Model]]:
    """Yields the networks to compare, by name."""
    with strategy.scope():
        trained = assembly.build_untrained(settings)
    run.load_weights(trained)
    yield "trained", trained
    for name in baselines:
        if name == "random":
            with strategy.scope():
                yield name, assembly.build_untrained(settings)
        if name == "supervised":
            yield name, _supervised(settings, split, strategy)


def _supervised(
    settings: TrainingConfig, split: Split, strategy: tf.distribute.Strategy
) -> keras.Model:
    """The network of a run, trained on as many images with their labels."""
    # From the labels alone, drawn uniformly over the classes.
    settings = dataclasses.replace(settings, instance_weight=0.0, sampler="uniform")
    schedule = Schedule.of(settings, len(split.train))
    # With labels, the learning rate of the paper stays as it is.
    settings = dataclasses.replace(settings, learning_rate_schedule="constant")
    with strategy.scope():
        model = assembly.build_trainer(settings, schedule, num_outputs=len(split.class_names))
    batches = assembly.training_batches(settings, split.train, schedule)
    batches.sampler.set_labels(split.train_labels)
    print(f"Training the supervised network for {schedule.epochs} epochs", flush=True)
    train_supervised(model, batches, epochs=schedule.epochs, seed=settings.seed)
    return model

"""A run and what it is compared with, one after the other, each made when its turn comes."""

import dataclasses
import pathlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from dc_keras import assembly
from dc_keras.config import EvaluationConfig, TrainingConfig
from dc_keras.config.evaluation import NETWORK_FILE
from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.errors import InputError
from dc_keras.evaluation.calibration import CALIBRATION_IMAGES, calibrate
from dc_keras.evaluation.labelled_images import Split
from dc_keras.evaluation.report import CALIBRATED, GIVEN, RANDOM, TRAINED
from dc_keras.evaluation.subjects import (
    Subject,
    file_subject,
    layers_of,
    network_subject,
    patches_subject,
    pixels_subject,
    run_subject,
)
from dc_keras.evaluation.supervised import supervised_network
from dc_keras.runs.given import load_given
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.seeds import numpy_rng
from dc_keras.starting_weights import StartingNetwork, build_from_weights


@dataclasses.dataclass(frozen=True)
class Compared:
    """A run, and what it is compared with.

    Attributes:
        config: Settings of the evaluation.
        run: The run.
        settings: Its settings.
        split: Labelled images.
        strategy: Of the devices.
        starting: What the run started from.
    """

    config: EvaluationConfig
    run: RunDirectory
    settings: TrainingConfig
    split: Split
    strategy: tf.distribute.Strategy
    starting: StartingNetwork

    def subjects(self, supervised: pathlib.Path, images: str) -> Iterator[tuple[str, Subject]]:
        """Yields what is compared, by name; each is made when its turn comes.

        Args:
            supervised: Where the network is kept that is trained with the labels.
            images: A checksum of the images.
        """
        given = load_given(self.run)
        told = given.told if given else "the trained network"
        size = self.config.batch_size
        yield (
            GIVEN if given else TRAINED,
            run_subject(told, self.run, self.split, self.strategy, size),
        )
        for name in self.config.baselines():
            if name == "pixels":
                yield name, pixels_subject(self.split, self.settings.image_size, size)
            elif name == "patches":
                yield (
                    name,
                    patches_subject(
                        self.split, self.settings.image_size, size, seed=self.settings.seed
                    ),
                )
            elif name in self.config.other_runs():
                run = RunDirectory(name)
                yield name, run_subject(f"the run {name}", run, self.split, self.strategy, size)
            elif name.endswith(NETWORK_FILE):
                yield name, file_subject(name, self.split, self.settings.image_size, size)
            elif not given:
                for row, network in self.networks(name, supervised, images):
                    yield (
                        row,
                        network_subject(
                            f"the {row} network",
                            network,
                            self.split,
                            layers_of(self.settings.arch),
                            size,
                        ),
                    )

    def networks(
        self, name: str, supervised: pathlib.Path, images: str
    ) -> Iterator[tuple[str, keras.Model]]:
        """The networks of a baseline, by name; arguments as of `subjects`."""
        if name == "random":
            with self.strategy.scope():
                network = assembly.build_untrained(self.settings)
                assembly.fit_first_layer(network, self.settings, self.split.train)
            yield RANDOM, network
            _calibrate(network, self.settings, self.split)
            yield CALIBRATED, network
        if name == "init" and self.starting.network:
            yield name, self.starting.network
        if name == "supervised":
            yield (
                name,
                supervised_network(
                    self.settings, self.split, self.strategy, folder=supervised, images=images
                ),
            )


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


def calibration_batches(settings: TrainingConfig, num_images: int) -> tuple[int, str]:
    """How many batches the statistics of the random network are fitted to, and that in words."""
    batch_size = min(settings.batch_size, num_images)
    count = max(1, min(CALIBRATION_IMAGES, num_images) // batch_size)
    return count, f"{count:,} batches of {batch_size:,} training images"


def _calibrate(network: keras.Model, settings: TrainingConfig, split: Split) -> None:
    """Fits the statistics of a random network to centre crops of random training images."""
    num_images = len(split.train)
    count, _ = calibration_batches(settings, num_images)
    drawn = numpy_rng(settings.seed, "calibration").permutation(num_images)
    batches = ordered_batches(
        split.train,
        drawn[: count * settings.batch_size],
        image_size=settings.image_size,
        batch_size=settings.batch_size,
    )
    calibrate(network, batches)

"""The same network trained with the labels: what the features could be at best.

FOLDER/0123456789abcdef/    the network after its last epoch, under a checksum of what it was
                            trained on and how; a training that was interrupted goes on there
"""

import dataclasses
import pathlib
import sys

import keras
import tensorflow as tf

from dc_keras import assembly
from dc_keras.assembly import Schedule
from dc_keras.config import TrainingConfig
from dc_keras.data.batches.training import TrainingBatches
from dc_keras.errors import CannotWriteError, InputError
from dc_keras.evaluation.labelled_images import Split
from dc_keras.evaluation.measured import key_of
from dc_keras.models.deepcluster import DeepCluster
from dc_keras.runs.checkpoints import (
    DamagedCheckpointError,
    is_checkpoint,
    load_learning,
    write_learning,
)


def supervised_network(
    settings: TrainingConfig,
    split: Split,
    strategy: tf.distribute.Strategy,
    *,
    folder: pathlib.Path,
    images: str,
) -> keras.Model:
    """The network of a run, trained on as many images with their labels, and as the run was.

    Args:
        settings: Of the run.
        split: Labelled images.
        strategy: Of the devices.
        folder: Where it is kept, and found again. Where that cannot be written, it is not.
        images: A checksum of the images.
    """
    # From the labels alone, drawn uniformly over the classes.
    settings = dataclasses.replace(settings, instance_weight=0.0, sampler="uniform")
    schedule = Schedule.of(settings, len(split.train))
    with strategy.scope():
        network = assembly.build_untrained(settings, num_outputs=len(split.class_names))
        assembly.fit_first_layer(network, settings, split.train)
        model = assembly.build_trainer(settings, schedule, network)
    batches = assembly.training_batches(settings, split.train, schedule)
    batches.sampler.set_labels(split.train_labels)
    # What may change while a run goes on changes nothing of what is learned, but for its length.
    flags = {
        field.name: getattr(settings, field.name)
        for field in dataclasses.fields(settings)
        if not field.metadata.get("may_change")
    }
    key = key_of(flags=flags, epochs=schedule.epochs, images=images, labels=split.train_labels)
    path = folder / key[:16]
    done = _epochs_done(path, model)
    if done < schedule.epochs:
        print(f"Training the supervised network for {schedule.epochs} epochs", flush=True)
        train_supervised(
            model, batches, epochs=schedule.epochs, seed=settings.seed, done=done, path=path
        )
    return model


def train_supervised(
    model: DeepCluster,
    batches: TrainingBatches,
    *,
    epochs: int,
    seed: int,
    done: int = 0,
    path: pathlib.Path | None = None,
) -> None:
    """Trains a network to predict labels, in the same way as pseudo-labels otherwise.

    Args:
        model: A trainer with one output a class.
        batches: Of images whose labels its sampler holds.
        epochs: For how many Keras epochs.
        seed: The run's seed.
        done: How many of them the model was trained for.
        path: Where it is written after each epoch; None: nowhere.

    Reference:
        Caron et al. 2018, equation 1.
    """

    class EachEpoch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            batches.sampler.begin_epoch(seed, epoch)
            model.reseed_dropout(seed, epoch)

        def on_epoch_end(self, epoch, logs=None):
            if path:
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_learning(path, model, epoch + 1)
                except (OSError, CannotWriteError):
                    # It was said at the start that nothing can be written.
                    pass

    model.fit(
        batches.dataset(),
        initial_epoch=done,
        epochs=epochs,
        shuffle=False,
        callbacks=[EachEpoch()],
        verbose=1 if sys.stdout.isatty() else 2,
    )


def _epochs_done(path: pathlib.Path, model: DeepCluster) -> int:
    """Loads a network that was trained before, wholly or in part."""
    if not is_checkpoint(path):
        return 0
    try:
        return load_learning(path, model)
    except (DamagedCheckpointError, InputError):
        return 0

"""The same network trained with the labels: what the features could be at best."""

import sys

import keras

from dc_keras.data.batches.training import TrainingBatches
from dc_keras.models.deepcluster import DeepCluster


def train_supervised(
    model: DeepCluster, batches: TrainingBatches, *, epochs: int, seed: int
) -> None:
    """Trains a network to predict labels, in the same way as pseudo-labels otherwise.

    Args:
        model: A fresh trainer with one output a class.
        batches: Of images whose labels its sampler holds.
        epochs: For how many Keras epochs.
        seed: The run's seed.

    Reference:
        Caron et al. 2018, equation 1.
    """

    class BeginEpoch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            batches.sampler.begin_epoch(seed, epoch)
            model.reseed_dropout(seed, epoch)

    model.fit(
        batches.dataset(),
        epochs=epochs,
        shuffle=False,
        callbacks=[BeginEpoch()],
        verbose=1 if sys.stdout.isatty() else 2,
    )

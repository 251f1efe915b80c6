"""The batches of an epoch as one of several workers reads them: its part of each."""

from collections.abc import Iterator

import tensorflow as tf

from dc_keras.clustering.spread import ALONE, Workers
from dc_keras.data.batches.share import WHOLE, Share
from dc_keras.data.batches.training import TrainingBatches
from dc_keras.data.sources.stand_ins import LOOK_AHEAD, ReadingOn
from dc_keras.machine import devices_of
from dc_keras.models.worker_trainer import own_batches


def share_of_batches(workers: Workers, strategy: tf.distribute.Strategy) -> Share:
    """The rows of each batch that a worker trains on: a part for each of its replicas."""
    if workers is ALONE:
        return WHOLE
    own = len(devices_of(strategy))
    return Share(workers.rank * own, own, strategy.num_replicas_in_sync)


def batches_of_worker(
    strategy: tf.distribute.Strategy,
    batches: TrainingBatches,
    first_step: int,
    reading: ReadingOn,
) -> tf.distribute.DistributedDataset:
    """The rest of an epoch's batches, as Keras takes them, past images that cannot be read.

    A worker goes past them by itself, since others wait within the step: they cannot begin the
    epoch again. One with several devices does not, and ends.

    Args:
        strategy: Of several workers.
        batches: What it is trained on.
        first_step: Batches of the epoch that are done.
        reading: Finds stand-ins.
    """
    dataset = batches.dataset(first_step)

    def read() -> Iterator:
        step = first_step

        def place():
            return step

        def upcoming():
            return batches.upcoming(step, LOOK_AHEAD)

        while step < batches.steps:
            with reading.past_errors(place, upcoming):
                for batch in dataset if step == first_step else batches.dataset(step):
                    yield batch
                    step += 1

    return own_batches(strategy, dataset, batches.steps - first_step, read)

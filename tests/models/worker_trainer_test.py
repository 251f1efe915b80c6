"""What Keras's `fit` needs on several workers: without it, two processes fail."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.workers import free_addresses, tf_config
from dc_keras.machine import make_strategy
from dc_keras.models.worker_trainer import own_batches
from marks import LONG
from repository import REPOSITORY

SCRIPT = """
import tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
from dc_keras.models.coupled_sgd import CoupledSGD
from dc_keras.models.deepcluster import DeepCluster
from dc_keras.models.options import NetworkOptions
from dc_keras.models.vgg import build_vgg16
from dc_keras.models.worker_trainer import WorkerTrainer, own_batches

class Built(DeepCluster):
    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        pass

class Logging(DeepCluster):
    train_step = WorkerTrainer.train_step

trainer = TRAINER
with strategy.scope():
    network = build_vgg16(NetworkOptions(image_size=32, width=1 / 16), 4)
    model = trainer(network.input, network.output)
    model.compile(CoupledSGD(0.05, 0.9, 1e-5), CoupledSGD(0.05, 0.0, 1e-5))
batch = tf.zeros([4, 32, 32, 3], tf.uint8), tf.zeros([4], tf.int32)
dataset = tf.data.Dataset.from_tensors(batch).repeat(3)
if DISTRIBUTED:
    batches = strategy.distribute_datasets_from_function(lambda context: dataset)
else:
    batches = own_batches(strategy, dataset, 3)
print("fitted", sorted(model.fit(batches, verbose=0, shuffle=False).history))
"""


def fit_with(trainer, *, distributed=False):
    """What two workers print that fit by a trainer, perhaps as workers of several devices do."""
    script = SCRIPT.replace("TRAINER", trainer).replace("DISTRIBUTED", str(distributed))
    addresses = free_addresses(2)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=REPOSITORY,
            env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CONFIG": tf_config(addresses, rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        return [one.communicate(timeout=300)[0] for one in started]
    finally:
        for one in started:
            one.kill()


@pytest.mark.parametrize("distributed", [False, pytest.param(True, marks=LONG)])
def test_it_fits(distributed):
    for told in fit_with("WorkerTrainer", distributed=distributed):
        assert "fitted ['accuracy', 'loss']" in told, told


@pytest.mark.slow
@pytest.mark.long
def test_logs_of_metrics_cannot_be_reduced():
    # When this fails, Keras reduces them, and `WorkerTrainer.train_step` can go.
    for told in fit_with("Built"):
        assert "fitted" not in told
        assert "Invalid reduction dimension 0 for input with 0 dimensions" in told, told


@pytest.mark.slow
@pytest.mark.long
def test_the_first_batch_cannot_be_reduced():
    # When this fails, Keras builds models of several workers, and `_maybe_symbolic_build` can go.
    for told in fit_with("Logging", distributed=True):
        assert "fitted" not in told
        assert "PerReplica" in told, told


@pytest.mark.parametrize("replicas", ["one", "mirrored"])
def test_steps_are_counted_once_whatever_the_replicas(two_devices, replicas):
    strategy = make_strategy(replicas, 2)
    count = strategy.num_replicas_in_sync

    numbers = np.arange(3 * count, dtype=np.float32)
    batches = own_batches(strategy, tf.data.Dataset.from_tensor_slices(numbers).batch(1), steps=3)
    assert batches.cardinality == 3
    with strategy.scope():
        import keras

        inputs = keras.Input((), dtype="float32")
        model = keras.Model(inputs, inputs)
        model.compile()
        model.train_step = lambda data: {"loss": tf.reduce_sum(data)}
        seen = []
        callback = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda step, logs: seen.append(float(logs["loss"]))
        )
        model.fit(batches, verbose=0, shuffle=False, callbacks=[callback])
    # The mean over replicas: of 0 and 1, then of 2 and 3, ...
    wanted = [0, 1, 2] if count == 1 else [0.5, 2.5, 4.5]
    assert seen == wanted

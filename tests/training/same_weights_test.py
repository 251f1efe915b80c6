"""All replicas have the first one's network before images are clustered by it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dc_keras import assembly
from dc_keras.assembly import Schedule
from dc_keras.machine import make_strategy
from dc_keras.training.loop import train
from dc_keras.training.same_weights import SameWeights
from thread_workers import together
from tiny import tiny


def trainer(strategy):
    with strategy.scope():
        return assembly.build_trainer(tiny("images", "run"), Schedule(2, 3))


def of_each_replica(strategy, variable):
    return [one.numpy() for one in strategy.experimental_local_results(variable.value)]


@pytest.mark.parametrize("moment", ["on_epoch_begin", "on_train_end"])
def test_running_means_of_the_first_replica_go_to_all(two_devices, moment):
    strategy = make_strategy("mirrored", 2)
    model = trainer(strategy)
    mean = model.get_layer("bn1_1").moving_mean

    @tf.function
    def count_by_itself():
        def on_replica():
            context = tf.distribute.get_replica_context()
            mean.assign(
                tf.ones_like(mean) * tf.cast(context.replica_id_in_sync_group + 5, "float32")
            )

        strategy.run(on_replica)

    count_by_itself()
    first, second = of_each_replica(strategy, mean)
    assert first[0] == 5
    assert second[0] == 6
    callback = SameWeights()
    callback.set_model(model)
    getattr(callback, moment)(*([0] if moment == "on_epoch_begin" else []))
    for values in of_each_replica(strategy, mean):
        np.testing.assert_array_equal(values, first)


def test_one_device_is_left_alone(monkeypatch):
    callback, model = SameWeights(), trainer(tf.distribute.get_strategy())
    callback.set_model(model)
    monkeypatch.setattr(keras.ops, "convert_to_numpy", None)  # would fail if anything were read
    callback.on_epoch_begin(0)


def test_weights_and_optimizers_of_the_first_worker_go_to_all(two_devices):
    # Mirrored replicas stand for each of the workers' own.
    strategy = make_strategy("mirrored", 2)
    models = [trainer(strategy) for _ in range(2)]
    changed = models[1]
    changed.get_layer("conv1_1").kernel.assign(changed.get_layer("conv1_1").kernel * 1.0001)
    changed.optimizer.iterations.assign(7)

    def make_same(worker):
        callback = SameWeights(worker)
        callback.set_model(models[worker.rank])
        callback.on_epoch_begin(0)

    together(2, make_same)
    for ours, theirs in zip(models[0].variables, models[1].variables, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)
    assert models[1].optimizer.iterations == 0


@pytest.mark.slow
@pytest.mark.long
def test_a_mirrored_run_goes_on_with_the_same_bits(two_devices, npz, tmp_path):
    flags = ["--strategy=mirrored", "--virtual_devices=2", "--checkpoint_every_steps=2"]
    run = train(tiny(npz, tmp_path / "run", *flags, "--keep_checkpoints=9"))
    middle = run.checkpoints / "epoch-0001-step-000002"
    again = train(tiny(npz, tmp_path / "again", *flags, f"--resume={middle}"))
    for one in ("weights", "optimizers"):
        ours, theirs = (np.load(r.checkpoints / f"epoch-0002/{one}.npz") for r in (run, again))
        for key in ours.files:
            np.testing.assert_array_equal(ours[key], theirs[key], err_msg=key)

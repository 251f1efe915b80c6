"""The network of a run, trained with the labels."""

import numpy as np
import pytest
import tensorflow as tf

import textures
from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.image_source import numbered
from dc_keras.evaluation.labelled_images import Split
from dc_keras.evaluation.supervised import supervised_network
from dc_keras.models.deepcluster import DeepCluster
from tiny import tiny


@pytest.fixture
def split():
    images, labels = textures.textures(4)
    names = numbered("image", 16)
    source = ArraySource(images, names, labels, ("fine", "grain", "ridge", "weave"))
    return Split(source, source, "")


def train(split, folder, *flags):
    settings = tiny("images", "run", "--learning_rate=0.05", *flags)
    strategy = tf.distribute.get_strategy()
    return supervised_network(settings, split, strategy, folder=folder, images="a checksum")


@pytest.mark.parametrize(("schedule", "last"), [("cosine", 0.0), ("constant", 0.05)])
def test_it_has_the_learning_rates_of_the_run(tmp_path, split, schedule, last):
    model = train(split, tmp_path, f"--learning_rate_schedule={schedule}", "--epochs=1")
    assert model.optimizer.iterations.numpy() == 1
    for optimizer in (model.optimizer, model.head_optimizer):
        assert float(optimizer.learning_rate) == pytest.approx(last, abs=1e-9)


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(tmp_path, split, monkeypatch):
    flags = ("--learning_rate_schedule=cosine", "--epochs=3")
    whole = train(split, tmp_path / "whole", *flags)
    fit = DeepCluster.fit

    def interrupted(self, *arguments, epochs, **others):
        fit(self, *arguments, epochs=epochs - 1, **others)
        raise KeyboardInterrupt

    with monkeypatch.context() as changed:
        changed.setattr(DeepCluster, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(split, tmp_path / "parts", *flags)
    parts = train(split, tmp_path / "parts", *flags)
    for one, other in zip(whole.weights, parts.weights, strict=True):
        # A forward pass rounds as the threads share it.
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_finished_one_is_not_trained_again(tmp_path, split, monkeypatch):
    first = train(split, tmp_path, "--epochs=1")
    monkeypatch.setattr(DeepCluster, "fit", lambda *_, **__: pytest.fail("trained again"))
    again = train(split, tmp_path, "--epochs=1")
    for one, other in zip(first.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_other_settings_are_another_network(tmp_path, split):
    train(split, tmp_path, "--epochs=1")
    train(split, tmp_path, "--epochs=1", "--weight_decay=0.01")
    assert len(list(tmp_path.iterdir())) == 2

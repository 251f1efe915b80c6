"""From settings to the parts of the loop."""

import dataclasses

import numpy as np
import pytest

import textures
from dc_keras.assembly import (
    Schedule,
    augmentation,
    build_trainer,
    build_untrained,
    clustering_options,
    fit_first_layer,
    network_options,
    prepare_devices,
    training_batches,
)
from dc_keras.config import TrainingConfig
from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError
from tiny import tiny


@pytest.mark.parametrize(
    ("reassign", "epochs", "steps"),
    [(1.0, 10, 100), (0.5, 20, 50), (3.0, 10, 100), (0.25, 40, 25), (1.5, 10, 100)],
)
def test_schedule_sees_the_same_images_whatever_the_turns(reassign, epochs, steps):
    arguments = [f"--reassign={reassign}", "--epochs=10", "--batch_size=10"]
    schedule = Schedule.of(TrainingConfig.from_arguments(arguments), 1000)
    assert (schedule.epochs, schedule.steps) == (epochs, steps)


def test_batches_are_shared_out_evenly(two_devices):
    config = dataclasses.replace(
        tiny("data", "run"), batch_size=15, virtual_devices=2, strategy="mirrored"
    )
    with pytest.raises(InputError, match="--batch_size=15 for 2 replicas"):
        prepare_devices(config)


def test_settings_reach_the_augmentation():
    config = tiny("data", "run", "--hflip=false", "--color_jitter=0.5", "--grayscale=0.1")
    made = augmentation(config)
    assert (made.image_size, made.min_area, made.views) == (32, 0.5, 1)
    assert (made.hflip, made.color_jitter, made.grayscale) == (False, 0.5, 0.1)


def test_two_views_of_half_as_many_images_make_a_batch():
    config = tiny("data", "run", "--instance_weight=0.5")
    images = np.zeros((40, 32, 32, 3), "uint8")
    source = ArraySource(images, [str(i) for i in range(40)])
    batches = training_batches(config, source, Schedule(epochs=1, steps=3))
    assert augmentation(config).views == 2 and batches.draws == 3 * 16 // 2
    assert [len(labels) for _, labels in batches.dataset()] == [16] * 3


def test_settings_reach_the_clustering():
    flags = ["--clustering=kmeans", "--whiten=false", "--pca_images=100", "--kmeans_iterations=7"]
    flags += ["--kmeans_spherical", "--kmeans_max_points=9", "--kmeans_two_level_from=0"]
    flags += ["--kmeans_starts=4"]
    made = clustering_options(tiny("data", "run", *flags))
    assert (made.num_clusters, made.pca_dim, made.pca_images) == (6, 16, 100)
    assert (made.method, made.whiten) == ("kmeans", False)
    assert (made.kmeans.iterations, made.kmeans.spherical) == (7, True)
    assert (made.kmeans.max_points, made.kmeans.two_level_from) == (9, 0)
    assert made.kmeans.starts == 4


@pytest.mark.parametrize(
    ("flags", "temperature"),
    [([], None), (["--head=cosine"], 0.1), (["--head=cosine", "--temperature=0.3"], 0.3)],
)
def test_only_a_cosine_head_has_a_temperature(flags, temperature):
    assert network_options(tiny("data", "run", *flags)).temperature == temperature


def test_a_trainer_begins_with_the_weights_of_the_untrained_network():
    config = tiny("data", "run")
    trainer, network = build_trainer(config, Schedule(epochs=1, steps=1)), build_untrained(config)
    for a, b in zip(trainer.weights, network.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)


def test_a_trainer_trains_the_network_that_it_is_given():
    config = tiny("data", "run")
    network = build_untrained(config, num_outputs=4)
    trainer = build_trainer(config, Schedule(epochs=1, steps=1), network)
    assert trainer.output_shape[-1] == 4
    assert all(a is b for a, b in zip(trainer.weights, network.weights, strict=True))


def test_a_rate_that_follows_a_cosine_ends_with_the_schedule():
    config = tiny("data", "run", "--learning_rate_schedule=cosine", "--learning_rate=0.5")
    trainer = build_trainer(config, Schedule(epochs=4, steps=25))
    rates = []
    for step in (0, 50, 100):
        trainer.optimizer.iterations.assign(step)
        rates.append(float(trainer.optimizer.learning_rate))
    np.testing.assert_allclose(rates, [0.5, 0.25, 0.0], atol=1e-7)


def test_the_first_layer_is_fitted_without_images_that_have_vanished(tmp_path):
    images, labels = textures.textures(5)
    textures.write_folders(tmp_path, images, labels)
    flags = ["--arch=compact", "--whitened_patches=3", "--sobel=false"]
    config = tiny(tmp_path, tmp_path / "run", *flags)
    source = open_source(str(tmp_path))
    next(tmp_path.rglob("*.png")).unlink()
    network = build_untrained(config)
    fit_first_layer(network, config, source)
    left = build_untrained(config)
    fit_first_layer(left, config, open_source(str(tmp_path)))
    # The strongest directions; the order in which images are summed moves the weak ones.
    filters = [one.get_layer("patches").kernel.numpy()[..., :9] for one in (network, left)]
    assert np.abs(filters[0]).max() > 0
    np.testing.assert_allclose(*filters, rtol=1e-3, atol=1e-3)

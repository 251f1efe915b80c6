"""What a run says about itself before it begins."""

import numpy as np
import pytest
import tensorflow as tf

from dc_keras.assembly import Schedule
from dc_keras.config import TrainingConfig
from dc_keras.data.sources.arrays import ArraySource
from dc_keras.machine import make_strategy
from dc_keras.training.description import describe_run, describe_settings

FLAGS = ["--data_dir=photos", "--run_dir=run"]


def config(*flags):
    return TrainingConfig.from_arguments([*FLAGS, *flags])


def described(*flags, labels=None, strategy=None):
    classes = None if labels is None else ("cat", "dog")
    source = ArraySource(np.zeros((4, 8, 8, 3), "uint8"), list("abcd"), labels, classes)
    schedule = Schedule(epochs=20, steps=5)
    strategy = strategy or tf.distribute.get_strategy()
    return describe_run(config(*flags), source, 1234567, strategy, schedule).splitlines()


def test_a_run_in_a_few_lines():
    images, network, clusters, training, devices, *_, run = described("--num_clusters=2000")
    assert images == "Images:   4 from photos (no labels)"
    assert network == "Network:  vgg16 behind Sobel, width 1, 1,234,567 weights, 224 px"
    assert clusters == "Clusters: 2,000 by kmeans, on 256 whitened dimensions"
    assert training == "Training: 20 epochs of 5 steps of 256 images"
    assert devices.startswith("Devices:  network on ") and "k-means on " in devices
    assert run == "Run:      run"


def test_labels_are_said_to_be_for_the_log():
    first, *_ = described(labels=np.array([0, 1, 1, 0], "int32"))
    assert first == "Images:   4 from photos (2 classes, used for the log alone)"


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--sobel=false", "--arch=alexnet"], "Network:  alexnet, width 1, 1,234,567 weights"),
        (["--clustering=pic"], "Clusters: at most 10,000 by pic, on 256 whitened dimensions"),
        (
            ["--xla=on"],
            "Devices:  network on CPU:0, steps compiled by XLA (the first takes a minute);",
        ),
        (["--whiten=false"], "Clusters: 10,000 by kmeans, on 256 dimensions"),
        (
            ["--diffusion_neighbours=20", "--final_clusters=1200"],
            "Clusters: 10,000 by kmeans, on 256 whitened dimensions, drawn towards neighbours; "
            "1,200 at the end",
        ),
        (["--backup_dir=gs://b/run"], "Run:      run, copied to gs://b/run"),
    ],
)
def test_what_is_used_is_said(flags, line):
    assert any(text.startswith(line) for text in described(*flags))


def test_replicas_are_counted(two_devices):
    lines = described(strategy=make_strategy("mirrored", 2))
    assert "Training: 20 epochs of 5 steps of 256 images on 2 replicas" in lines
    assert any("network on CPU:0, CPU:1" in line for line in lines)


def test_the_papers_settings_are_not_listed():
    given, rest = describe_settings(config()).splitlines()
    assert given == "Given:    nothing"
    assert rest == "Paper's:  all else, see flags.cfg in the run's folder"


def test_given_settings_are_listed():
    given, _ = describe_settings(config("--width=0.5", "--epochs=500")).splitlines()
    assert given == "Given:    width=0.5"


def test_what_a_mode_sets_is_listed_without_what_was_given_against_it():
    text = describe_settings(config("--mode=improved", "--dropout=0.25", "--color_jitter=0.0"))
    mode, given = (part.split() for part in text.split("\nGiven:"))
    assert text.startswith("Mode:     improved, which sets ")
    assert "head=cosine" in mode and "head=cosine" not in given
    assert "dropout=0.25" in given
    assert "dropout=0.0" not in mode and "color_jitter=1.0" not in mode


def test_many_given_settings_are_broken_into_lines():
    flags = [f"--{name}=0.25" for name in ("width", "dropout", "grayscale", "momentum")]
    flags += [f"--{name}=77" for name in ("num_clusters", "pca_dim", "epochs", "seed")]
    *given, _ = describe_settings(config(*flags)).splitlines()
    assert len(given) == 2 and max(map(len, given)) <= 100
    assert given[0].startswith("Given:    ") and given[1].startswith(10 * " ")
    assert len(" ".join(given).split()) == 1 + len(flags)

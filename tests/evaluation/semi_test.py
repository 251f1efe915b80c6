import keras
import numpy as np
import pytest
from tqdm import tqdm

from dc_keras.assembly import build_untrained
from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.image_source import numbered
from dc_keras.errors import InputError
from dc_keras.evaluation import semi
from dc_keras.evaluation.labelled_images import Split
from dc_keras.evaluation.semi import GRID, FineTuning, draw_labels, method, schedule
from dc_keras.models.feature_extractor import feature_model
from tiny import tiny


def coloured(rng, each, classes=3):
    """Images of three classes: red, green and blue, with some noise."""
    labels = np.repeat(np.arange(classes), each)
    images = rng.integers(0, 90, (classes * each, 8, 8, 3))
    images[np.arange(classes * each), :, :, labels] += 90
    names = numbered("image", classes * each)
    return ArraySource(
        images.astype("uint8"), names, labels.astype("int32"), tuple("rgb"[:classes])
    )


@pytest.fixture
def network():
    """A small one that was never trained, with batch norm and a head of its own."""
    images = keras.Input((8, 8, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(6, 3, strides=2)(x))
    x = keras.layers.Dropout(0.1)(keras.layers.Flatten()(keras.layers.ReLU()(x)))
    features = keras.layers.Dense(8, name="fc7")(x)
    return keras.Model(images, keras.layers.Dense(2, name="head")(features))


@pytest.mark.slow
@pytest.mark.long
def test_a_copy_is_trained_and_the_network_stays(rng, network, monkeypatch):
    monkeypatch.setattr(semi, "MIN_STEPS", 30)
    monkeypatch.setattr(semi, "EPOCHS", 1)
    monkeypatch.setattr(semi, "DRAWS", 2)
    split = Split(coloured(rng, 30), coloured(rng, 10), "by hand")
    before = [np.array(weights) for weights in network.weights]
    found = semi.semi(network, split, batch_size=16, seed=31)
    for was, weights in zip(before, network.weights, strict=True):
        np.testing.assert_array_equal(was, weights)
    for percent in (1, 10):
        figures = found.figures
        assert 0 <= figures[f"semi_{percent}"] <= 1 and figures[f"semi_{percent}_sd"] >= 0
        chosen = semi.Rates(figures[f"semi_{percent}_backbone"], figures[f"semi_{percent}_head"])
        assert chosen in GRID
        assert found.of_images[f"semi_{percent}"].shape == (30,)
    # From one image of each class little is learned, from three that they differ in colour.
    assert figures["semi_10"] > 0.6
    assert "Rates chosen for the mine network" in method(split.train_labels, {"mine": figures})[1]


def test_each_training_starts_from_the_network(rng, network, monkeypatch):
    """What the one before has learned is gone, and features have a mean square length of 1."""
    monkeypatch.setattr(semi, "MIN_STEPS", 10)
    monkeypatch.setattr(semi, "EPOCHS", 1)
    tuning, source = FineTuning(network, 3, seed=31), coloured(rng, 4)
    before = [np.array(one) for one in network.weights]
    weights = []
    for _ in range(2):
        tuning.train(source, np.repeat([0, 1, 2], 4), GRID[0], tqdm(disable=True))
        weights.append(tuning._model.get_weights())
    for was, now in zip(before, network.weights, strict=True):
        np.testing.assert_array_equal(was, now)
    for first, again in zip(*weights, strict=True):
        np.testing.assert_allclose(first, again, rtol=1e-4, atol=1e-5)
    tuning._begin(source)
    scaled = keras.Model(tuning._model.input, tuning._model.get_layer("scale").output)
    (crops,) = ordered_batches(source, np.arange(12), image_size=8, batch_size=12)
    lengths = np.square(np.asarray(scaled(crops, training=True))).sum(axis=1)
    # But for the draws of dropout.
    assert lengths.mean() == pytest.approx(1, abs=0.3)


def test_our_networks_can_be_copied(rng):
    """With the front-end that is a function, and its features as they are."""
    network = build_untrained(tiny("data", "run", "--sobel=true"))
    tuning = FineTuning(network, 3, seed=31)
    images = rng.integers(0, 256, (2, 32, 32, 3)).astype("uint8")
    copied = keras.Model(tuning._model.input, tuning._model.get_layer("scale").input)
    expected = np.asarray(feature_model(network, "fc7")(images))
    np.testing.assert_allclose(np.asarray(copied(images)), expected, rtol=1e-5)
    assert not {id(one) for one in network.weights} & {id(one) for one in tuning._model.weights}


def test_draws_are_nested_and_of_each_class_one_at_least(rng):
    labels = rng.permutation(np.repeat([0, 1, 2], [3, 200, 100]))
    allowed = rng.random(303) < 0.8
    few, more = (draw_labels(labels, allowed, percent, 31, draw=1) for percent in (1, 10))
    assert np.bincount(labels[few]).tolist() == [1, 2, 1]
    assert np.bincount(labels[more]).tolist() == [1, 20, 10]
    assert set(few) < set(more) and allowed[more].all()
    assert set(more) != set(draw_labels(labels, allowed, 10, 31, draw=2))


def test_lengths_of_training():
    """Of ImageNet's 1 %: 20 epochs of 50 batches; of few images 200 steps."""
    assert schedule(12811) == (256, 20 * 50 // 5)
    assert schedule(80) == (80, 200 // 5)


def test_one_class_is_refused(rng, network):
    split = Split(coloured(rng, 4, classes=1), coloured(rng, 2, classes=1), "by hand")
    with pytest.raises(InputError, match="two classes"):
        semi.semi(network, split, batch_size=16, seed=31)

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

from dc_keras.data.sources.arrays import ArraySource
from dc_keras.errors import InputError
from dc_keras.evaluation.labelled_images import Split
from dc_keras.evaluation.layers.crops import crops_for_testing, resized_crops, shifted_crops
from dc_keras.evaluation.layers.sgd import (
    STATE_FILE,
    Head,
    Recipe,
    predict,
    published_recipe,
    sgd_probes,
    train_heads,
)
from dc_keras.models.architectures import build_network
from dc_keras.models.options import NetworkOptions

RECIPE = Recipe((0.5, 0.1), 1e-5, decays=True, shifted=False, epochs=30, batch_size=50)


def identity(dim=6):
    """Features that are given as images, and their doubles."""
    inputs = keras.Input((dim,))
    return keras.Model(inputs, [keras.layers.Identity()(inputs), keras.layers.Rescaling(2)(inputs)])


def blobs(rng, n, noise=0.7):
    labels = np.arange(n, dtype=np.int32) % 3
    centers = np.random.default_rng(1).normal(size=(3, 6))
    return (centers[labels] + noise * rng.normal(size=(n, 6))).astype(np.float32), labels


def batches_of(features, labels):
    def batches(epoch):
        order = np.random.default_rng(epoch).permutation(len(labels))
        return tf.data.Dataset.from_tensor_slices((features[order], labels[order])).batch(50)

    return batches


def test_reaches_what_scikit_learn_does(tmp_path, rng):
    features, labels = blobs(rng, 600)
    test, test_labels = blobs(rng, 3000)
    heads = train_heads(identity(), batches_of(features, labels), 3, RECIPE, tmp_path)
    exact = LogisticRegression(C=1e4, tol=1e-8, max_iter=10000).fit(features, labels)
    expected = exact.score(test, test_labels)
    assert 0.6 < expected < 0.99
    for predicted in predict(identity(), heads, tf.data.Dataset.from_tensors(test)):
        assert (predicted == test_labels).mean() == pytest.approx(expected, abs=0.005)


def test_a_step_on_paper(tmp_path):
    """As PyTorch's SGD with momentum and decay does two steps of the same batch."""
    features, labels = np.eye(3, 6, dtype=np.float32), np.arange(3, dtype=np.int32)
    recipe = dataclasses.replace(RECIPE, rates=(0.5, 0.1), l2=0.1, epochs=2)
    begun = train_heads(
        identity(), None, 3, dataclasses.replace(recipe, epochs=0), tmp_path / "begun"
    )
    found = train_heads(identity(), batches_of(features, labels), 3, recipe, tmp_path / "done")
    weights, velocity = begun[0].weights.astype(float), 0
    bias, velocity_of_bias = np.zeros(3), 0
    for step in range(2):
        logits = features @ weights + bias
        softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        errors = (softmax - np.eye(3)) / 3
        velocity = 0.9 * velocity + features.T @ errors + 0.1 * weights
        velocity_of_bias = 0.9 * velocity_of_bias + errors.sum(0) + 0.1 * bias
        rate = 0.5 / np.sqrt(1 + 0.5 * 0.1 * step)
        weights, bias = weights - rate * velocity, bias - rate * velocity_of_bias
    np.testing.assert_allclose(found[0].weights, weights, atol=1e-6)
    np.testing.assert_allclose(found[0].bias, bias, atol=1e-6)


def test_resumed_is_uninterrupted(tmp_path, rng):
    batches = batches_of(*blobs(rng, 120))
    few = dataclasses.replace(RECIPE, epochs=4)
    whole = train_heads(identity(), batches, 3, few, tmp_path / "whole")
    seen = []

    def stops_in_the_third(epoch):
        seen.append(epoch)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return batches(epoch)

    with pytest.raises(KeyboardInterrupt):
        train_heads(identity(), stops_in_the_third, 3, few, tmp_path / "parts")
    parts = train_heads(identity(), stops_in_the_third, 3, few, tmp_path / "parts")
    assert seen == [0, 1, 2, 2, 3]
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)
        np.testing.assert_array_equal(one.bias, other.bias)
    with pytest.raises(InputError, match="other settings"):
        other_seed = dataclasses.replace(few, seed=5)
        train_heads(identity(), batches, 3, other_seed, tmp_path / "parts")
    (tmp_path / "parts" / STATE_FILE).write_bytes(b"PK")
    with pytest.raises(InputError, match="cannot be read"):
        train_heads(identity(), batches, 3, few, tmp_path / "parts")


def test_views_are_averaged_as_softmax():
    """One sure view outweighs two unsure ones, which it would not as a vote."""
    views = np.array([[9, 0], [0, 0.1], [0, 0.1], [0, 1], [0, 1], [1, 0]], np.float32)
    model = keras.Model(inputs := keras.Input((2,)), keras.layers.Identity()(inputs))
    head = Head(np.eye(2, dtype=np.float32), np.zeros(2, np.float32))
    (predicted,) = predict(model, [head], tf.data.Dataset.from_tensors(views), views=3)
    assert predicted.tolist() == [0, 1]


def test_published_rates():
    vgg = build_network(NetworkOptions(image_size=32, width=1 / 32), 4)
    recipe = published_recipe(vgg, ("relu1_1", "relu4_1", "relu5_3", "fc7"), epochs=None, seed=31)
    assert (recipe.rates, recipe.epochs) == ((0.005, 0.03, 0.02, 0.02), 100)
    alexnet = build_network(NetworkOptions(image_size=64, arch="alexnet", width=1 / 32), 4)
    recipe = published_recipe(alexnet, ("relu1", "fc6"), epochs=7, seed=31)
    assert recipe == Recipe((0.01, 0.01), 1e-4, decays=True, shifted=True, epochs=7)


def numbered(n=6, side=8):
    """Images whose pixels hold their place, and whose last channel is their number."""
    rows, columns = np.mgrid[:side, :side]
    images = np.stack(
        [np.stack([rows, columns, np.full_like(rows, one)], -1) for one in range(n)]
    ).astype(np.uint8)
    labels = np.arange(n, dtype=np.int32)
    return ArraySource(images, [str(one) for one in range(n)], labels, tuple("abcdefghij"[:n]))


def test_ten_crops_are_corners_and_centre():
    """Of 8 pixels crops have 7; two places along a side."""
    source = numbered()
    dataset = crops_for_testing(source, image_size=7, batch_size=20, ten_crops=True)
    crops = np.concatenate(list(dataset.as_numpy_iterator())).reshape(6, 10, 7, 7, 3)
    assert (crops[..., 2] == np.arange(6)[:, None, None, None]).all()
    begins = crops[0, :, 0, 0, :2].tolist()
    assert begins[:4] == [[0, 0], [0, 1], [1, 0], [1, 1]]
    # Mirrored, the first column is the last.
    assert begins[5:9] == [[0, 6], [0, 7], [1, 6], [1, 7]]
    np.testing.assert_array_equal(crops[:, 5:], crops[:, :5, :, ::-1])


@pytest.mark.parametrize("crops", [resized_crops, shifted_crops])
def test_an_epoch_has_every_image_once(crops):
    def epoch(number):
        dataset = crops(numbered(), image_size=7, batch_size=4, seed=31, epoch=number)
        images, labels = zip(*dataset.as_numpy_iterator(), strict=True)
        return np.concatenate(images), np.concatenate(labels)

    images, labels = epoch(0)
    assert sorted(labels) == list(range(6))
    np.testing.assert_array_equal(images[:, 0, 0, 2], labels)
    again, more = epoch(0), epoch(1)
    np.testing.assert_array_equal(again[0], images)
    assert (more[1] != labels).any() or (more[0] != images).any()


def test_heads_of_a_network_are_trained_and_tested(tmp_path, rng):
    labels = np.arange(24, dtype=np.int32) % 2
    pixels = rng.integers(0, 100, (24, 32, 32, 3)) + 150 * labels[:, None, None, None]
    names = [str(one) for one in range(24)]
    source = ArraySource(pixels.astype(np.uint8), names, labels, ("dark", "bright"))
    network = build_network(NetworkOptions(image_size=32, width=1 / 32, use_sobel=False), 4)
    before = [weight.numpy() for weight in network.weights]
    found = sgd_probes(
        network,
        Split(source, source, ""),
        ("relu1_1", "relu5_3"),
        folder=tmp_path,
        epochs=3,
        ten_crops=True,
        seed=31,
    )
    assert list(found) == ["relu1_1", "relu5_3"]
    assert found["relu1_1"].accuracy == found["relu1_1"].correct.mean() > 0.9
    for weight, value in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)

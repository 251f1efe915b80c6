import numpy as np
import pytest

from dc_keras.errors import InputError
from dc_keras.evaluation import knn
from dc_keras.evaluation.knn import knn_accuracy, knn_correct


def naive_predictions(train, labels, test, num_neighbors, temperature):
    """One image and one vote at a time, in float64."""
    predictions = []
    for image in test.astype(np.float64):
        similarities = [
            image @ other / (np.linalg.norm(image) * np.linalg.norm(other))
            for other in train.astype(np.float64)
        ]
        votes = {}
        for i in sorted(range(len(train)), key=lambda i: -similarities[i])[:num_neighbors]:
            weight = np.exp(similarities[i] / temperature)
            votes[labels[i]] = votes.get(labels[i], 0) + weight
        predictions.append(max(sorted(votes), key=votes.get))
    return np.array(predictions)


def knn_accuracies(*data, neighbors):
    correct = knn_correct(*data, neighbors=neighbors)
    return {number: found.mean() for number, found in correct.items()}


def blobs(rng, n, classes=5, dim=16, noise=1.2):
    labels = rng.integers(0, classes, n)
    centers = np.random.default_rng(0).normal(size=(classes, dim))
    return (centers[labels] + noise * rng.normal(size=(n, dim))).astype(np.float32), labels


@pytest.mark.parametrize("num_neighbors,temperature", [(1, 0.07), (5, 0.07), (20, 1.0), (60, 0.02)])
def test_agrees_with_a_naive_vote(rng, num_neighbors, temperature):
    train, train_labels = blobs(rng, 60)
    test, _ = blobs(rng, 40)
    predictions = naive_predictions(train, train_labels, test, num_neighbors, temperature)
    assert len(set(predictions)) == 5
    agreement = knn_accuracy(
        train,
        train_labels,
        test,
        predictions,
        num_neighbors=num_neighbors,
        temperature=temperature,
    )
    assert agreement == 1


def test_weights_on_paper():
    # One neighbour of class 7 at similarity 1, two of class 3 at 0.8. Class 7 wins when
    # exp(0.2 / T) > 2, that is for T < 0.2 / ln 2 = 0.2885.
    train = np.array([[1, 0], [0.8, 0.6], [0.8, -0.6]], np.float32)
    data = (train, np.array([7, 3, 3]), np.array([[2, 0]], np.float32))
    assert knn_accuracy(*data, np.array([7]), temperature=0.28) == 1
    assert knn_accuracy(*data, np.array([3]), temperature=0.30) == 1


def test_length_of_features_does_not_matter(rng):
    train, train_labels = blobs(rng, 60)
    test, test_labels = blobs(rng, 40)
    accuracy = knn_accuracy(train, train_labels, test, test_labels)
    scaled = knn_accuracy(
        train * 2.0 ** rng.integers(-9, 9, (60, 1)), train_labels, test * 8, test_labels
    )
    assert accuracy == scaled
    assert 0.2 < accuracy < 1


def test_more_neighbors_than_training_images(rng):
    train, train_labels = blobs(rng, 8)
    test, test_labels = blobs(rng, 30)
    data = (train, train_labels, test, test_labels)
    assert knn_accuracy(*data, num_neighbors=1000) == knn_accuracy(*data, num_neighbors=8)


def test_several_numbers_of_neighbors_at_once(rng):
    train, train_labels = blobs(rng, 60, noise=3)
    data = (train, train_labels, *blobs(rng, 200, noise=3))
    found = knn_accuracies(*data, neighbors=(60, 5, 1, 61))
    # There are no 61.
    assert list(found) == [60, 5, 1]
    assert found == {number: knn_accuracy(*data, num_neighbors=number) for number in found}
    assert found[1] != found[60]
    assert knn_accuracies(*data, neighbors=(100,)) == {}


def test_blocks_do_not_change_the_result(rng, monkeypatch):
    train, train_labels = blobs(rng, 60)
    test, _ = blobs(rng, 41)
    predictions = naive_predictions(train, train_labels, test, 20, 0.07)
    # 20 cells for 5 classes: blocks of 4 images, the last of one.
    monkeypatch.setattr(knn, "_BLOCK_CELLS", 20)
    assert knn_accuracy(train, train_labels, test, predictions) == 1


def test_low_temperature_does_not_overflow(rng):
    train, train_labels = blobs(rng, 60)
    test, test_labels = blobs(rng, 40)
    data = (train, train_labels, test, test_labels)
    with np.errstate(over="raise", invalid="raise"):
        # exp(1 / 1e-4) is far beyond float64; the nearest neighbour decides alone.
        assert knn_accuracy(*data, temperature=1e-4) == knn_accuracy(*data, num_neighbors=1)


def test_classes_without_training_images_are_wrong(rng):
    train, train_labels = blobs(rng, 60)
    assert knn_accuracy(train, train_labels, train[:10], np.full(10, 99)) == 0


def test_features_of_zeros_are_no_error():
    train, labels = np.eye(3, dtype=np.float32), np.array([0, 1, 2])
    test = np.array([[0, 0, 0], [0, 1, 0]], np.float32)
    # The image of zeros has similarity 0 to all three: a tie that goes to class 0.
    assert knn_accuracy(train, labels, test, np.array([0, 1])) == 1
    assert knn_accuracy(np.zeros_like(train), labels, test, np.array([0, 0])) == 1


def test_features_that_are_not_finite_are_refused():
    train, labels = np.eye(3, dtype=np.float32), np.array([0, 1, 2])
    broken = np.array([[1, np.nan, 0], [np.inf, 0, 0], [1, 0, 0]], np.float32)
    with pytest.raises(InputError, match="2 of 3 images"):
        knn_accuracy(train, labels, broken, labels)
    with pytest.raises(InputError, match="2 of 3 images"):
        knn_accuracy(broken, labels, train, labels)

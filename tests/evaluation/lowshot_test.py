import numpy as np
import pytest
from sklearn.svm import LinearSVC

from dc_keras.errors import InputError
from dc_keras.evaluation import lowshot
from dc_keras.evaluation.lowshot import C_GRID, DRAWS, draw_of_each_class, low_shot, sizes_within


def blobs(rng, each, noise=2.0, classes=3, dim=12):
    centers = np.random.default_rng(0).normal(size=(classes, dim))
    labels = np.tile(np.arange(classes), each)
    features = centers[labels] + noise * rng.normal(size=(len(labels), dim))
    return features.astype(np.float32), labels


def test_it_is_what_scikit_learn_finds_on_the_drawn_images(rng):
    train, labels = blobs(rng, 25)
    test, test_labels = blobs(rng, 200)
    held_out = lowshot._held_out(labels, seed=31)
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    train_scaled, test_scaled = ((some - mean) / deviation / np.sqrt(12) for some in (train, test))
    found = low_shot(train, labels, test, test_labels, seed=31)
    assert [one.size for one in found] == [1, 2, 4, 8, 16]
    for one in found:
        on_held_out, on_test = {}, {}
        for c in C_GRID:
            svms = []
            for draw in range(DRAWS):
                drawn = draw_of_each_class(labels, ~held_out, one.size, 31, draw)
                # To the exact solution, and the other of the two ways there.
                svm = LinearSVC(C=c, dual=False, tol=1e-8)
                svms.append(svm.fit(train_scaled[drawn], labels[drawn]))
            on_held_out[c] = np.mean(
                [svm.score(train_scaled[held_out], labels[held_out]) for svm in svms]
            )
            on_test[c] = [svm.score(test_scaled, test_labels) for svm in svms]
        # Of 15 held-out images one may fall on the other side by rounding.
        assert on_held_out[one.chosen_c] == pytest.approx(max(on_held_out.values()), abs=0.02)
        # Half a per cent.
        assert one.mean == pytest.approx(np.mean(on_test[one.chosen_c]), abs=0.005)
        assert one.sd == pytest.approx(np.std(on_test[one.chosen_c], ddof=1), abs=0.005)
    assert found[0].mean < found[-1].mean < 1


def test_draws_are_nested_and_leave_out_what_is_not_allowed(rng):
    labels = rng.permutation(np.repeat([0, 1, 5], [9, 7, 20]))
    allowed = np.arange(36) % 4 > 0
    few, more = (draw_of_each_class(labels, allowed, size, 31, draw=2) for size in (2, 4))
    assert np.bincount(labels[few]).tolist() == [2, 2, 0, 0, 0, 2]
    assert set(few) < set(more) and allowed[more].all()
    assert set(few) != set(draw_of_each_class(labels, allowed, 2, 31, draw=3))


def test_test_images_choose_nothing(rng):
    train, labels = blobs(rng, 10)
    test, test_labels = blobs(rng, 20)
    first = low_shot(train, labels, test, test_labels, seed=31)
    other = low_shot(train, labels, test[:7], 2 - test_labels[:7], seed=31)
    assert [one.chosen_c for one in first] == [one.chosen_c for one in other]
    assert [one.mean for one in first] != [one.mean for one in other]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([10, 10], (1, 2, 4, 8)), ([200, 1], (1,)), ([120, 120], lowshot.SIZES), ([5, 9], (1, 2, 4))],
)
def test_no_more_images_than_the_smallest_class_has(sizes, expected):
    """Of which a fifth is held out."""
    assert sizes_within(np.repeat(np.arange(len(sizes)), sizes)) == expected


@pytest.mark.parametrize(
    ("labels", "words"),
    [([3, 3, 3], "two classes.*Received: 1"), ([0, 1, 2], "one training image")],
)
def test_labels_that_tell_nothing_are_refused(labels, words):
    with pytest.raises(InputError, match=words):
        low_shot(np.eye(3), np.array(labels), np.eye(3), np.array(labels), seed=31)

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC

from dc_keras.evaluation.voc import voc_svm
from dc_keras.evaluation.voc.voc_svm import svm_precisions

GRID = (0.1, 10.0)


@pytest.fixture(autouse=True)
def _few_strengths(monkeypatch):
    monkeypatch.setattr(voc_svm, "C_GRID", GRID)


def features(rng, n, noise=1.0):
    """Features in which two classes are directions, and their labels with some difficult ones."""
    labels = rng.choice([-1, 0, 1], (n, 2), p=[0.6, 0.1, 0.3])
    rows = noise * rng.normal(size=(n, 8)) + 5
    rows[:, :2] += 2 * labels
    return rows.astype(np.float32), labels.astype(np.int8)


def test_it_is_what_scikit_learn_finds(rng):
    train, train_labels = features(rng, 90)
    test, test_labels = features(rng, 300)
    found = svm_precisions(train, train_labels, test, test_labels, seed=31)
    unit, test_unit = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train, test))
    for one, result in enumerate(found):
        known, test_known = train_labels[:, one] != 0, test_labels[:, one] != 0
        x, y = unit[known], train_labels[known, one]

        def fitted(rows, c, x=x, y=y):
            # To the exact solution, and the other of the two ways there.
            svm = LinearSVC(C=c, dual=False, tol=1e-8, class_weight={1: 2, -1: 1})
            return svm.fit(x[rows], y[rows]).decision_function

        areas = {
            c: np.mean([
                average_precision_score(y[held] == 1, fitted(rows, c)(x[held]))
                for rows, held in StratifiedKFold(3).split(x, y)
            ])
            for c in GRID
        }  # fmt: skip
        # Two neighbours in rank may change places by rounding.
        assert result.validation == pytest.approx(max(areas.values()), abs=0.005)
        assert areas[result.chosen_c] == pytest.approx(max(areas.values()), abs=0.005)
        scores = fitted(np.arange(len(x)), result.chosen_c)(test_unit[test_known])
        expected = average_precision_score(test_labels[test_known, one] == 1, scores)
        assert result.test.area == pytest.approx(expected, abs=0.005)


def test_difficult_images_change_nothing(rng):
    train, train_labels = features(rng, 60)
    test, test_labels = features(rng, 60)
    one, two = train_labels[:, :1], test_labels[:, :1]
    expected = svm_precisions(
        train[one[:, 0] != 0],
        one[one[:, 0] != 0],
        test[two[:, 0] != 0],
        two[two[:, 0] != 0],
        seed=3,
    )
    train[one[:, 0] == 0], test[two[:, 0] == 0] = 99, -99
    assert svm_precisions(train, one, test, two, seed=3) == expected


def test_test_images_choose_nothing_and_classes_are_left_out(rng):
    train, train_labels = features(rng, 60)
    test, test_labels = features(rng, 40)
    judged = np.array([False, True])
    first = svm_precisions(train, train_labels, test, test_labels, seed=3, judged=judged)
    other = svm_precisions(train, train_labels, test, -test_labels, seed=3, judged=judged)
    assert first[0] is None and first[1].chosen_c == other[1].chosen_c
    assert first[1].validation == other[1].validation and first[1].test != other[1].test


def test_a_class_of_two_images_is_fitted_without_a_choice(rng):
    train, _ = features(rng, 20)
    labels = np.where(np.arange(20) < 2, 1, -1)[:, None]
    (found,) = svm_precisions(train, labels, train, labels, seed=3)
    assert found.validation is None and found.chosen_c == voc_svm.USUAL_C

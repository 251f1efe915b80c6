"""Shares of classes worked out on paper, and splits that leave no class out."""

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from dc_keras.errors import InputError
from dc_keras.evaluation.stratified import draw, split
from dc_keras.seeds import derive_seed


def labels_of(*sizes):
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))


def sizes_in(labels, chosen):
    return np.bincount(labels[chosen], minlength=labels.max() + 1).tolist()


@pytest.mark.parametrize(
    ("sizes", "total", "at_least", "expected"),
    [
        # A fifth of each.
        ([50, 30, 20], 20, 2, [10, 6, 4]),
        # Shares 15, 7.5 and 1.5: the first of the two halves gives way to the least of two.
        ([60, 30, 6], 24, 2, [15, 7, 2]),
        # Shares 7.9, 0.08, 0.02: two of each but where there is one.
        ([395, 4, 1], 8, 2, [5, 2, 1]),
        ([395, 4, 1], 8, 1, [6, 1, 1]),
        # A class that is not there stays away.
        ([4, 0, 4], 4, 2, [2, 0, 2]),
        # Shares 4.5 and 4.5.
        ([5, 5], 9, 2, [5, 4]),
    ],
)
def test_shares_of_classes(sizes, total, at_least, expected):
    labels = labels_of(*sizes)
    drawn = draw(labels, total, at_least, seed=31)
    assert sizes_in(labels, drawn) == expected
    assert len(set(drawn.tolist())) == total and (np.diff(drawn) > 0).all()


def test_the_seed_draws():
    labels = labels_of(40, 40)
    one, same, other = (draw(labels, 20, 2, seed).tolist() for seed in (1, 1, 2))
    assert one == same != other


def test_too_few_images_for_the_classes():
    with pytest.raises(InputError, match="--max_images=5 for 3 classes. Expected at least 6"):
        draw(labels_of(9, 9, 9), 5, 2, seed=31)
    assert len(draw(labels_of(9, 9, 9), 6, 2, seed=31)) == 6


def test_large_classes_are_split_as_sklearn_does():
    labels = labels_of(30, 20, 50)
    _, tested = train_test_split(
        np.arange(100),
        test_size=20,
        stratify=labels,
        random_state=derive_seed(31, "evaluation split"),
    )
    assert np.flatnonzero(split(labels, 0.2, seed=31)).tolist() == sorted(tested.tolist())


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("sizes", [[98, 2], [2, 2], [3, 3, 3], [5, 100, 1], [2, 1, 1], [1, 0, 7]])
def test_each_class_of_two_is_on_both_sides(sizes, fraction):
    labels = labels_of(*sizes)
    tested = split(labels, fraction, seed=31)
    for size, inside, outside in zip(
        sizes, sizes_in(labels, tested), sizes_in(labels, ~tested), strict=True
    ):
        assert inside + outside == size
        assert (inside > 0) == (size > 1) and (outside > 0) == (size > 0)


def test_single_images_cannot_be_split():
    with pytest.raises(InputError, match="3 images of 3 classes.*--test_dir"):
        split(labels_of(1, 1, 1), 0.2, seed=31)

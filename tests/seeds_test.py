"""Every draw has a seed of its own, the same wherever it is made."""

import numpy as np

from dc_keras.seeds import derive_seed, numpy_rng


def test_seeds_depend_on_every_key():
    seeds = {
        derive_seed(seed, purpose, epoch)
        for seed in (0, 31)
        for purpose in ("kmeans", "head")
        for epoch in range(50)
    }
    assert len(seeds) == 2 * 2 * 50


def test_seeds_are_the_same_in_every_process():
    # A literal value: Python's own hash() would differ from process to process.
    assert derive_seed(31, "kmeans", 4) == 1653544237


def test_numpys_integers_are_keys_like_pythons():
    assert derive_seed(31, "kmeans", np.int64(4)) == derive_seed(31, "kmeans", 4)


def test_seeds_fit_what_the_libraries_take():
    seeds = [derive_seed(seed, "x") for seed in range(2000)]
    assert min(seeds) >= 0 and max(seeds) < 2**31 - 1
    # Uniform over the range: the mean of 2000 is within 5 standard errors of the middle.
    assert abs(np.mean(seeds) / 2**31 - 0.5) < 5 * (1 / 12) ** 0.5 / 2000**0.5


def test_generators_repeat_and_differ():
    same = numpy_rng(1, "a", 2).random(5)
    assert (same == numpy_rng(1, "a", 2).random(5)).all()
    assert (same != numpy_rng(1, "a", 3).random(5)).any()

import numpy as np
import pytest

from dc_keras.errors import InputError
from dc_keras.evaluation.retrieval.rmac import (
    aggregate,
    fit_region_whitening,
    region_vectors,
    regions,
)


def grid(size, rows, columns):
    return [[y, x, size] for y in rows for x in columns]


# Worked out by hand from the paper's description.
GRIDS = {
    # Square: one region, 2 x 2 of two thirds, 3 x 3 of a half.
    (6, 6): grid(6, [0], [0]) + grid(4, [0, 2], [0, 2]) + grid(3, [0, 1, 3], [0, 1, 3]),
    # Three regions of 4 overlap by a half, two by nothing, four by two thirds: three are closest
    # to 0.4.
    (4, 8): grid(4, [0], [0, 2, 4])
    + grid(2, [0, 2], [0, 2, 4, 6])
    + grid(2, [0, 1, 2], [0, 1, 3, 4, 6]),
    # The same, upright.
    (8, 4): grid(4, [0, 2, 4], [0])
    + grid(2, [0, 2, 4, 6], [0, 2])
    + grid(2, [0, 1, 3, 4, 6], [0, 1, 2]),
    # A photograph of 3:4 behind VGG16: two regions overlap by two thirds.
    (48, 64): grid(48, [0], [0, 16])
    + grid(32, [0, 16], [0, 16, 32])
    + grid(24, [0, 12, 24], [0, 13, 26, 40]),
    # Smaller regions than one pixel are left out.
    (1, 1): [[0, 0, 1]],
    # No more than seven along a ribbon, whatever they leave between them.
    (1, 100): grid(1, [0], [0, 16, 33, 49, 66, 82, 99]),
}


@pytest.mark.parametrize("shape", GRIDS)
def test_regions_are_those_worked_out_by_hand(shape):
    assert regions(*shape).tolist() == GRIDS[shape]


def plain_rmac(maps, mean, directions, variances):
    """Written by the formula, a region and a channel at a time."""
    total = 0.0
    for y, x, side in GRIDS[maps.shape[:2]]:
        vector = np.array(
            [
                max(maps[y + i, x + j, c] for i in range(side) for j in range(side))
                for c in range(maps.shape[2])
            ],
            float,
        )
        vector /= np.sqrt((vector**2).sum())
        whitened = (vector - mean) @ directions / np.sqrt(variances)
        total = total + whitened / np.sqrt((whitened**2).sum())
    return total / np.sqrt((total**2).sum())


@pytest.mark.parametrize("shape", [(6, 6), (4, 8)])
def test_it_is_the_published_formula(rng, shape):
    others = np.concatenate([region_vectors(rng.random((5, 7, 6))) for _ in range(9)])
    variances, directions = np.linalg.eigh(np.cov(others.T.astype(float), bias=True))
    maps = rng.random((*shape, 6)).astype(np.float32)
    expected = plain_rmac(maps, others.mean(axis=0, dtype=float), directions, variances)
    whitening = fit_region_whitening(others.copy())
    # Axes of eigenvectors are in any order and of any sign: what counts are dot products.
    other = rng.random((*shape, 6)).astype(np.float32)
    of_other = plain_rmac(other, others.mean(axis=0, dtype=float), directions, variances)
    found, found_other = (aggregate(region_vectors(one), whitening) for one in (maps, other))
    assert found @ found_other == pytest.approx(expected @ of_other, abs=1e-5)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)


def test_what_hardly_varies_is_not_blown_up(rng):
    vectors = (rng.normal(size=(4000, 3)) * [1, 1e-1, 1e-4]).astype(np.float32)
    whitening = fit_region_whitening(vectors.copy())
    deviations = ((vectors - whitening.mean) @ whitening.projection).std(axis=0)
    # The variance of the last, 1e-8 of the first, counts as 1e-5 of it.
    np.testing.assert_allclose(deviations, [1, 1, 1e-4 / 1e-5**0.5], rtol=0.05)


def test_regions_without_activity_stay_zero_and_finite(rng):
    whitening = fit_region_whitening(region_vectors(rng.random((12, 9, 4), np.float32)))
    assert not region_vectors(np.zeros((4, 4, 4), np.float32)).any()
    assert np.isfinite(aggregate(np.zeros((3, 4), np.float32), whitening)).all()


def test_networks_that_say_nothing_are_refused():
    with pytest.raises(InputError, match="not finite"):
        region_vectors(np.full((2, 2, 3), np.nan))
    with pytest.raises(InputError, match="collapsed"):
        fit_region_whitening(np.ones((30, 4), np.float32))
